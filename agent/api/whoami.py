"""`GET /whoami`: the caller as the agent knows it, and what it may do."""

from flask import Blueprint, Response, jsonify, request

from agent import clock
from agent.api import authentication, connection
from agent.api.context import context
from agent.api.openapi.description import describe
from agent.auth.identities import EVERYTHING, Identity
from agent.models import Json, Requester

bp = Blueprint("whoami", __name__)


@bp.get("/whoami")
@describe("The identity of the caller, how it was authenticated, and what it may do.", "Whoami")
def whoami() -> Response:
    """Without authentication every caller may schedule every kind."""
    identity = authentication.caller()
    response = jsonify(_anyone() if identity is None else _known(identity))
    response.headers["Cache-Control"] = "no-store"
    return response


def _anyone() -> Json:
    return {
        "user": None,
        "authenticated_by": None,
        "read_only": False,
        "kinds": list(EVERYTHING),
        "permissions": [],
        "expires_ts": None,
    }


def _known(identity: Identity) -> Json:
    by = _authenticated_by()
    ends = [identity.expires]
    if by == "token":
        ends += [token.expires for token in identity.tokens]
    if by == "certificate" and (authenticator := authentication.authenticator()) is not None:
        ends.append(authenticator.certificate_end())
    end = min((each for each in ends if each is not None), default=None)
    return {
        "user": identity.email,
        "authenticated_by": by,
        "read_only": identity.read_only,
        "kinds": [] if identity.read_only else list(identity.globs),
        "permissions": list(identity.permissions),
        "expires_ts": None if end is None else clock.rfc3339(round(end * 1_000_000)),
    }


def _authenticated_by() -> str:
    if authentication.channel() is Requester.CLI:
        return "unix"
    return "token" if connection.is_unix(request.environ) or not context().settings.api.certified else "certificate"
