"""`GET /info/<id>`: an action and every state it was in; waits for a change where it is asked to."""

from collections.abc import Iterable, Iterator
from itertools import chain
from zlib import crc32

from flask import Blueprint, Response

from agent.api import conditional, streamed
from agent.api.current import context, waiters
from agent.api.description import describe
from agent.api.schemas import action_fields, transition_fields
from agent.api.waiting import preferred_wait
from agent.engine.holds import Holds
from agent.errors import ActionNotFound
from agent.models import Action, Transition
from agent.store import Store, actions
from agent.store.actions import dumps

bp = Blueprint("info", __name__)

FOR_EVER = "private, max-age=31536000, immutable"


@bp.get("/info/<anything:action_id>")
@describe(
    "An action and every state it was in; waits for a change where it is asked to.",
    "Info",
    headers=("If-None-Match", "Prefer"),
    errors=(ActionNotFound,),
)
def info(action_id: str) -> Response:
    store, holds = context().store, context().engine.holds
    seconds = preferred_wait()
    if seconds and conditional.is_asked():
        waiters().wait(seconds, lambda: _is_new(store, holds, action_id))
    action, version, history = _read(store, action_id)
    held = holds.reason(action.kind, action.state)
    response = streamed.answer(_info(action, held, history))
    response.headers["Cache-Control"] = FOR_EVER if action.state.final else "no-cache"
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    return conditional.tagged(response, _tag(version, held))


def _read(store: Store, action_id: str) -> tuple[Action, int, Iterator[Transition]]:
    """The action, its version, and its history from that version on.

    Between the two reads a measurement of progress may have replaced the line of that version: read again then.
    """
    while True:
        action, version = actions.by_id(store, action_id)
        history = actions.history(store, action, version)
        newest = next(history)
        if newest.version == version:
            return action, version, chain((newest,), history)


def _info(action: Action, held: str | None, history: Iterable[Transition]) -> Iterator[str]:
    yield f'{{"action":{dumps(action_fields(action, held))},"history":['
    for number, transition in enumerate(history):
        yield "," * bool(number) + dumps(transition_fields(action, transition))
    yield "]}\n"


def _is_new(store: Store, holds: Holds, action_id: str) -> bool:
    """Whether the caller has not seen this state of the action, or there is nothing more to come."""
    version, state, kind = actions.version(store, action_id)
    return state.final or not conditional.has(_tag(version, holds.reason(kind, state)))


def _tag(version: int, held: str | None) -> str:
    """Another one for each change, and while it is held for another reason or for none."""
    return str(version) if held is None else f"{version}-{crc32(held.encode()):08x}"
