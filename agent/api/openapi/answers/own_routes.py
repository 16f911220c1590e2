"""The answers of the agent's own routes."""

from marshmallow import Schema, fields, validate

from agent.plan import Danger, Would
from agent.wire.members import flag, mapping, number, state_field, text, texts, timestamp
from agent.wire.rows import ActionSchema, ListItem, TransitionSchema


class ErrorSchema(Schema):
    """The one shape of every error."""

    error = text("The error in one sentence.")
    layers = texts("The causes, the nearest first.")
    variant = text("The code of the error, for programs.")
    details = fields.Dict(
        values=fields.List(fields.String()),
        metadata={"description": "The errors by refused member; absent if there are none."},
    )
    error_description = fields.String(metadata={"description": "Under /api/3: the sentence with the details."})


class ItemSchema(Schema):
    """An action in a list."""

    kind = text("The kind of the action.")
    id = text("The action.")
    state = state_field()


class ActionListSchema(Schema):
    """A page of actions, newest first."""

    items = fields.List(fields.Nested(ListItem), required=True)
    next = text("The cursor of the next page; null on the last page.", allow_none=True)


class InfoSchema(Schema):
    """An action and every state it was in."""

    action = fields.Nested(ActionSchema, required=True)
    history = fields.List(fields.Nested(TransitionSchema), required=True, metadata={"description": "The newest first."})


class ScheduledSchema(Schema):
    """A stored action."""

    id = text("The action.")


class CancelledSchema(Schema):
    """A cancelled action, or one that is requested to stop."""

    id = text("The action.")
    state = state_field()


class ApprovedSchema(Schema):
    """An action that may start."""

    id = text("The action.")
    state = state_field()


class HealthSchema(Schema):
    """The agent is healthy; otherwise the status is 503."""

    status = text("`ok`.")
    parts = fields.Dict(
        values=fields.String(), metadata={"description": "The state of each part; only for authenticated callers."}
    )


class WhoamiSchema(Schema):
    """The caller as the agent knows it."""

    user = text("The e-mail of the caller; null if callers are not authenticated.", allow_none=True)
    authenticated_by = text(
        "How the caller was authenticated; null if callers are not authenticated.",
        allow_none=True,
        validate=validate.OneOf(("token", "certificate", "unix")),
    )
    read_only = flag("Whether the caller may only read.")
    kinds = texts("Globs of the kinds that it may schedule and cancel.")
    permissions = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Further permissions: approve, audit, controller."},
    )
    expires_ts = timestamp(
        "When this access expires: the first expiry of identity, token and certificate; null if none expires.",
        allow_none=True,
    )


class EventSchema(Schema):
    """A line of the audit trail."""

    id = number("The number of the event: the previous event's plus one.")
    timestamp = text("When, RFC 3339.")
    event = text("The type of the event, such as `action.scheduled`.")
    user = text("The user who caused the event.", allow_none=True)
    requester = text("The channel of the request.", allow_none=True)
    kind = text("The kind of the action.", allow_none=True)
    action_id = text("The action.", allow_none=True)
    details = mapping("Further members; they depend on the event. Secrets are masked.")
    previous = text("The hash of the previous event.")
    hash = text(
        "SHA-256 of the JSON list of previous, id, timestamp, event, user, requester, kind, action_id, details."
    )


class AvailableSchema(Schema):
    """A kind that the node offers."""

    kind = text("Its name.")
    description = text("The description of the kind.")
    danger = text("The worst effect of the kind, with any arguments.", validate=validate.OneOf(list(Danger)))
    args = mapping("The JSON Schema of its arguments.")


class MissingSchema(Schema):
    """A kind that the node does not offer."""

    kind = text("Its name.")
    reason = text("The option to set or the package to install.")


class DiscardsSchema(Schema):
    """Data that the action discards."""

    what = text("The data.")
    amount = fields.Float(required=True, allow_none=True, metadata={"description": "The amount; null: not known."})
    unit = text("The unit of the amount.")


class RefusalSchema(Schema):
    """Why an action would fail and change nothing."""

    reason = text("The reason.")
    lifted_by = text("What to do so that the action can run.")


class PlanSchema(Schema):
    """What an action would do now."""

    kind = text("The kind.")
    would = text("The class of the effect.", validate=validate.OneOf(list(Would)))
    summary = text("The effect in one sentence.")
    steps = texts("The steps of the action, in order.")
    discards = fields.List(
        fields.Nested(DiscardsSchema), required=True, metadata={"description": "Data that the action discards."}
    )
    needs = mapping("disk_bytes, seconds, privileges, where known.")
    warnings = texts("Warnings.")
    refusal = fields.Nested(RefusalSchema, required=True, allow_none=True)
    facts = mapping("The facts behind the decision.")


class DatastoreSchema(Schema):
    """The datastore of this node. A fact that cannot be had is null and named in `unknown`."""

    kind = text("The kind of the datastore.")
    reachable = flag("Whether the server answers.")
    error = text("Why the server does not answer.", allow_none=True)
    version = text("The server's version.", allow_none=True)
    cluster_id = text("The identifier of the cluster that the data belongs to.", allow_none=True)
    role = text("Its role.", allow_none=True, validate=validate.OneOf(("primary", "replica", "standalone")))
    writable = flag("Whether the server accepts writes.", allow_none=True)
    streaming = flag(
        "Whether a replica receives its source's data and applies it; null for other roles.", allow_none=True
    )
    source = mapping("The address that a replica follows.", allow_none=True)
    lag = mapping("bytes, seconds and transactions; null: not known.")
    position = text("The replication position: an LSN, a GTID set or an offset.", allow_none=True)
    timeline = number("The timeline, on servers that have timelines.", allow_none=True)
    replicas = fields.List(fields.Dict(), required=True, metadata={"description": "The replicas that follow it now."})
    slots = fields.List(
        fields.Dict(),
        required=True,
        metadata={"description": "The replication slots and the amount of log that each keeps."},
    )
    synchronous = mapping("The state of synchronous commits.", allow_none=True)
    dirty = flag("Whether the data is incomplete after an interrupted resync.", allow_none=True)
    not_known = fields.Dict(
        required=True, data_key="unknown", metadata={"description": "By fact: the reason why it is not known."}
    )
    checked_ts = timestamp("When the facts were read from the server.")
