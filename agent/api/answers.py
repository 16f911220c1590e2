"""What the routes answer, as marshmallow schemas: they describe the answers and are imported by the document alone."""

from typing import Any

from marshmallow import Schema, fields, validate

from agent.models import Outcome, Requester, State
from agent.plan import Danger, Would


def _text(about: str, **more: Any) -> fields.String:
    return fields.String(required=True, metadata={"description": about}, **more)


def _json(about: str) -> fields.Raw:
    return fields.Raw(required=True, allow_none=True, metadata={"description": about})


def _time(about: str, **more: Any) -> fields.String:
    return fields.String(required=True, metadata={"description": about, "format": "date-time"}, **more)


def _count(about: str, **more: Any) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": about}, **more)


def _state() -> fields.String:
    return _text("NEW waits, RUNNING is under way, DONE and FAILED are final.", validate=validate.OneOf(list(State)))


def _outcome() -> fields.String:
    return _text("How it ended; null until it is final.", allow_none=True, validate=validate.OneOf(list(Outcome)))


class Error(Schema):
    """The one shape of every error."""

    error = _text("What is wrong, in one sentence.")
    layers = fields.List(fields.String(), required=True, metadata={"description": "The causes, the nearest first."})
    variant = _text("What is wrong, for programs.")
    details = fields.Dict(
        values=fields.List(fields.String()),
        metadata={"description": "Of refused parameters: what is wrong, by member."},
    )
    error_description = fields.String(metadata={"description": "The sentence again, for clients under /api/3."})


class Item(Schema):
    """An action in a list."""

    kind = _text("The kind of the action.")
    id = _text("The action.")
    state = _state()


class Action(Schema):
    """An action."""

    kind = _text("What it does.")
    created_ts = _time("When the request came.")
    scheduled_ts = _time("When it was written down.")
    finished_ts = _time("When it became final.", allow_none=True)
    headers = fields.Dict(
        required=True,
        values=fields.String(),
        metadata={"description": "The request's headers less transport and secrets."},
    )
    id = _text("The action.")
    requester = _text("The channel that it came by.", validate=validate.OneOf(list(Requester)))
    args = _json("The arguments, secrets masked.")
    state = _state()
    state_payload = _json("What the last step has told.")
    async_action_id = _count("Its id as an AsyncAction; accepted wherever the id is.")
    user = _text("The e-mail of the caller.")
    message = _text("How it ended, in one sentence.", allow_none=True)
    outcome = _outcome()
    reason = _text("Why it was asked for: the header Action-Reason.", allow_none=True)
    started_ts = _time("When its execution began.", allow_none=True)
    not_before = _time("It does not start before.", allow_none=True)
    not_after = _time("It fails as expired if it has not started by then.", allow_none=True)
    held = fields.String(metadata={"description": "Why it waits though it may be the oldest; only while it does."})


class Resource(Schema):
    """What an action acts on."""

    type = _text("The type, such as Database.")
    name = _text("The name.")


class ListItem(Schema):
    """An action without its arguments and history."""

    id = _text("The action.")
    async_action_id = _count("Its id as an AsyncAction; accepted wherever the id is.")
    kind = _text("What it does.")
    state = _state()
    outcome = _outcome()
    user = _text("The e-mail of the caller.")
    requester = _text("The channel that it came by.", validate=validate.OneOf(list(Requester)))
    reason = _text("Why it was asked for: the header Action-Reason.", allow_none=True)
    message = _text("How it ended, or what it does now, in one sentence.", allow_none=True)
    progress = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "Of a running action: its stage or phase, with bytes_done, rate, seconds_left."},
    )
    created_ts = _time("When the request came.")
    scheduled_ts = _time("When it was stored.")
    started_ts = _time("When its execution began.", allow_none=True)
    finished_ts = _time("When it became final.", allow_none=True)
    held = _text("Why it waits though it may be the oldest.", allow_none=True)
    position = _count("Its place among the actions that wait, from 1; null where it does not wait.", allow_none=True)
    resource = fields.Nested(Resource, required=True)


class ActionList(Schema):
    """A page of actions, newest first."""

    items = fields.List(fields.Nested(ListItem), required=True)
    next = _text("The cursor of the page after; null where this is the last one.", allow_none=True)


class Transition(Schema):
    """A state that an action was in."""

    action_id = _text("The action.")
    timestamp = _time("Since when.")
    state = _state()
    state_payload = _json("What the step has told that led to it.")


class Info(Schema):
    """An action and every state it was in."""

    action = fields.Nested(Action, required=True)
    history = fields.List(fields.Nested(Transition), required=True, metadata={"description": "The newest first."})


class Scheduled(Schema):
    """An action that is on disk and will run."""

    id = _text("The action.")


class Cancelled(Schema):
    """An action that was asked to stop."""

    id = _text("The action.")
    state = _state()


class Event(Schema):
    """A line of the audit trail."""

    id = fields.Integer(required=True, metadata={"description": "Its place: one more than that of the event before."})
    timestamp = _text("When, RFC 3339.")
    event = _text("What happened, such as `action.scheduled`.")
    user = _text("Who did it.", allow_none=True)
    requester = _text("By which channel.", allow_none=True)
    kind = _text("The kind of the action.", allow_none=True)
    action_id = _text("The action.", allow_none=True)
    details = fields.Dict(required=True, metadata={"description": "More, by event; secrets are masked."})
    previous = _text("The hash of the event before.")
    hash = _text(
        "SHA-256 of the JSON list of previous, id, timestamp, event, user, requester, kind, action_id, details."
    )


