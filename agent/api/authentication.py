"""Who calls, by token, client certificate or unix socket, and what it may do."""

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from flask import Flask, current_app, request

from agent import log
from agent.api import connection
from agent.api.context import context
from agent.auth.identities import EMAIL, EVERYTHING, PERMISSIONS, Identity
from agent.auth.token_last_used import TokenUse
from agent.auth.tokens import Expired, Tokens
from agent.config import Settings
from agent.errors import AgentError, Forbidden, Unauthenticated
from agent.models import Requester
from agent.server import tls

View = TypeVar("View", bound=Callable[..., Any])

CALLER = "agent.caller"
"""Where the WSGI environment has the identity: no header can be of this name."""
CHANNEL = "agent.channel"
"""Where it has the channel that the caller came by."""


class Authenticator:
    """Lets callers in that show who they are."""

    def __init__(self, settings: Settings) -> None:
        api = settings.api
        self._certified = api.certified
        self._revocable = api.tls is not None and api.tls.crl is not None
        self._tokens = Tokens(api.tokens, certificates=api.certified) if api.tokens else None
        self._node = settings.agent.node
        self._use = TokenUse(settings.agent.db)
        self._certificates: WeakKeyDictionary[ssl.SSLSocket, tuple[str, float]] = WeakKeyDictionary()

    def check(self) -> None:
        """Note who this request comes from. Raises `Unauthenticated` or `Forbidden`."""
        try:
            view = current_app.view_functions.get(request.endpoint or "")
            if has_no_caller(view) or (is_open_to_all(view) and not self._shows_who()):
                self._check_certificate()
                return
            identity, channel = self._identity()
            request.environ[CALLER], request.environ[CHANNEL] = identity, channel
            if identity.read_only and request.method not in ("GET", "HEAD", "OPTIONS"):
                raise Forbidden(f"{identity.email} may only read")
        except Expired as error:
            log.caller_refused(Unauthenticated.status, request.environ.get("REMOTE_ADDR", ""), str(error))
            count_refused(Unauthenticated.status)
            raise Unauthenticated(str(error)) from None
        except AgentError as error:
            log.caller_refused(error.status, request.environ.get("REMOTE_ADDR", ""), error.message)
            known = request.environ.get(CALLER)
            count_refused(error.status, known.email if known else "")
            raise

    def next_token_end(self) -> float | None:
        """When the next token or identity ends, in seconds since the epoch; None where none ever does."""
        return self._tokens.next_end() if self._tokens else None

    def certificate_end(self) -> float:
        """Last second of the certificate of this connection, since the epoch. Raises `Unauthenticated`."""
        return self._certificate()[1]

    def by_token(self, token: str) -> Identity:
        """The identity of a token. Raises `Unauthenticated` and `Expired`."""
        identity = self._tokens.by_token(token) if self._tokens else None
        if identity is None:
            raise Unauthenticated("unknown token")
        self._use.note(identity.tokens[0].id)
        return identity

    def by_digest(self, digest: bytes) -> Identity | None:
        """The identity of a token, by its SHA-256; None where the token was revoked. Raises `Expired`."""
        identity = self._tokens.by_digest(digest) if self._tokens else None
        if identity is not None:
            self._use.note(identity.tokens[0].id)
        return identity

    def by_certificate(self) -> Identity | None:
        """The identity of the client certificate of this connection; None where the agent asks for none.

        Raises `Unauthenticated`, `Forbidden` and `Expired`.
        """
        if not self._certified or connection.is_unix(request.environ):
            return None
        return self._by_certificate()

    def _shows_who(self) -> bool:
        """Whether the request shows at all who it comes from."""
        if "HTTP_AUTHORIZATION" in request.environ:
            return True
        if not connection.is_unix(request.environ):
            return self._certified
        if self._tokens is None or not self._tokens.knows_users:
            return False
        peer = connection.peer(request.environ)
        return self._tokens.by_user(peer.user, peer.groups, "") is not None

    def _identity(self) -> tuple[Identity, Requester]:
        if connection.is_unix(request.environ):
            if "HTTP_AUTHORIZATION" not in request.environ:
                return self._by_user(), Requester.CLI
            return self._by_token(), Requester.API
        return self._by_certificate() if self._certified else self._by_token(), Requester.API

    def _by_token(self) -> Identity:
        scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("a token is required: Authorization: Bearer <token>")
        return self.by_token(token.strip())

    def _by_user(self) -> Identity:
        """By the user that the process at the other end had when it connected: the kernel says so."""
        if self._tokens is None or not self._tokens.knows_users:
            raise Unauthenticated("a token is required: Authorization: Bearer <token>")
        peer = connection.peer(request.environ)
        identity = self._tokens.by_user(peer.user, peer.groups, f"{peer.user}@{self._node}")
        if identity is None:
            raise Unauthenticated(f'{peer.user} of this host is not in the tokens file: [unix."{peer.user}"]')
        self._use.note(f"unix.{peer.user}")
        return identity

    def _check_certificate(self) -> None:
        """A request without a caller needs a connection with a valid certificate all the same."""
        if self._certified and not connection.is_unix(request.environ):
            self._email()

    def _by_certificate(self) -> Identity:
        email = self._email()
        if self._tokens is None:
            return Identity(email, EVERYTHING, permissions=PERMISSIONS)
        identity = self._tokens.by_email(email)
        if identity is None:
            raise Forbidden(f"{email} is not in the tokens file")
        self._use.note(email)
        return identity

    def _email(self) -> str:
        """Whom the certificate of this connection names, if it is valid."""
        email, not_after = self._certificate()
        if not EMAIL.fullmatch(email):
            raise Unauthenticated("the client certificate has no e-mail address")
        if not_after < time.time():
            raise Unauthenticated("the client certificate has expired")
        return email

    def _certificate(self) -> tuple[str, float]:
        """E-mail and last second of the certificate that this connection began with."""
        encrypted = request.environ.get(connection.SOCKET)
        if not isinstance(encrypted, ssl.SSLSocket):
            raise Unauthenticated("a client certificate is required")
        if self._revocable and encrypted.context is not tls.of_this_worker().current():
            # Whether it was revoked, the handshake alone finds out.
            connection.end_with_this_answer(encrypted)
            raise Unauthenticated("the revocation list has changed since this connection was opened: connect again")
        if (known := self._certificates.get(encrypted)) is None:
            known = self._certificates[encrypted] = _named(encrypted)
        return known


