"""Answers of any size: sent while they are generated, so that they are never in memory as a whole."""

from collections.abc import Iterator
from errno import ECONNRESET
from itertools import chain

from flask import Response, request

from agent import log

WHOLE = 64 * 1024
"""Bytes: a shorter answer is sent as a whole, a longer one in pieces of at least this size."""


def answer(texts: Iterator[str]) -> Response:
    """The JSON answer that consists of these texts. An error in the first `WHOLE` bytes is raised as usual.

    Later texts are generated outside of the request's context.
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
    """Pieces of at least `WHOLE` bytes; the last one may be shorter."""
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
    """After an error the answer breaks off: it has no Content-Length, so clients notice the missing last chunk."""
    try:
        yield from pieces
    except Exception as error:
        log.answer_broken_off(method, route, error)
        raise ConnectionResetError(ECONNRESET, "the answer breaks off") from None
