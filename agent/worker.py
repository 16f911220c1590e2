"""gunicorn's threaded worker, whose own refusals have the shape of the agent's."""

import json
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from agent import log

REFUSALS: tuple[tuple[str, HTTPStatus], ...] = (
    ("LimitRequestLine", HTTPStatus.REQUEST_URI_TOO_LONG),
    ("LimitRequestHeaders", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ("UnsupportedTransferCoding", HTTPStatus.NOT_IMPLEMENTED),
    ("ExpectationFailed", HTTPStatus.EXPECTATION_FAILED),
    ("ParseException", HTTPStatus.BAD_REQUEST),
)
"""gunicorn's exceptions by name, as not every version has them all; the first that fits counts."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """Answers a request that gunicorn itself refuses, before any application sees it."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        status = status_of(exc)
        log.request_refused(status, type(exc).__name__)
        try:
            write_nonblock(client, answer(status))
        except OSError:
            return  # the client has gone


def status_of(error: BaseException) -> HTTPStatus:
    for name, status in REFUSALS:
        refusal = getattr(errors, name, None)
        if refusal is not None and isinstance(error, refusal):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer(status: HTTPStatus) -> bytes:
    """The whole response; the connection ends with it."""
    body = json.dumps(
        {
            "error": f"the request is not served: {status.phrase.lower()}",
            "layers": [],
            "variant": status.phrase.title().replace(" ", "").replace("-", ""),
        }
    ).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
