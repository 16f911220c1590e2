"""Entity tags and `If-None-Match`: 304 if the caller has the answer already."""

from collections.abc import Callable

from flask import Response, request

# Without werkzeug's parser of entity tags, which takes quadratic time.


def is_conditional() -> bool:
    """Whether this request has the header `If-None-Match`."""
    return "HTTP_IF_NONE_MATCH" in request.environ


def has(tag: str) -> bool:
    """Whether `If-None-Match` names this tag, which contains neither comma nor quote."""
    return _names(request.environ.get("HTTP_IF_NONE_MATCH", ""), tag)


def seen() -> Callable[[str], bool]:
    """`has` for this request, to be called outside of it."""
    given = request.environ.get("HTTP_IF_NONE_MATCH", "")
    return lambda tag: _names(given, tag)


def _names(given: str, tag: str) -> bool:
    stripped = (each.strip().removeprefix("W/") for each in given.split(","))
    return any(each in (tag, f'"{tag}"', "*") for each in stripped)


def tagged(response: Response, tag: str) -> Response:
    """The answer with its tag; 304 if the caller has it already."""
    response.set_etag(tag)
    if has(tag):
        response.status_code = 304
    return response
