"""The caller of a request: by token, client certificate or unix socket."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, request

from agent import log
from agent.api import connection
from agent.api.client_certificates import ClientCertificates
from agent.api.context import context
from agent.auth.identities import EVERYTHING, PERMISSIONS, Identity
from agent.auth.token_last_used import TokenUse
from agent.auth.tokens import Expired, Tokens
from agent.config import Settings
from agent.errors import AgentError, Forbidden, Unauthenticated
from agent.models import Requester

View = TypeVar("View", bound=Callable[..., Any])

CALLER = "agent.caller"
"""Key of the identity in the WSGI environment; no header can set it."""
CHANNEL = "agent.channel"
"""Key of the channel of the request."""


class Authenticator:
    """Identifies callers by the tokens file and by the certificates of their connections."""

    def __init__(self, settings: Settings) -> None:
        api = settings.api
        self._certified = api.certified
        self._tokens = Tokens(api.tokens, certificates=api.certified) if api.tokens else None
        self._node = settings.agent.node
        self._use = TokenUse(settings.agent.db)
        self._certificates = ClientCertificates(revocable=api.tls is not None and api.tls.crl is not None)

    def check(self) -> None:
        """Store the caller of this request, which `caller()` and `channel()` return.

        Raises `Unauthenticated` without valid credentials, `Forbidden` if they are not enough. Both are logged and
        counted.
        """
        try:
            view = current_app.view_functions.get(request.endpoint or "")
            if has_no_caller(view) or (is_open_to_all(view) and not self._has_credentials()):
                self._check_certificate()
                return
            identity, channel = self._identity()
            request.environ[CALLER], request.environ[CHANNEL] = identity, channel
            if identity.read_only and request.method not in ("GET", "HEAD", "OPTIONS"):
                raise Forbidden(f"{identity.email} may only read")
        except Expired as error:
            refused = Unauthenticated(str(error))
            record_refused(refused)
            raise refused from None
        except AgentError as error:
            known = request.environ.get(CALLER)
            record_refused(error, known.email if known else "")
            raise

    def next_token_end(self) -> float | None:
        """When the next token or identity expires, in seconds since the epoch; None if none ever does."""
        return self._tokens.next_end() if self._tokens else None

    def certificate_end(self) -> float:
        """The last second of the client certificate, since the epoch. Raises `Unauthenticated` without one."""
        return self._certificates.end()

    def by_token(self, token: str) -> Identity:
        """The identity of a token. Raises `Unauthenticated` for an unknown token, `Expired` for an expired one."""
        identity = self._tokens.by_token(token) if self._tokens else None
        if identity is None:
            raise Unauthenticated("unknown token")
        self._use.note(identity.tokens[0].id)
        return identity

    def by_digest(self, digest: bytes) -> Identity | None:
        """The identity of a token, by its SHA-256; None if the token was revoked. Raises `Expired`."""
        identity = self._tokens.by_digest(digest) if self._tokens else None
        if identity is not None:
            self._use.note(identity.tokens[0].id)
        return identity

    def by_certificate(self) -> Identity | None:
        """The identity of the client certificate; None if this connection needs none.

        Raises `Unauthenticated` without a valid certificate, `Forbidden` if its e-mail is not in the tokens file,
        `Expired` if the identity has expired.
        """
        if not self._certified or connection.is_unix(request.environ):
            return None
        return self._by_certificate()

    def _has_credentials(self) -> bool:
        """Whether the request has credentials, valid or not."""
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
        """The identity of the user whose process connected to the unix socket, according to the kernel."""
        if self._tokens is None or not self._tokens.knows_users:
            raise Unauthenticated("a token is required: Authorization: Bearer <token>")
        peer = connection.peer(request.environ)
        identity = self._tokens.by_user(peer.user, peer.groups, f"{peer.user}@{self._node}")
        if identity is None:
            raise Unauthenticated(f'{peer.user} of this host is not in the tokens file: [unix."{peer.user}"]')
        self._use.note(f"unix.{peer.user}")
        return identity

    def _check_certificate(self) -> None:
        """Raises `Unauthenticated` for a connection without a valid certificate, if the agent requires them."""
        if self._certified and not connection.is_unix(request.environ):
            self._certificates.email()

    def _by_certificate(self) -> Identity:
        email = self._certificates.email()
        if self._tokens is None:
            return Identity(email, EVERYTHING, permissions=PERMISSIONS)
        identity = self._tokens.by_email(email)
        if identity is None:
            raise Forbidden(f"{email} is not in the tokens file")
        self._use.note(email)
        return identity


def init_app(app: Flask, settings: Settings) -> None:
    """Authenticate the caller of every request, if the configuration has tokens or a CA of clients."""
    app.extensions["agent.authenticator"] = None
    if settings.api.authenticated:
        authenticator = app.extensions["agent.authenticator"] = Authenticator(settings)
        app.before_request(authenticator.check)


def authenticator() -> Authenticator | None:
    """The authenticator of this application; None if callers are not authenticated."""
    found: Authenticator | None = current_app.extensions["agent.authenticator"]
    return found


def authenticates_itself(view: View) -> View:
    """Mark a view that authenticates its requests by itself, for example by a signature: it has no caller."""
    view.__dict__["authenticates_itself"] = True
    return view


def open_to_all(view: View) -> View:
    """Mark a view that also answers requests without credentials, with fewer details."""
    view.__dict__["open_to_all"] = True
    return view


def is_open_to_all(view: Callable[..., Any] | None) -> bool:
    """Whether the view has the mark of `open_to_all`."""
    return view is not None and "open_to_all" in view.__dict__


def is_known() -> bool:
    """Whether the caller is authenticated, or callers are not authenticated at all."""
    return current_app.extensions["agent.authenticator"] is None or CALLER in request.environ


def has_no_caller(view: Callable[..., Any] | None) -> bool:
    """Whether the view has the mark of `authenticates_itself`."""
    return view is not None and "authenticates_itself" in view.__dict__


def caller() -> Identity | None:
    """The caller; None if callers are not authenticated. Raises `KeyError` in a view without a caller."""
    if current_app.extensions["agent.authenticator"] is None:
        return None
    identity: Identity = request.environ[CALLER]
    return identity


def channel() -> Requester:
    """The channel of this request: `CLI` for a user of this host, identified by the unix socket."""
    found: Requester = request.environ.get(CHANNEL, Requester.API)
    return found


def record_refused(error: AgentError, email: str = "") -> None:
    """Log a refused call, and count it for the audit trail."""
    log.caller_refused(error.status, request.environ.get("REMOTE_ADDR", ""), error.message)
    count_refused(error.status, email)


def count_refused(status: int, email: str = "") -> None:
    """Count a refused call for the audit trail: by the caller's e-mail, if known, otherwise by the address."""
    address = request.environ.get("REMOTE_ADDR", "") or "the unix socket"
    context().engine.refused.count(status, email or address)
