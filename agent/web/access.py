"""Authenticates the users of the page by session or client certificate, and refuses requests from other pages."""

from urllib.parse import urlencode
from zlib import crc32

from flask import Blueprint, Response, current_app, request

from agent.api import authentication
from agent.api.authentication import CALLER, CHANNEL
from agent.api.context import context
from agent.auth.identities import Identity
from agent.auth.tokens import Expired
from agent.errors import AgentError, Forbidden, Unauthenticated
from agent.models import Requester
from agent.web import current_user, templates
from agent.web.routes import is_public
from agent.web.sessions import Sessions

SAFE = ("GET", "HEAD", "OPTIONS")
SIGN_IN = "/ui/sign-in"


def init_app(pages: Blueprint) -> None:
    """Check every request for a page."""
    pages.before_request(admit)


def admit() -> Response | None:
    """Authenticate the user; an answer if that needs a sign-in first. Raises `Forbidden`, `Unauthenticated`."""
    try:
        request.environ[CHANNEL] = Requester.WEB
        if request.method not in SAFE:
            refuse_cross_site()
        if is_public(current_app.view_functions[request.endpoint or ""]):
            return None
        return _identify()
    except AgentError as error:
        known = current_user.user()
        authentication.record_refused(error, known.email if known else "")
        raise


def refuse_cross_site() -> None:
    """Raises `Forbidden` unless the request comes from a form or script of this page (protection against CSRF)."""
    site = request.environ.get("HTTP_SEC_FETCH_SITE")
    # Browsers send Sec-Fetch-Site over TLS and to localhost; over plain HTTP only Origin is available.
    own = f"{request.environ['wsgi.url_scheme']}://{request.environ.get('HTTP_HOST', '')}"
    if site != "same-origin" and (site is not None or request.environ.get("HTTP_ORIGIN") != own):
        raise Forbidden("only the page of this agent may send this request")


def sessions() -> Sessions:
    found: Sessions = current_app.extensions["agent.web.sessions"]
    return found


def cookie_name() -> str:
    """The name of the session's cookie, different for each node, because cookies do not distinguish ports."""
    name = f"agent-{crc32(context().settings.agent.node.encode()):08x}"
    return f"__Host-{name}" if is_encrypted() else name


def is_encrypted() -> bool:
    return bool(request.environ["wsgi.url_scheme"] == "https")


def _identify() -> Response | None:
    authenticator = authentication.authenticator()
    if authenticator is None:
        return None
    try:
        identity = authenticator.by_certificate() or _of_session(authenticator)
    except Expired as error:
        raise Unauthenticated(str(error)) from None
    if identity is None:
        if not current_user.signs_in():
            raise Unauthenticated("this connection has no client certificate")
        return _to_sign_in()
    request.environ[CALLER] = identity
    if identity.read_only and request.method not in SAFE:
        raise Forbidden(f"{identity.email} may only read")
    return None


def _of_session(authenticator: authentication.Authenticator) -> Identity | None:
    value = request.cookies.get(cookie_name())
    token = sessions().token(value) if value else None
    if token is None:
        return None
    try:
        identity = authenticator.by_digest(token)
    except Expired:
        identity = None
    if identity is None:
        close_session()  # its token is no longer valid
    return identity


def close_session() -> None:
    """End the session of this browser, if it has one."""
    if value := request.cookies.get(cookie_name()):
        sessions().close(value)


def _to_sign_in() -> Response:
    """Redirect to the sign-in form. A link from another site sends no `SameSite=Strict` cookie: reload first then."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and request.method in SAFE:
        return templates.answer("continue.html", address=_address())
    query = urlencode({"next": _address()}) if request.method in SAFE else ""
    return redirect(f"{SIGN_IN}?{query}".rstrip("?"))


def _address() -> str:
    return request.full_path.rstrip("?")


def redirect(address: str, status: int = 303) -> Response:
    """A redirect to an address of this agent."""
    response = Response(status=status)
    response.headers["Location"] = address
    response.autocorrect_location_header = False
    return response
