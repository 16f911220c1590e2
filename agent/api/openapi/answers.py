"""What the routes answer, as marshmallow schemas: they describe the answers and are imported by the document alone."""

from marshmallow import Schema, fields, validate

from agent.plan import Danger, Would
from agent.wire.members import flag, mapping, number, state_field, text, texts, timestamp
from agent.wire.rows import (  # noqa: F401 (a component of its own)
    ActionSchema as Action,
    AsyncActionSchema as AsyncAction,
    ListItem,
    Resource,
    TransitionSchema as Transition,
)


class Error(Schema):
    """The one shape of every error."""

    error = text("The error in one sentence.")
    layers = texts("The causes, the nearest first.")
    variant = text("The code of the error, for programs.")
    details = fields.Dict(
        values=fields.List(fields.String()),
        metadata={"description": "The errors by refused member; absent if there are none."},
    )
    error_description = fields.String(metadata={"description": "Under /api/3: the sentence with the details."})


class Item(Schema):
    """An action in a list."""

    kind = text("The kind of the action.")
    id = text("The action.")
    state = state_field()


class ActionList(Schema):
    """A page of actions, newest first."""

    items = fields.List(fields.Nested(ListItem), required=True)
    next = text("The cursor of the next page; null on the last page.", allow_none=True)


class Info(Schema):
    """An action and every state it was in."""

    action = fields.Nested(Action, required=True)
    history = fields.List(fields.Nested(Transition), required=True, metadata={"description": "The newest first."})


class Scheduled(Schema):
    """A stored action."""

    id = text("The action.")


class Cancelled(Schema):
    """A cancelled action, or one that is requested to stop."""

    id = text("The action.")
    state = state_field()


class Approved(Schema):
    """An action that may start."""

    id = text("The action.")
    state = state_field()


class Health(Schema):
    """The agent is healthy; otherwise the status is 503."""

    status = text("`ok`.")
    parts = fields.Dict(
        values=fields.String(), metadata={"description": "The state of each part; only for authenticated callers."}
    )


class Whoami(Schema):
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


class Event(Schema):
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


class Available(Schema):
    """A kind that the node offers."""

    kind = text("Its name.")
    description = text("The description of the kind.")
    danger = text("The worst effect of the kind, with any arguments.", validate=validate.OneOf(list(Danger)))
    args = mapping("The JSON Schema of its arguments.")


class Missing(Schema):
    """A kind that the node does not offer."""

    kind = text("Its name.")
    reason = text("The option to set or the package to install.")


class Discards(Schema):
    """Data that the action discards."""

    what = text("The data.")
    amount = fields.Float(required=True, allow_none=True, metadata={"description": "The amount; null: not known."})
    unit = text("The unit of the amount.")


class Refusal(Schema):
    """Why an action would fail and change nothing."""

    reason = text("The reason.")
    lifted_by = text("What to do so that the action can run.")


class Plan(Schema):
    """What an action would do now."""

    kind = text("The kind.")
    would = text("The class of the effect.", validate=validate.OneOf(list(Would)))
    summary = text("The effect in one sentence.")
    steps = texts("The steps of the action, in order.")
    discards = fields.List(
        fields.Nested(Discards), required=True, metadata={"description": "Data that the action discards."}
    )
    needs = mapping("disk_bytes, seconds, privileges, where known.")
    warnings = texts("Warnings.")
    refusal = fields.Nested(Refusal, required=True, allow_none=True)
    facts = mapping("The facts behind the decision.")


class Datastore(Schema):
    """The datastore of this node. A fact that cannot be had is null and named in `unknown`."""

    kind = text("The kind of the datastore.")
    reachable = flag("Whether the server answers.")
    error = text("Why the server does not answer.", allow_none=True)
    version = text("The server's version.", allow_none=True)
    cluster_id = text("The identifier of the cluster that the data belongs to.", allow_none=True)
    role = text("Its role.", allow_none=True, validate=validate.OneOf(("primary", "replica", "standalone")))
    writable = flag("Whether the server accepts writes.", allow_none=True)
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


