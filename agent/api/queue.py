"""`GET /queue`: what runs and what waits, in the order of execution."""

from flask import Blueprint, Response, jsonify

from agent.api.current import context
from agent.api.description import describe
from agent.store import actions

bp = Blueprint("queue", __name__)


@bp.get("/queue")
@describe("What runs and what waits, in the order of execution.", "Items")
def queue() -> Response:
    return jsonify(actions.queue(context().store))