def init_app(app: Flask, settings: Settings) -> None:
    """Authenticate the caller of every request, if the configuration names callers."""
    app.extensions["agent.authenticator"] = None
    if settings.api.authenticated:
        authenticator = app.extensions["agent.authenticator"] = Authenticator(settings)
        app.before_request(authenticator.check)


def authenticator() -> Authenticator | None:
    """What finds out who calls; None without authentication."""
    found: Authenticator | None = current_app.extensions["agent.authenticator"]
    return found


def authenticates_itself(view: View) -> View:
    """Mark a view that finds out by itself whether a request may be what it is: it has no caller."""
    view.__dict__["authenticates_itself"] = True
    return view


def open_to_all(view: View) -> View:
    """Mark a view that answers unknown callers too, and known ones in more detail."""
    view.__dict__["open_to_all"] = True
    return view


def is_open_to_all(view: Callable[..., Any] | None) -> bool:
    """Whether it was marked so."""
    return view is not None and "open_to_all" in view.__dict__


def is_known() -> bool:
    """Whether it is known who calls, or who calls is not asked for."""
    return current_app.extensions["agent.authenticator"] is None or CALLER in request.environ


def has_no_caller(view: Callable[..., Any] | None) -> bool:
    """Whether it was marked so."""
    return view is not None and "authenticates_itself" in view.__dict__


def caller() -> Identity | None:
    """Who this request comes from; None without authentication. Raises `KeyError` in a view that has no caller."""
    if current_app.extensions["agent.authenticator"] is None:
        return None
    identity: Identity = request.environ[CALLER]
    return identity


def next_token_end() -> float | None:
    """When the next token or identity ends, in seconds since the epoch; None where none ever does."""
    found: Authenticator | None = current_app.extensions["agent.authenticator"]
    return found.next_token_end() if found is not None else None


def certificate_end() -> float:
    """Last second, since the epoch, of the certificate that the caller is known by. Raises `Unauthenticated`."""
    found: Authenticator = current_app.extensions["agent.authenticator"]
    return found.certificate_end()


def channel() -> Requester:
    """By which channel the caller came: `CLI` for a user of this host, known by the unix socket."""
    found: Requester = request.environ.get(CHANNEL, Requester.API)
    return found


def permit(kind: str) -> None:
    """Raises `Forbidden` unless the caller may schedule and cancel actions of this kind."""
    identity = caller()
    if identity is not None and not identity.may(kind):
        _forbid(f"{identity.email} may not schedule or cancel {kind}")


def permit_any(kinds: Iterable[str]) -> None:
    """Raises `Forbidden` unless the caller may schedule actions of at least one of these kinds."""
    identity = caller()
    if identity is not None and not any(map(identity.may, kinds)):
        _forbid(f"{identity.email} may schedule no action")


def require(permission: str) -> None:
    """Raises `Forbidden` unless the caller has this permission."""
    identity = caller()
    if identity is not None and permission not in identity.permissions:
        _forbid(f"{identity.email} has not the permission {permission}")


def _forbid(reason: str) -> NoReturn:
    log.caller_refused(Forbidden.status, request.environ.get("REMOTE_ADDR", ""), reason)
    identity = caller()
    count_refused(Forbidden.status, identity.email if identity else "")
    raise Forbidden(reason)


def count_refused(status: int, who: str = "") -> None:
    """Count a refused call for the audit trail, by its identity or, without one, its address."""
    address = request.environ.get("REMOTE_ADDR", "") or "the unix socket"
    context().engine.refused.count(status, who or address)


def _named(encrypted: ssl.SSLSocket) -> tuple[str, float]:
    certificate: Any = encrypted.getpeercert()
    if not certificate:
        return "", 0.0
    return email_of(certificate), ssl.cert_time_to_seconds(certificate["notAfter"])


def email_of(certificate: Mapping[str, Any]) -> str:
    """The first e-mail of its alternative names, else of its subject, else nothing."""
    alternatives = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "email"]
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    return next(iter(alternatives + [value for kind, value in subject if kind == "emailAddress"]), "")