class AgentVersion(Schema):
    """The version of the agent."""

    checkout = text("The commit that the agent was built from; `unknown` if not known.")
    number = text("The version of the release.")
    taint = text("Uncommitted changes at that commit; `unknown` if not known.")


class AgentInfo(Schema):
    """The agent."""

    version = fields.Nested(AgentVersion, required=True)


class DatastoreInfo(Schema):
    """The datastore of this node."""

    cluster_display_name = text("The stack of this node.", allow_none=True)
    cluster_id = text("The cluster: the datastore's own id if that is permanent, otherwise the stack.")
    id = text("The name of this node.")
    kind = text("The kind of the datastore.")
    node_id = text("The name of this node.")
    version = text("The server's version.")


class CommitOffset(Schema):
    """A position or a lag."""

    unit = fields.Raw(required=True, metadata={"description": '`"seconds"`, or the unit as `{"unit": "bytes"}`.'})
    value = number("How many.")


class Shard(Schema):
    """The data of this node."""

    id = text("The stack of this node.")
    role = fields.Raw(required=True, metadata={"description": '`"primary"`, `"secondary"`, or `{"unknown": "<why>"}`.'})
    commit_offset = fields.Nested(
        CommitOffset, required=True, allow_none=True, metadata={"description": "Null if the position is not a number."}
    )
    lag = fields.Nested(
        CommitOffset, required=True, allow_none=True, metadata={"description": "Of a replica; null: not known."}
    )


class ShardList(Schema):
    """All data of this node."""

    shards = fields.List(fields.Nested(Shard), required=True)


class ActionsOffered(Schema):
    """Whether this node runs actions."""

    actions = flag("True.")


class Pagination(Schema):
    """The position of a page."""

    previous = number("The previous page.", allow_none=True)
    next = number("The next page.", allow_none=True)
    current = number("This page.")
    per_page = number("The maximum number on a page.")
    count = number("The number on all pages.")
    pages = number("The number of pages.")


class AsyncActionAnswer(Schema):
    """One AsyncAction."""

    response = fields.Nested(AsyncAction, required=True)


class TypedPing(Schema):
    """The agent answers."""

    response = mapping("`ok` and `message`.")


class TypedStack(Schema):
    """The stack of this node."""

    response = mapping("The stack; its uid is its name.")


class TypedServer(Schema):
    """The server that this node is."""

    response = mapping("The server; its uid is the name of the node.")


class TypedStacks(Schema):
    """A list of one stack."""

    response = fields.List(fields.Dict(), required=True, metadata={"description": "The stack of this node."})
    count = number("The number on this page.")
    pagination = fields.Nested(Pagination, required=True)


class TypedServers(Schema):
    """A list of one server."""

    response = fields.List(fields.Dict(), required=True, metadata={"description": "The server that this node is."})
    count = number("The number on this page.")
    pagination = fields.Nested(Pagination, required=True)


class Deployment(Schema):
    """A stored deploy."""

    ok = flag("True.")
    message = text("The result in one sentence.")
    queued = flag("Whether it waits for other actions.")
    async_action_id = number("The id of the AsyncAction.")


class TypedDeployment(Schema):
    """A stored deploy."""

    response = fields.Nested(Deployment, required=True)


class Hook(Schema):
    """The result of a delivery: an AsyncAction, or nothing."""

    response = fields.Nested(AsyncAction)
    ignored = fields.String(metadata={"description": "The reason why nothing was scheduled."})


class AsyncActionPage(Schema):
    """A page of AsyncActions."""

    response = fields.List(fields.Nested(AsyncAction), required=True, metadata={"description": "The oldest first."})
    count = number("The number on this page.")
    pagination = fields.Nested(Pagination, required=True)


LISTS: dict[str, tuple[type[Schema], ...]] = {"Items": (Item,), "Kinds": (Available, Missing)}
"""Answers that are lists, with what they are lists of."""
