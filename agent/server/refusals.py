"""Answers to requests that do not reach the application, in the common shape of errors."""

import json
from http import HTTPStatus

from gunicorn.http import errors

from agent.server.body import AmbiguousLength

REFUSALS: tuple[tuple[str, HTTPStatus], ...] = (
    ("LimitRequestLine", HTTPStatus.REQUEST_URI_TOO_LONG),
    ("LimitRequestHeaders", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    ("UnsupportedTransferCoding", HTTPStatus.NOT_IMPLEMENTED),
    ("ExpectationFailed", HTTPStatus.EXPECTATION_FAILED),
    ("ParseException", HTTPStatus.BAD_REQUEST),
)
"""gunicorn's exceptions by name, because older versions lack some; the first match counts."""


def status_of(error: BaseException) -> HTTPStatus:
    """The status for an error of reading a request; 500 for any other error."""
    if isinstance(error, AmbiguousLength):
        return HTTPStatus.BAD_REQUEST
    for name, status in REFUSALS:
        refusal = getattr(errors, name, None)
        if refusal is not None and isinstance(error, refusal):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer(status: HTTPStatus) -> bytes:
    """The bytes of the whole response. It closes the connection."""
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
