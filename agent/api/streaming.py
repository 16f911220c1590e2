"""Answers as large as callers make them: sent as they are put together, so that they are never in memory as a whole."""

from collections.abc import Iterator
from errno import ECONNRESET
from itertools import chain

from flask import Response, request

from agent import log

WHOLE = 64 * 1024
"""Bytes up to which an answer is sent as a whole, and of the pieces of a longer one."""


def answer(texts: Iterator[str]) -> Response:
    """The JSON that these texts make up. What goes wrong in the first `WHOLE` bytes is raised, as of any answer.

    The texts of a longer one are made outside of the request's context.
    """
    pieces = _pieces(texts)
    first = next(pieces)
    if len(first) < WHOLE:
        return Response(first, mimetype="application/json")
    texts_left = _rest(pieces, request.method, str(request.url_rule))
    response = Response(chain((first,), texts_left), mimetype="application/json")
    # Otherwise werkzeug joins all pieces to compute the length for the entity tag.
    response.implicit_sequence_conversion = False
    return response


def _pieces(texts: Iterator[str]) -> Iterator[bytes]:
    """All but the last one have `WHOLE` bytes or more."""
    gathered: list[str] = []
    size = 0
    for text in texts:
        gathered.append(text)
        size += len(text)
        if size >= WHOLE:
            yield "".join(gathered).encode()
            gathered, size = [], 0
    yield "".join(gathered).encode()


def _rest(pieces: Iterator[bytes], method: str, route: str) -> Iterator[bytes]:
    """A started answer can only break off: it has no Content-Length, and its last chunk is missing."""
    try:
        yield from pieces
    except Exception as error:
        log.answer_broken_off(method, route, error)
        raise ConnectionResetError(ECONNRESET, "the answer breaks off") from None