class Available(Schema):
    """A kind that the node offers."""

    kind = _text("Its name.")
    description = _text("What it does.")
    danger = _text("The worst that it can do.", validate=validate.OneOf(list(Danger)))
    args = fields.Dict(required=True, metadata={"description": "The JSON Schema of its arguments."})


class Missing(Schema):
    """A kind that the node does not offer."""

    kind = _text("Its name.")
    reason = _text("What to set or install.")


class Discards(Schema):
    """Data that is given up."""

    what = _text("The data.")
    amount = fields.Float(required=True, allow_none=True, metadata={"description": "How much; null: not known."})
    unit = _text("The unit of the amount.")


class Refusal(Schema):
    """Why an action would fail and change nothing."""

    reason = _text("The reason.")
    lifted_by = _text("What would let the action run.")


class Plan(Schema):
    """What an action would do now."""

    kind = _text("The kind.")
    would = _text("The effect on the world.", validate=validate.OneOf(list(Would)))
    summary = _text("The effect in one sentence.")
    steps = fields.List(fields.String(), required=True, metadata={"description": "What would be done, in order."})
    discards = fields.List(fields.Nested(Discards), required=True, metadata={"description": "Data that is given up."})
    needs = fields.Dict(required=True, metadata={"description": "disk_bytes, seconds, privileges, where known."})
    warnings = fields.List(fields.String(), required=True, metadata={"description": "What to know before."})
    refusal = fields.Nested(Refusal, required=True, allow_none=True)
    facts = fields.Dict(required=True, metadata={"description": "What the decision was made from."})


class Datastore(Schema):
    """The datastore of this node. A fact that cannot be had is null and named in `unknown`."""

    kind = _text("The kind of the datastore.")
    reachable = fields.Boolean(required=True, metadata={"description": "Whether the server answers."})
    error = _text("Why the server does not answer.", allow_none=True)
    version = _text("The server's version.", allow_none=True)
    cluster_id = _text("The identifier of the cluster that the data belongs to.", allow_none=True)
    role = _text("Its role.", allow_none=True, validate=validate.OneOf(("primary", "replica", "standalone")))
    writable = fields.Boolean(required=True, allow_none=True, metadata={"description": "Whether it takes writes."})
    source = fields.Dict(required=True, allow_none=True, metadata={"description": "What a replica follows."})
    lag = fields.Dict(required=True, metadata={"description": "bytes, seconds and transactions; null: not known."})
    position = _text("Up to where it has its data: an LSN, a GTID set or an offset.", allow_none=True)
    timeline = _count("The timeline, where the server has timelines.", allow_none=True)
    replicas = fields.List(fields.Dict(), required=True, metadata={"description": "The replicas that follow it now."})
    slots = fields.List(
        fields.Dict(), required=True, metadata={"description": "Replication slots, and what each holds."}
    )
    synchronous = fields.Dict(
        required=True, allow_none=True, metadata={"description": "The state of synchronous commits."}
    )
    dirty = fields.Boolean(required=True, allow_none=True, metadata={"description": "Whether a resync ended half way."})
    not_known = fields.Dict(
        required=True, data_key="unknown", metadata={"description": "By fact: why it is not known."}
    )
    checked_ts = _time("When the server was asked.")


class AsyncAction(Schema):
    """An action as the vendor's clients know it; the `finished_` members are null until it is final."""

    id = _count("The place in the order of execution.")
    user = _text("The e-mail of who asked.")
    resource_type = _text("What it acts on.")
    action = _text("The kind.")
    resource_id = _count("Which one it acts on.")
    started_via = _text("The channel.", validate=validate.OneOf([each.lower() for each in Requester]))
    started_at = _time("When it was scheduled.")
    finished_at = _time("When it became final.", allow_none=True)
    finished_success = fields.Boolean(required=True, allow_none=True, metadata={"description": "Whether it is DONE."})
    finished_message = _text("How it ended, in one sentence.", allow_none=True)
    finished_result = fields.Dict(required=True, allow_none=True, metadata={"description": "What came of it."})
    metadata = fields.Dict(required=True, metadata={"description": "The arguments, secrets masked."})


class Pagination(Schema):
    """Where a page lies among the others."""

    previous = _count("The page before.", allow_none=True)
    next = _count("The page after.", allow_none=True)
    current = _count("This page.")
    per_page = _count("How many it may hold.")
    count = _count("How many there are on all pages.")
    pages = _count("How many pages there are.")


class AsyncActionAnswer(Schema):
    """One AsyncAction."""

    response = fields.Nested(AsyncAction, required=True)


class Hook(Schema):
    """What came of a delivery: an AsyncAction, or nothing."""

    response = fields.Nested(AsyncAction)
    ignored = fields.String(metadata={"description": "Why nothing is to be done."})


class AsyncActionPage(Schema):
    """A page of AsyncActions."""

    response = fields.List(fields.Nested(AsyncAction), required=True, metadata={"description": "The oldest first."})
    count = _count("How many are on this page.")
    pagination = fields.Nested(Pagination, required=True)


LISTS: dict[str, tuple[type[Schema], ...]] = {"Items": (Item,), "Kinds": (Available, Missing)}
"""Answers that are lists, with what they are lists of."""
