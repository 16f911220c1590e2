"""`GET /events`: the audit trail as JSON lines, oldest first; for callers with the permission `audit`."""

from flask import Blueprint, Response, request
from marshmallow import Schema, ValidationError, fields, validate

from agent.api import auth
from agent.api.current import context, waiters
from agent.api.description import describe
from agent.api.long_polling import preference
from agent.errors import InvalidQuery
from agent.store import events
from agent.store.actions import dumps

bp = Blueprint("events", __name__)

MOST = 1000
"""Events of one answer: the caller goes on after the last one."""


class EventsQuery(Schema):
    after = fields.Integer(
        load_default=0,
        validate=validate.Range(0, 2**62),
        metadata={"description": "The `id` of the last event that the caller has."},
    )


@bp.get("/events")
@describe(
    "The audit trail, oldest first: JSON lines, 1000 at most. Needs the permission `audit`.",
    "Event",
    media_type="application/x-ndjson",
    query=EventsQuery,
    headers=("Prefer",),
    errors=(InvalidQuery,),
)
def trail() -> Response:
    auth.require("audit")
    store = context().store
    try:
        after: int = EventsQuery().load(request.args.to_dict())["after"]
    except ValidationError as error:
        raise InvalidQuery("after must be the id of an event", details={"after": _flat(error)}) from None
    preferred = preference()
    if preferred.seconds:
        waiters().wait(preferred.seconds, lambda: events.newest(store) > after)
    lines = "".join(f"{dumps(event)}\n" for event in events.after(store, after, MOST))
    response = Response(lines, content_type="application/x-ndjson")
    response.headers["Cache-Control"] = "no-cache"
    return preferred.applied(response)


def _flat(error: ValidationError) -> list[str]:
    messages = error.messages_dict.get("after", [])
    return [str(each) for each in messages]
