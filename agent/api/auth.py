"""Who calls, by token or client certificate, and what it may do."""

import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from flask import Flask, current_app, request

from agent import log
from agent.config import Api
from agent.errors import AgentError, Forbidden, Unauthenticated
from agent.tokens import EMAIL, EVERYTHING, Identity, Tokens

View = TypeVar("View", bound=Callable[..., Any])

CALLER = "agent.caller"
"""Where the WSGI environment has the identity: no header can be of this name."""


class Door:
    """Lets callers in that show who they are."""

    def __init__(self, api: Api) -> None:
        self._certified = api.certified
        self._tokens = Tokens(api.tokens, certificates=api.certified) if api.tokens else None
        self._certificates: WeakKeyDictionary[ssl.SSLSocket, tuple[str, float]] = WeakKeyDictionary()

    def check(self) -> None:
        """Note who this request comes from. Raises `Unauthenticated` or `Forbidden`."""
        try:
            if has_no_caller(current_app.view_functions.get(request.endpoint or "")):
                self._check_certificate()
                return
            identity = self._by_certificate() if self._certified else self._by_token()
            if identity.read_only and request.method not in ("GET", "HEAD", "OPTIONS"):
                raise Forbidden(f"{identity.email} may only read")
        except AgentError as error:
            log.caller_refused(error.status, request.environ.get("REMOTE_ADDR", ""), error.message)
            raise
        request.environ[CALLER] = identity

    def _by_token(self) -> Identity:
        scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("a token is required: Authorization: Bearer <token>")
        assert self._tokens is not None
        identity = self._tokens.by_token(token.strip())
        if identity is None:
            raise Unauthenticated("this token is nobody's")
        return identity

    def _check_certificate(self) -> None:
        """Of a request that nobody's name is asked of: the connection must be one that may be made all the same."""
        if self._certified:
            self._email()

    def _by_certificate(self) -> Identity:
        email = self._email()
        if self._tokens is None:
            return Identity(email, None, EVERYTHING, read_only=False)
        identity = self._tokens.by_email(email)
        if identity is None:
            raise Forbidden(f"{email} is not in the file of tokens")
        return identity

    def _email(self) -> str:
        """Whom the certificate of this connection names, if it is valid."""
        email, not_after = self._certificate()
        if not EMAIL.fullmatch(email):
            raise Unauthenticated("the client certificate names no e-mail")
        if not_after < time.time():
            raise Unauthenticated("the client certificate has expired")
        return email

    def _certificate(self) -> tuple[str, float]:
        """E-mail and last second of the certificate that this connection began with."""
        connection = request.environ.get("gunicorn.socket")
        if not isinstance(connection, ssl.SSLSocket):
            raise Unauthenticated("a client certificate is required")
        if (known := self._certificates.get(connection)) is None:
            known = self._certificates[connection] = _named(connection)
        return known


def init_app(app: Flask, api: Api) -> None:
    """Ask every caller of every address who it is, if anybody is to be asked."""
    app.extensions["agent.door"] = None
    if api.authenticated:
        door = app.extensions["agent.door"] = Door(api)
        app.before_request(door.check)


def authenticates_itself(view: View) -> View:
    """Mark a view that finds out by itself whether a request may be what it is: it has no caller."""
    view.__dict__["authenticates_itself"] = True
    return view


def has_no_caller(view: Callable[..., Any] | None) -> bool:
    """Whether it was marked so."""
    return view is not None and "authenticates_itself" in view.__dict__


def caller() -> Identity | None:
    """Who this request comes from; None only where nobody is asked. Raises `KeyError` in a view that has no caller."""
    if current_app.extensions["agent.door"] is None:
        return None
    identity: Identity = request.environ[CALLER]
    return identity


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


def _forbid(reason: str) -> NoReturn:
    log.caller_refused(Forbidden.status, request.environ.get("REMOTE_ADDR", ""), reason)
    raise Forbidden(reason)


def _named(connection: ssl.SSLSocket) -> tuple[str, float]:
    certificate: Any = connection.getpeercert()
    if not certificate:
        return "", 0.0
    return email_of(certificate), ssl.cert_time_to_seconds(certificate["notAfter"])


def email_of(certificate: Mapping[str, Any]) -> str:
    """The first e-mail of its alternative names, else of its subject, else nothing."""
    alternatives = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "email"]
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    return next(iter(alternatives + [value for kind, value in subject if kind == "emailAddress"]), "")
