"""`POST /approve/<id>`: let an action start that waits for an approval or for its window."""

from flask import Blueprint, Response, jsonify

from agent import log
from agent.api import authentication, permissions
from agent.api.context import context
from agent.api.openapi.description import describe
from agent.errors import ActionNotFound, Forbidden, NotApprovable
from agent.models import Action
from agent.store import transitions

bp = Blueprint("approve", __name__)

PERMISSION = "approve"


@bp.post("/approve/<anything:action_id>")
@describe(
    "Let an action start that waits for an approval or for its window. Needs the permission `approve` and another "
    "identity than the one that scheduled it.",
    "Approved",
    errors=(ActionNotFound, NotApprovable),
)
def approve(action_id: str) -> Response:
    action = approve_action(action_id)
    return jsonify({"id": action.id, "state": action.state})


def approve_action(action_id: str) -> Action:
    """Approve the action with this uuid or number for the caller; returns the changed action.

    Raises `ActionNotFound`, `NotApprovable` and `Forbidden`.
    """
    permissions.require(PERMISSION)
    identity = authentication.caller()
    if identity is None:
        raise Forbidden("callers are not authenticated, so no approval is accepted: set api.tokens")
    agent = context()
    action = transitions.approve(agent.store, action_id, identity.email, authentication.channel())
    log.approved(action)
    agent.engine.announce_change()
    agent.engine.wake()
    return action
