"""Errors as HTML pages: the message in a sentence, and a link back."""

from http import HTTPStatus

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, NotFound

from agent import log
from agent.api import traffic
from agent.errors import AgentError
from agent.web import templates
from agent.web.routes import page

bp = Blueprint("unknown", __name__)


def init_app(pages: Blueprint) -> None:
    """Answer every error with an HTML page."""
    pages.register_error_handler(AgentError, _refusal)
    pages.register_error_handler(HTTPException, _framework_error)
    pages.register_error_handler(Exception, _unexpected)


@page(bp, "/<anything:rest>", "Any address without a page.", public=True)
def unknown(rest: str) -> Response:
    raise NotFound


def _refusal(error: AgentError) -> Response:
    response = _page(error.status, error.sentence, error.variant)
    if "Retry-After" in error.headers:
        response.headers["Retry-After"] = error.headers["Retry-After"]
    return response


def _framework_error(error: HTTPException) -> Response:
    status = error.code or 500
    sentence = (
        "there is no page at this address" if status == 404 else f"{request.method} is not allowed at this address"
    )
    return _page(status, sentence if status in (404, 405) else error.name, error.name.replace(" ", ""))


def _unexpected(error: Exception) -> Response:
    log.request_failed(request.method, str(request.url_rule), error)
    return _page(500, "internal error: see the agent's log", "InternalError")


def _page(status: int, sentence: str, variant: str) -> Response:
    traffic.of_this_process().count_refused(variant)
    return templates.answer("error.html", status, sentence=sentence, title=HTTPStatus(status).phrase)
