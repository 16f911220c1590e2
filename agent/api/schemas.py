"""How rows look on the Actions API: the members of an action and of a line of its history."""

from typing import Any

from agent.api.current import context
from agent.clock import rfc3339
from agent.models import Action, Transition
from agent.store import async_actions
from agent.store.async_actions import AsyncAction


def action_fields(action: Action, held: str | None = None) -> dict[str, Any]:
    """The full action model of the Actions API; the member `held` is there while it is, and says why."""
    fields = {
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
    return fields if held is None else fields | {"held": held}


def transition_fields(action: Action, transition: Transition) -> dict[str, Any]:
    return {
        "action_id": action.id,
        "timestamp": rfc3339(transition.timestamp),
        "state": transition.state,
        "state_payload": transition.state_payload,
    }


def async_action_fields(action: AsyncAction) -> dict[str, Any]:
    """An AsyncAction; its metadata say why where it is held."""
    return async_actions.fields(action, context().engine.holds.reason(action.kind, action.state))
