"""`GET /finished`: the final actions, newest first."""

from flask import Blueprint, Response, jsonify

from agent.api import long_polling, node_protocol
from agent.api.context import context
from agent.api.openapi.description import describe
from agent.store import action_list, actions

bp = Blueprint("finished", __name__)


@bp.get("/finished")
@describe("Final actions, newest first.", "Items", headers=("If-None-Match", "Prefer"))
def finished() -> Response:
    agent = context()
    limit = agent.settings.actions.finished_limit
    return long_polling.respond(
        "changes",
        lambda: action_list.tag(agent.store),
        lambda: jsonify(node_protocol.items(actions.finished(agent.store, limit))),
        node_protocol.words().generation,
    )
