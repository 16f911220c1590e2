"""How rows look on the wire: the members of an action, of an item of the list and of a line of the history."""

from typing import Any

from agent.api.current import context
from agent.clock import rfc3339
from agent.models import Action, Transition
from agent.store import async_actions
from agent.store.action_list import Item
from agent.store.async_actions import AsyncAction


def action_fields(action: Action, held: str | None = None, started_ts: int | None = None) -> dict[str, Any]:
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
        "async_action_id": action.seq,
        "user": action.user,
        "message": action.message,
        "outcome": action.outcome,
        "reason": action.reason,
        "started_ts": rfc3339(started_ts),
        "not_before": rfc3339(action.not_before),
        "not_after": rfc3339(action.not_after),
    }
    return fields if held is None else fields | {"held": held}


def item_fields(item: Item, held: str | None) -> dict[str, Any]:
    """An action in the list."""
    return {
        "id": item.id,
        "async_action_id": item.seq,
        "kind": item.kind,
        "state": item.state,
        "outcome": item.outcome,
        "user": item.user,
        "requester": item.requester,
        "reason": item.reason,
        "message": item.message,
        "progress": item.progress,
        "created_ts": rfc3339(item.created_ts),
        "scheduled_ts": rfc3339(item.scheduled_ts),
        "started_ts": rfc3339(item.started_ts),
        "finished_ts": rfc3339(item.finished_ts),
        "held": held,
        "position": item.position,
        "resource": {"type": item.resource_type, "name": item.resource_name},
    }


def transition_fields(action: Action, transition: Transition) -> dict[str, Any]:
    return {
        "action_id": action.id,
        "timestamp": rfc3339(transition.timestamp),
        "state": transition.state,
        "state_payload": transition.state_payload,
    }


def async_action_fields(action: AsyncAction) -> dict[str, Any]:
    """An AsyncAction; its metadata say why where it is held."""
    return async_actions.fields(action, held_reason(action))


def held_reason(action: Action | AsyncAction) -> str | None:
    """Why an action waits though it may be the oldest; None where it does not."""
    return context().engine.holds.reason(action.kind, action.state, action.not_before)
