"""The ids of a request, which its answer, log lines, action and callbacks have too."""

import re
from uuid import uuid4

from flask import Flask, Response, request

from agent import log
from agent.util import trace_context
from agent.util.trace_context import Span

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/+=@-]{0,127}")
"""A valid X-Request-Id; an invalid one is replaced."""
HEADERS = ("X-Request-Id", "traceparent")
"""The headers with the ids, in requests and answers."""
ID, SPAN = "agent.request_id", "agent.span"
"""Keys of the ids in the WSGI environment, which a waiting request keeps for its second call."""


def init_app(app: Flask) -> None:
    """Set the ids of each request, and the headers of each answer."""
    app.before_request(_begin)
    app.after_request(_answer)
    app.teardown_request(_end)


def request_id() -> str:
    """The caller's id if it is valid, else a new one."""
    found: str = request.environ[ID]
    return found


def span() -> Span:
    """The span of the present request, in the caller's trace or a new one."""
    found: Span = request.environ[SPAN]
    return found


def _begin() -> None:
    environ = request.environ
    if ID not in environ:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        environ[ID] = given if REQUEST_ID.fullmatch(given) else str(uuid4())
        environ[SPAN] = trace_context.begin(environ.get("HTTP_TRACEPARENT"))
    log.correlate(environ[ID], environ[SPAN].trace_id)


def _answer(response: Response) -> Response:
    environ = request.environ
    if ID in environ:  # missing if the request failed before `_begin`
        response.headers.add("X-Request-Id", environ[ID])
        response.headers.add("traceparent", str(environ[SPAN]))
    return response


def _end(error: BaseException | None) -> None:
    log.correlate(None, None)
