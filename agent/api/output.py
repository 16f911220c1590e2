"""`GET /output/<id>`: the output of an action's commands, while they run and afterwards, in pieces."""

from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Response
from marshmallow import Schema, fields, validate

from agent.api import long_polling
from agent.api.context import context, waiters
from agent.api.openapi.description import describe
from agent.api.query import loaded
from agent.api.waiters import Fact
from agent.errors import ActionNotFound, InvalidQuery, StoreUnavailable
from agent.models import Action
from agent.processes import transcript_reading
from agent.processes.transcript_reading import Piece
from agent.store import actions

bp = Blueprint("output", __name__)

MOST = 1024 * 1024
"""Maximum bytes of one answer."""
LEAST = 4
"""Maximum bytes of one character."""
FARTHEST = 2**62


class OutputQuery(Schema):
    offset = fields.Integer(
        load_default=0,
        validate=validate.Range(-FARTHEST, FARTHEST),
        metadata={"description": "The byte to begin at: X-Output-Next of the answer before; -N: the last N bytes."},
    )
    limit = fields.Integer(
        load_default=65536,
        validate=validate.Range(LEAST, MOST),
        metadata={"description": "Bytes of one answer, at most; characters are never split."},
    )


@bp.get("/output/<anything:action_id>")
@describe(
    "The output of an action's commands, while they run and afterwards.",
    "Output",
    media_type="text/plain",
    query=OutputQuery,
    headers=("Prefer",),
    answer_headers=("X-Output-Offset", "X-Output-Next", "X-Output-Complete", "X-Output-Truncated"),
    errors=(ActionNotFound, InvalidQuery),
)
def output(action_id: str) -> Response:
    offset, limit = _range()
    action, _ = actions.by_id(context().store, action_id)
    folder = context().settings.agent.output / action.id
    preferred = long_polling.preference()
    if preferred.seconds and not action.state.final:
        waiters().wait(preferred.seconds, Fact(_wait_of(action.id, folder, offset), announced=False))
        action, _ = actions.by_id(context().store, action_id)
    return preferred.applied(_answer(action, _read(folder, offset, limit)))


def _range() -> tuple[int, int]:
    """The offset and limit of the query. Raises `InvalidQuery`."""
    query = loaded(OutputQuery())
    return query["offset"], query["limit"]


def _wait_of(action_id: str, folder: Path, offset: int) -> Callable[[], bool]:
    """The function that returns whether the wait is over: after new output, or once the action is final."""
    store = context().store
    return lambda: transcript_reading.end(folder) > max(0, offset) or actions.status(store, action_id).state.final


def _read(folder: Path, offset: int, limit: int) -> Piece:
    """Raises `StoreUnavailable`."""
    try:
        return transcript_reading.read(folder, offset, limit)
    except OSError as error:
        raise StoreUnavailable("the output of the action cannot be read now", layers=[str(error)]) from error


def _answer(action: Action, piece: Piece) -> Response:
    """`action` was read before `piece`, so the output of a final action is complete."""
    response = Response(piece.text, content_type="text/plain; charset=utf-8")
    response.headers["X-Output-Offset"] = str(piece.offset)
    response.headers["X-Output-Next"] = str(piece.next)
    response.headers["X-Output-Complete"] = "true" if action.state.final and piece.next == piece.end else "false"
    response.headers["X-Output-Truncated"] = "true" if piece.truncated else "false"
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"  # browsers must not run it as a script
    return response
