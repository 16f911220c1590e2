"""Entity tags and `If-None-Match`: an answer that the caller has already is a 304."""

from flask import Response, request

# werkzeug's own reader of entity tags takes time in the square of their length.


def is_asked() -> bool:
    """Whether this request names what the caller has."""
    return "HTTP_IF_NONE_MATCH" in request.environ


def has(tag: str) -> bool:
    """Whether the caller says that it has the answer with this tag, which contains neither comma nor quote."""
    given = (each.strip().removeprefix("W/") for each in request.environ.get("HTTP_IF_NONE_MATCH", "").split(","))
    return any(each in (tag, f'"{tag}"', "*") for each in given)


def tagged(response: Response, tag: str) -> Response:
    """The answer with its tag, and nothing but its headers where the caller has it already."""
    response.set_etag(tag)
    if has(tag):
        response.status_code = 304
    return response
