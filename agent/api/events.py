"""`GET /events`: the audit trail as JSON lines, oldest first; for callers with the permission `audit`."""

from flask import Blueprint, Response, request
from marshmallow import Schema, ValidationError, fields, validate

from agent.api import permissions
from agent.api.context import context, waiters
from agent.api.long_polling import preference
from agent.api.openapi.description import describe
from agent.api.waiters import Fact
from agent.errors import InvalidQuery
from agent.store import audit_events
from agent.store.encoding import dumps

bp = Blueprint("events", __name__)

MOST = 1000
"""Maximum number of events of one answer; the caller continues after the last one."""


class EventsQuery(Schema):
    after = fields.Integer(
        load_default=0,
        validate=validate.Range(0, 2**62),
        metadata={"description": "The `id` of the last event that the caller received."},
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
    permissions.require("audit")
    store = context().store
    try:
        after: int = EventsQuery().load(request.args.to_dict())["after"]
    except ValidationError as error:
        why = "the query parameter after must be the id of an event"
        raise InvalidQuery(why, details={"after": _flat(error)}) from None
    preferred = preference()
    if preferred.seconds:
        waiters().wait(preferred.seconds, Fact(lambda: audit_events.newest(store) > after))
    lines = "".join(f"{dumps(event)}\n" for event in audit_events.after(store, after, MOST))
    response = Response(lines, content_type="application/x-ndjson")
    response.headers["Cache-Control"] = "no-cache"
    return preferred.applied(response)


def _flat(error: ValidationError) -> list[str]:
    messages = error.messages_dict.get("after", [])
    return [str(each) for each in messages]
