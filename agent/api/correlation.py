"""The ids that join a request with its answer, the lines of the log, its action and the callbacks."""

import re
from uuid import uuid4

from flask import Flask, Response, request

from agent import log
from agent.util import trace_context
from agent.util.trace_context import Span

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/+=@-]{0,127}")
"""A valid X-Request-Id; another is replaced."""
HEADERS = ("X-Request-Id", "traceparent")
"""Of requests and of answers."""
ID, SPAN = "agent.request_id", "agent.span"
"""Where the WSGI environment has them: also for the second call of a request that waited."""


def init_app(app: Flask) -> None:
    """Give each request its ids, and each answer the headers that name them."""
    app.before_request(_begin)
    app.after_request(_answer)
    app.teardown_request(_end)


def request_id() -> str:
    """That of the caller if it is valid, else a new one."""
    found: str = request.environ[ID]
    return found


def span() -> Span:
    """Of the present request, in the caller's trace or a new one."""
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
    if ID in environ:  # not if this hook's request failed before it began
        response.headers.add("X-Request-Id", environ[ID])
        response.headers.add("traceparent", str(environ[SPAN]))
    return response


def _end(error: BaseException | None) -> None:
    log.correlate(None, None)
