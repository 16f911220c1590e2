"""`GET /queue`: what runs and what waits, in the order of execution."""

from flask import Blueprint, Response, jsonify

from agent.api.current import context
from agent.store import actions

bp = Blueprint("queue", __name__)


@bp.get("/queue")
def queue() -> Response:
    return jsonify(actions.queue(context().store))
