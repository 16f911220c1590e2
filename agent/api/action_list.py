"""`GET /list`: full rows of all actions, newest first, filtered and in pages."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, jsonify, request
from marshmallow import Schema, fields, validate

from agent import clock
from agent.api import long_polling, node_protocol
from agent.api.context import context
from agent.api.openapi.description import describe
from agent.api.query import loaded
from agent.api.routing import ACTIONS
from agent.errors import InvalidQuery
from agent.models import State
from agent.store import action_list
from agent.store.action_list import Filter
from agent.store.actions import LAST
from agent.wire.rows import item_fields

bp = Blueprint("action_list", __name__)

LONGEST = 255
SHARED = 1.0
"""Seconds for which a page is reused: the reasons of holds change without a change of an action."""
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
        metadata={"description": "The member `next` of the previous page."},
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
    generation = node_protocol.words().generation

    def tag() -> str:
        return f"{action_list.tag(agent.store)}.{agent.engine.holds.tag()}"

    return long_polling.respond(
        "changes and holds", tag, lambda: _shared_page(f"{generation}.{tag()}", _of_kinds(wanted), limit), generation
    )


class LastPage(NamedTuple):
    """The last page that was sent: many callers that wait for the same change request the same page."""

    tag: str
    wanted: Filter
    limit: int
    made: float
    body: bytes
    headers: Mapping[str, str]


def _shared_page(tag: str, wanted: Filter, limit: int) -> Response:
    extensions, now = current_app.extensions, clock.monotonic()
    last: LastPage | None = extensions.get("agent.last_page")
    if last is None or last[:3] != (tag, wanted, limit) or now - last.made > SHARED:
        made = _page(wanted, limit)
        link = {name: made.headers[name] for name in ("Link",) if name in made.headers}
        last = extensions["agent.last_page"] = LastPage(tag, wanted, limit, now, made.get_data(), link)
    return Response(last.body, headers=dict(last.headers), content_type="application/json")


def _page(wanted: Filter, limit: int) -> Response:
    items = action_list.page(context().store, wanted, limit)
    following = str(items[-1].seq) if len(items) == limit else None
    holds = context().engine.holds
    shown = [node_protocol.shown(item_fields(item, holds.reason(item)), item) for item in items]
    response = jsonify({"items": shown, "next": following})
    if following is not None:
        query = urlencode(request.args.to_dict() | {"cursor": following})
        response.headers["Link"] = f'<{ACTIONS}/list?{query}>; rel="next"'
    return response


def _wanted() -> tuple[Filter, int]:
    """The filter and the limit of the query. Raises `InvalidQuery`."""
    query = loaded(ListQuery())
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


def _of_kinds(wanted: Filter) -> Filter:
    """The filter with the agent's own names of kinds: the caller's glob matches the names of the protocol."""
    words = node_protocol.words()
    if wanted.kind is None or words is node_protocol.SEED:
        return wanted
    kinds = action_list.kinds(context().store)
    named = (each for each in kinds if fnmatchcase(words.kind_name(each), wanted.kind))
    return replace(wanted, kind=None, kinds=tuple(named))


def _states(text: str | None) -> tuple[State, ...] | None:
    if text is None:
        return None
    try:
        return tuple(State(each) for each in text.split(","))
    except ValueError:
        raise InvalidQuery(
            f"the query parameter state expects one or more of {', '.join(State)}, got {text[:100]!a}"
        ) from None


def _microseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1_000_000)
