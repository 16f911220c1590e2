"""`GET /list`: full rows of all actions, newest first, filtered and in pages."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, ValidationError, fields, validate

from agent.api import long_polling
from agent.api.addresses import ACTIONS
from agent.api.current import context
from agent.api.description import describe
from agent.api.schemas import item_fields
from agent.errors import InvalidQuery
from agent.models import State
from agent.store import action_list
from agent.store.action_list import Filter
from agent.store.actions import LAST

bp = Blueprint("action_list", __name__)

LONGEST = 255
TIME = {"format": "date-time"}


class ListQuery(Schema):
    state = fields.String(
        validate=validate.Length(1, LONGEST),
        metadata={"description": "Only actions in this state; several are separated by commas."},
    )
    kind = fields.String(
        validate=validate.Length(1, LONGEST), metadata={"description": "Only these kinds; `*` and `?` match any text."}
    )
    user = fields.String(validate=validate.Length(1, LONGEST), metadata={"description": "Only actions of this user."})
    resource = fields.String(
        validate=validate.Length(1, LONGEST),
        metadata={"description": "Only actions on this resource: its type, or its type and name as `Database/app`."},
    )
    since = fields.AwareDateTime(metadata={"description": "Only actions scheduled then or later."} | TIME)
    until = fields.AwareDateTime(metadata={"description": "Only actions scheduled before."} | TIME)
    limit = fields.Integer(
        load_default=100, validate=validate.Range(1, 500), metadata={"description": "Actions of one page, at most."}
    )
    cursor = fields.Integer(
        load_default=LAST,
        validate=validate.Range(0, LAST),
        metadata={"description": "The `next` of the page before."},
    )


@bp.get("/list")
@describe(
    "All actions, newest first, in pages.",
    "ActionList",
    query=ListQuery,
    headers=("If-None-Match", "Prefer"),
    errors=(InvalidQuery,),
)
def actions() -> Response:
    agent = context()
    wanted, limit = _wanted()
    return long_polling.respond(
        lambda: f"{action_list.tag(agent.store)}.{agent.engine.holds.tag()}", lambda: _page(wanted, limit)
    )


def _page(wanted: Filter, limit: int) -> Response:
    items = action_list.page(context().store, wanted, limit)
    following = str(items[-1].seq) if len(items) == limit else None
    holds = context().engine.holds
    shown = [item_fields(item, holds.reason(item.kind, item.state, item.not_before)) for item in items]
    response = jsonify({"items": shown, "next": following})
    if following is not None:
        query = urlencode(request.args.to_dict() | {"cursor": following})
        response.headers["Link"] = f'<{ACTIONS}/list?{query}>; rel="next"'
    return response


def _wanted() -> tuple[Filter, int]:
    """What the query asks for. Raises `InvalidQuery`."""
    try:
        query = ListQuery().load(request.args.to_dict())
    except ValidationError as error:
        name, messages = next(iter(error.messages_dict.items()))
        raise InvalidQuery(f"the query parameter {name} is not accepted: {_first(messages)}") from None
    kind, _, name = query.get("resource", "").partition("/")
    return Filter(
        states=_states(query.get("state")),
        kind=query.get("kind"),
        user=query.get("user"),
        resource_type=kind or None,
        resource_name=name or None,
        since=_microseconds(query.get("since")),
        until=_microseconds(query.get("until")),
        before=query["cursor"],
    ), query["limit"]


def _states(text: str | None) -> tuple[State, ...] | None:
    if text is None:
        return None
    try:
        return tuple(State(each) for each in text.split(","))
    except ValueError:
        raise InvalidQuery(
            f"the query parameter state expects some of {', '.join(State)}, got {text[:100]!a}"
        ) from None


def _microseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1_000_000)


def _first(messages: Any) -> str:
    return str(messages[0] if isinstance(messages, list) else messages)
