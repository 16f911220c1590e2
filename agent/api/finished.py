"""`GET /finished`: what ended, newest first."""

from flask import Blueprint, Response, jsonify

from agent.api.current import context
from agent.api.description import describe
from agent.store import actions

bp = Blueprint("finished", __name__)


@bp.get("/finished")
@describe("What ended, the newest first.", "Items")
def finished() -> Response:
    agent = context()
    return jsonify(actions.finished(agent.store, agent.settings.actions.finished_limit))
