"""Reads the body of a request, as strictly as the protocol requires."""

from urllib.parse import parse_qs

from flask import request
from gunicorn.http.errors import ParseException

from agent.api.context import context
from agent.errors import BodyTooLarge, InvalidBody, UnsupportedMediaType
from agent.models import Json
from agent.util import strict_json
from agent.util.nesting_depth import DEPTH, too_deep

REFUSALS = (InvalidBody, BodyTooLarge, UnsupportedMediaType)


def read() -> bytes:
    """The bytes of the body.

    Raises `BodyTooLarge`, also for a chunked body without a length, and `InvalidBody` for an incomplete body.
    """
    limit = context().settings.api.max_body
    declared = int(request.environ.get("CONTENT_LENGTH") or 0)
    body = b"" if declared > limit else _received(limit + 1)
    if max(declared, len(body)) > limit:
        raise BodyTooLarge(f"the body is larger than {limit} bytes, the limit of api.max_body")
    if len(body) < declared:
        raise InvalidBody("the body ends before its Content-Length")
    return body


def _received(limit: int) -> bytes:
    """At most `limit` bytes; the input of gunicorn ends at the Content-Length or with the last chunk."""
    try:
        received: bytes = request.environ["wsgi.input"].read(limit)
    except (OSError, ParseException) as error:
        raise InvalidBody("the body is truncated, or its chunks are malformed", layers=[type(error).__name__]) from None
    return received


def json_body() -> Json:
    """The body of this request. Raises `InvalidBody`, `BodyTooLarge` or `UnsupportedMediaType`."""
    return json_of(read())


def json_of(body: bytes) -> Json:
    """The JSON value of this request's body, which was already read. Raises `InvalidBody` or `UnsupportedMediaType`."""
    if not body.strip():
        raise InvalidBody("a JSON body is required; send {} for no arguments")
    if request.content_type != "application/json" and request.mimetype != "application/json":
        raise UnsupportedMediaType("the body must be application/json", layers=_named(request.content_type))
    if too_deep(body):
        raise InvalidBody(f"the body is nested deeper than {DEPTH} levels")
    try:
        return strict_json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidBody("the body is not UTF-8", layers=[str(error)]) from None
    except (ValueError, RecursionError) as error:
        raise InvalidBody("the body is not JSON", layers=[str(error)]) from None


def form_body(most: int | None = None) -> dict[str, str | list[str]]:
    """The fields of a form, at most `most`; a repeated field is a list.

    Raises `InvalidBody` or `BodyTooLarge`.
    """
    try:
        fields = parse_qs(read().decode(), keep_blank_values=True, errors="strict", max_num_fields=most)
    except ValueError as error:
        raise InvalidBody("the form cannot be read", layers=[str(error)]) from None
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}


def _named(content_type: str | None) -> list[str]:
    return [f"its Content-Type is {content_type[:100]}"] if content_type else []
