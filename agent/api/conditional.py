"""Entity tags and `If-None-Match`: an answer that the caller has already is a 304."""

from collections.abc import Callable

from flask import Response, request

# werkzeug's own reader of entity tags takes time in the square of their length.


def is_asked() -> bool:
    """Whether this request names what the caller has."""
    return "HTTP_IF_NONE_MATCH" in request.environ


def has(tag: str) -> bool:
    """Whether the caller says that it has the answer with this tag, which contains neither comma nor quote."""
    return _names(request.environ.get("HTTP_IF_NONE_MATCH", ""), tag)


def seen() -> Callable[[str], bool]:
    """`has` for this request, to be called outside of it."""
    given = request.environ.get("HTTP_IF_NONE_MATCH", "")
    return lambda tag: _names(given, tag)


def _names(given: str, tag: str) -> bool:
    stripped = (each.strip().removeprefix("W/") for each in given.split(","))
    return any(each in (tag, f'"{tag}"', "*") for each in stripped)


def tagged(response: Response, tag: str) -> Response:
    """The answer with its tag, and nothing but its headers where the caller has it already."""
    response.set_etag(tag)
    if has(tag):
        response.status_code = 304
    return response
