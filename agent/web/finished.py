"""`GET /ui/finished`: the final actions in pages, filtered by the query of the address."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request
from marshmallow import Schema, fields, validate

from agent.api.context import context
from agent.models import State
from agent.store import action_list
from agent.store.action_list import Filter
from agent.store.actions import LAST
from agent.web import rows, timeline, views
from agent.web.routes import page

bp = Blueprint("finished", __name__)

ROWS = 50
LONGEST = 255
STATES = {"": (State.DONE, State.FAILED), "done": (State.DONE,), "failed": (State.FAILED,)}
DAYS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ")


class FinishedQuery(Schema):
    """An empty text is no filter: forms send empty fields."""

    state = fields.String(load_default="", metadata={"description": "`done` or `failed`."})
    kind = fields.String(load_default="", validate=validate.Length(max=LONGEST))
    user = fields.String(load_default="", validate=validate.Length(max=LONGEST))
    resource = fields.String(load_default="", validate=validate.Length(max=LONGEST))
    since = fields.String(load_default="", validate=validate.Length(max=LONGEST))
    until = fields.String(load_default="", validate=validate.Length(max=LONGEST))
    before = fields.String(load_default="", validate=validate.Length(max=20))


FILTERS = ("state", "kind", "user", "resource", "since", "until")


@page(bp, "/finished", "The final actions in pages, filtered.", query=FinishedQuery)
def finished() -> Response:
    given = {name: request.args.get(name, "")[:LONGEST].strip() for name in (*FILTERS, "before")}
    wanted, wrong = _wanted(given)
    store = context().store

    def tag() -> str:
        # Not the tag of all actions: each progress of the running action would repeat an expensive filtered query.
        return action_list.finished_tag(store)

    return views.live("finished", tag, "finished.html", lambda: _values(given, wanted, wrong))


def _values(given: dict[str, str], wanted: Filter | None, wrong: dict[str, str]) -> dict[str, Any]:
    found = rows.finished(wanted, ROWS) if wanted is not None else []
    kept = {name: given[name] for name in FILTERS if given[name]}
    older = urlencode(kept | {"before": str(found[-1].item.seq)}) if len(found) == ROWS else None
    return {
        "rows": found,
        "bars": timeline.of(found),
        "given": given,
        "wrong": wrong,
        "older": older,
        "newest": urlencode(kept) if given["before"] else None,
        "filtered": bool(kept),
        "kinds": [kind.name for kind in context().registry],
    }


def _wanted(given: dict[str, str]) -> tuple[Filter | None, dict[str, str]]:
    """The filter (None if a field is invalid) and the expected value for each invalid field."""
    wrong: dict[str, str] = {}
    if given["state"] not in STATES:
        wrong["state"] = "done or failed"
    times = {}
    for name in ("since", "until"):
        times[name] = _time(given[name], end=name == "until")
        if given[name] and times[name] is None:
            wrong[name] = "a day such as 2026-01-31, or a time such as 2026-01-31 14:30, in UTC"
    if given["before"] and not (given["before"].isascii() and given["before"].isdecimal()):
        wrong["before"] = "a number"
    if wrong:
        return None, wrong
    kind, _, name = given["resource"].partition("/")
    return Filter(
        states=STATES[given["state"]],
        kind=given["kind"] or None,
        user=given["user"] or None,
        resource_type=kind or None,
        resource_name=name or None,
        since=times["since"],
        until=times["until"],
        before=min(int(given["before"] or LAST), LAST),
    ), {}


def _time(text: str, *, end: bool) -> int | None:
    """A day or time in UTC as microseconds since the epoch; None if invalid. `end`: of a day, its end."""
    for form in DAYS:
        try:
            found = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return round((found + timedelta(days=end and form == DAYS[0])).timestamp() * 1_000_000)
    return None
