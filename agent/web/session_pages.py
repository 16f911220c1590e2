"""`/ui/sign-in` and `/ui/sign-out`: exchange a token for a cookie that is valid only for the page."""

import re

from flask import Blueprint, Response, request
from marshmallow import Schema, fields

from agent import log
from agent.api import authentication, body
from agent.auth.tokens import Expired
from agent.errors import Unauthenticated
from agent.web import access, current_user, templates
from agent.web.routes import page

bp = Blueprint("session", __name__)

HOME = "/ui/"
OWN = re.compile(r"/ui/[!-~]{0,2000}")
FIELDS = 10
"""Maximum fields of the form, which is read before authentication."""


class SignInQuery(Schema):
    next = fields.String(metadata={"description": "The page to continue with."})


@page(bp, "/sign-in", "The form that takes a token.", query=SignInQuery, public=True)
def sign_in() -> Response:
    if not current_user.signs_in():
        return access.redirect(HOME)
    return _form(request.args.get("next", HOME))


@page(bp, "/sign-in", "Open a session.", methods=("POST",), public=True)
def open_session() -> Response:
    given = body.form_body(FIELDS)
    token, following = str(given.get("token", "")).strip(), str(given.get("next", HOME))
    known = authentication.authenticator()
    if known is None or not current_user.signs_in():
        return access.redirect(HOME)
    try:
        identity = known.by_token(token)
    except (Unauthenticated, Expired) as error:
        refused = "no identity has this token" if isinstance(error, Unauthenticated) else str(error)
        log.caller_refused(Unauthenticated.status, request.environ.get("REMOTE_ADDR", ""), refused)
        authentication.count_refused(Unauthenticated.status)
        return _form(following, refused)
    access.close_session()
    value = access.sessions().open(identity.tokens[0].sha256)
    response = access.redirect(_own(following))
    response.set_cookie(access.cookie_name(), value, secure=access.is_encrypted(), httponly=True, samesite="Strict")
    return response


@page(bp, "/sign-out", "End the session.", methods=("POST",), public=True)
def sign_out() -> Response:
    access.close_session()
    response = access.redirect(access.SIGN_IN if current_user.signs_in() else HOME)
    response.delete_cookie(access.cookie_name(), secure=access.is_encrypted(), httponly=True, samesite="Strict")
    return response


def _form(following: str, refused: str = "") -> Response:
    status = Unauthenticated.status if refused else 200
    return templates.answer("sign_in.html", status, following=_own(following), refused=refused)


def _own(address: str) -> str:
    """The address if it belongs to the page, else the home page (no open redirect)."""
    return address if OWN.fullmatch(address) else HOME
