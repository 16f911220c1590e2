"""Schemas that serialize rows: an action, an item of the list, a line of the history, an AsyncAction.

The OpenAPI document describes these answers from the same schemas (`agent/api/openapi/answers/`).
"""

from typing import Any

from marshmallow import Schema, fields, validate

from agent.clock import rfc3339
from agent.models import Action, Requester, Transition
from agent.store.action_list import Item
from agent.store.async_actions import AsyncAction, as_object
from agent.wire.members import anything, flag, mapping, number, outcome_field, state_field, text, timestamp

Members = dict[str, Any]


class ActionSummary(Schema):
    """The members that the full action and the list item share."""

    id = text("The action.")
    async_action_id = number("Its id as an AsyncAction; accepted wherever the id is.", attribute="seq")
    kind = text("The kind of the action.")
    state = state_field()
    outcome = outcome_field()
    user = text("The e-mail of the caller.")
    requester = text("The channel of the request.", validate=validate.OneOf(list(Requester)))
    reason = text("The reason of the action: the header Action-Reason.", allow_none=True)
    created_ts = timestamp("When the request arrived.")
    scheduled_ts = timestamp("When the action was stored.")
    started_ts = timestamp("When the action started.", allow_none=True)
    finished_ts = timestamp("When the action ended.", allow_none=True)
    not_before = timestamp("The action does not start before this time.", allow_none=True)
    not_after = timestamp("The action fails as expired if it has not started by this time.", allow_none=True)
    approved_by = text("The identity that approved the action; null without an approval.", allow_none=True)


class ActionSchema(ActionSummary):
    """An action."""

    headers = mapping("The recorded headers of the request.", values=fields.String())
    args = anything("The arguments, secrets masked.")
    state_payload = anything("The payload of the last step.")
    message = text("The result in one sentence.", allow_none=True)
    request_id = text(
        "X-Request-Id of the call; null for actions of older agents.", allow_none=True, attribute="x_request_id"
    )
    traceparent = text("Span of the call, as W3C Trace Context; null for actions of older agents.", allow_none=True)
    held = fields.String(metadata={"description": "The reason why the action is held; only while it is held."})


class Resource(Schema):
    """What an action acts on."""

    type = text("The type, such as Database.", attribute="resource_type")
    name = text("The name.", attribute="resource_name")


class ListItem(ActionSummary):
    """An action without its arguments and history."""

    message = text("The result or the present state, in one sentence.", allow_none=True)
    progress = mapping("Of a running action: its stage or phase, with bytes_done, rate, seconds_left.", allow_none=True)
    held = text("The reason why the action is held.", allow_none=True)
    position = number(
        "The position among the waiting actions, from 1; null if the action does not wait.", allow_none=True
    )
    resource = fields.Nested(Resource, required=True)

    def get_attribute(self, obj: Item, attr: str, default: Any) -> Any:
        """The columns of the resource are part of the row itself."""
        return obj if attr == "resource" else super().get_attribute(obj, attr, default)


class TransitionSchema(Schema):
    """A state that an action was in."""

    action_id = text("The action.")
    timestamp = timestamp("Since when.")
    state = state_field()
    state_payload = anything("The payload of the step that caused the transition.")


class LowerCase(fields.String):
    """A string, serialized in lower case."""

    def _serialize(self, value: str | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return value.lower() if value else value


class AsyncActionSchema(Schema):
    """An action as the vendor's clients know it; the `finished_` members are null until it is final."""

    id = number("The number of the action; actions run in this order.", attribute="seq")
    user = text("The e-mail of the caller.")
    resource_type = text("The type of the resource.")
    action = text("The kind.", attribute="kind")
    resource_id = number("The name of the resource.")
    started_via = LowerCase(
        required=True,
        attribute="requester",
        validate=validate.OneOf([each.lower() for each in Requester]),
        metadata={"description": "The channel."},
    )
    started_at = timestamp("When it was scheduled.", attribute="scheduled_ts")
    finished_at = timestamp("When the action ended.", allow_none=True, attribute="finished_ts")
    finished_success = flag("Whether it is DONE.", allow_none=True, attribute="succeeded")
    finished_message = text("The result in one sentence.", allow_none=True, attribute="message")
    finished_result = mapping("The result.", allow_none=True, attribute="result")
    metadata = mapping("The arguments, secrets masked.")


ACTION, ITEM, TRANSITION, ASYNC_ACTION = ActionSchema(), ListItem(), TransitionSchema(), AsyncActionSchema()


def action_fields(action: Action, held: str | None = None, started_ts: int | None = None) -> Members:
    """The full action of the Actions API; its member `held`, the reason, exists while the action is held."""
    found: Members = ACTION.dump(action) | {"started_ts": rfc3339(started_ts)}
    return found if held is None else found | {"held": held}


def item_fields(item: Item, held: str | None) -> Members:
    """An action in the list."""
    found: Members = ITEM.dump(item)
    return found | {"held": held}


def transition_fields(action: Action, transition: Transition) -> Members:
    found: Members = TRANSITION.dump(transition)
    return found | {"action_id": action.id}


def async_action_fields(action: AsyncAction, held: str | None = None) -> Members:
    """The twelve members of an AsyncAction; `metadata` has the reason of a hold, and the user's reference."""
    found: Members = ASYNC_ACTION.dump(action)
    added = {"user_reference": action.user_reference, "held": held}
    given = {name: value for name, value in added.items() if value is not None}
    return found | {"metadata": as_object(action.args, "args") | given}
