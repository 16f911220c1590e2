"""`GET /queue`: the running and the waiting actions, in the order of execution."""

from flask import Blueprint, Response, jsonify

from agent.api import long_polling, node_protocol
from agent.api.context import context
from agent.api.openapi.description import describe
from agent.store import action_list, actions

bp = Blueprint("queue", __name__)


@bp.get("/queue")
@describe(
    "The running and the waiting actions, in the order of execution.", "Items", headers=("If-None-Match", "Prefer")
)
def queue() -> Response:
    store = context().store
    return long_polling.respond(
        "changes",
        lambda: action_list.tag(store),
        lambda: jsonify(node_protocol.items(actions.queue(store))),
        node_protocol.words().generation,
    )
