"""How rows look on the wire: the members of an action and of a line of its history."""

from typing import Any

from agent.clock import rfc3339
from agent.models import Action, State, Transition
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


def async_action_fields(action: AsyncAction, held: str | None = None) -> dict[str, Any]:
    """The twelve members of an AsyncAction; the `finished_` ones are null until it is final."""
    final = action.state.final
    return {
        "id": action.seq,
        "user": action.user,
        "resource_type": action.resource_type,
        "action": action.kind,
        "resource_id": action.resource_id,
        "started_via": action.requester.lower(),
        "started_at": rfc3339(action.scheduled_ts),
        "finished_at": rfc3339(action.finished_ts),
        "finished_success": action.state is State.DONE if final else None,
        "finished_message": _message(action) if final else None,
        "finished_result": _object(action.state_payload, "payload") if final else None,
        "metadata": _metadata(action, held),
    }


def _message(action: AsyncAction) -> str:
    return action.finished_message or f"{action.kind} {'succeeded' if action.state is State.DONE else 'failed'}"


def _metadata(action: AsyncAction, held: str | None) -> dict[str, Any]:
    added = {"user_reference": action.user_reference, "held": held}
    return _object(action.args, "args") | {name: value for name, value in added.items() if value is not None}


def _object(value: Any, name: str) -> dict[str, Any]:
    """The value as an object: itself, `{}` for nothing, else as the member `name` of one."""
    if isinstance(value, dict):
        return value
    return {} if value is None else {name: value}
