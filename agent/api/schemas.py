"""How rows look on the wire: the members of an action and of a line of its history."""

from typing import Any

from agent.clock import rfc3339
from agent.models import Action, Transition


def action_fields(action: Action) -> dict[str, Any]:
    """The full action model of the Actions API."""
    return {
        "kind": action.kind,
        "created_ts": rfc3339(action.created_ts),
        "scheduled_ts": rfc3339(action.scheduled_ts),
        "finished_ts": rfc3339(action.finished_ts),
        "headers": action.headers,
        "id": action.id,
        "requester": action.requester,
        "args": action.args,
        "state": action.state,
        "state_payload": action.state_payload,
    }


def transition_fields(action: Action, transition: Transition) -> dict[str, Any]:
    return {
        "action_id": action.id,
        "timestamp": rfc3339(transition.timestamp),
        "state": transition.state,
        "state_payload": transition.state_payload,
    }
