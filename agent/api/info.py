"""`GET /info/<id>`: an action and its history; with `Prefer: wait`, after a change."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from flask import Blueprint, Response

from agent.api import conditional, long_polling, node_protocol, streaming
from agent.api.context import context, held_reason
from agent.api.openapi.description import describe
from agent.errors import ActionNotFound
from agent.models import Action, Transition
from agent.store import Store, actions
from agent.store.encoding import dumps
from agent.wire.rows import action_fields, transition_fields

bp = Blueprint("info", __name__)


@bp.get("/info/<anything:action_id>")
@describe(
    "An action with its history. With `Prefer: wait`, the answer waits for a change.",
    "Info",
    headers=("If-None-Match", "Prefer"),
    errors=(ActionNotFound,),
)
def info(action_id: str) -> Response:
    store = context().store
    generation = node_protocol.words().generation
    long_polling.wait_for(action_id, generation)
    action, version, history = _read(store, action_id)
    held = held_reason(action)
    shown = node_protocol.shown(action_fields(action, held, actions.started(store, action)), action)
    response = streaming.answer(_info(action, shown, history))
    response.headers["Cache-Control"] = long_polling.caching(action.state)
    tag = long_polling.tag_of(version, held, generation)
    return long_polling.preference().applied(conditional.tagged(response, tag))


def _read(store: Store, action_id: str) -> tuple[Action, int, Iterator[Transition]]:
    """The action, its version, and its history from that version on.

    Repeated if a measurement of progress has replaced the line of that version between the two reads.
    """
    while True:
        action, version = actions.by_id(store, action_id)
        history = actions.history(store, action, version)
        newest = next(history)
        if newest.version == version:
            return action, version, chain((newest,), history)


def _info(action: Action, shown: dict[str, Any], history: Iterable[Transition]) -> Iterator[str]:
    yield f'{{"action":{dumps(shown)},"history":['
    for number, transition in enumerate(history):
        yield "," * bool(number) + dumps(transition_fields(action, transition))
    yield "]}\n"
