"""`POST /cancel/<id>`: end a waiting action, request a running action to stop."""

from flask import Blueprint, Response, jsonify

from agent import log
from agent.api import authentication, permissions, request_metadata
from agent.api.context import context
from agent.api.openapi.description import describe
from agent.errors import ActionNotFound, NotCancellable
from agent.models import Action
from agent.store import actions, transitions

bp = Blueprint("cancel", __name__)


@bp.post("/cancel/<anything:action_id>")
@describe(
    "Cancel an action. A waiting action ends at once; a running action is requested to stop.",
    "Cancelled",
    errors=(ActionNotFound, NotCancellable),
)
def cancel(action_id: str) -> Response:
    action = cancel_action(action_id)
    return jsonify({"id": action.id, "state": action.state})


def cancel_action(action_id: str) -> Action:
    """Cancel the action with this uuid or number for the caller; returns the changed action.

    Raises `ActionNotFound`, `NotCancellable` and `Forbidden`.
    """
    agent = context()
    action, _ = actions.by_id(agent.store, action_id)
    permissions.permit(action.kind)
    kind = agent.registry.offered.get(action.kind)
    user = request_metadata.user()
    cancellable = kind is None or kind.cancellable
    action = transitions.cancel(
        agent.store, action_id, running=cancellable, user=user, requester=authentication.channel()
    )
    log.cancel_requested(action, user)
    agent.engine.announce_change()
    agent.engine.check_running()
    return action
