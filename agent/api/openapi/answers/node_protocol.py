"""The answers that controllers of the node protocol read beside the actions."""

from marshmallow import Schema, fields

from agent.wire.members import flag, number, text


class AgentVersionSchema(Schema):
    """The version of the agent."""

    checkout = text("The commit that the agent was built from; `unknown` if not known.")
    number = text("The version of the release.")
    taint = text("Uncommitted changes at that commit; `unknown` if not known.")


class AgentInfoSchema(Schema):
    """The version of the agent."""

    version = fields.Nested(AgentVersionSchema, required=True)


class DatastoreInfoSchema(Schema):
    """The datastore of this node."""

    cluster_display_name = text("The stack of this node.", allow_none=True)
    cluster_id = text("The cluster: the datastore's own id if that is permanent, otherwise the stack.")
    id = text("The name of this node.")
    kind = text("The kind of the datastore.")
    node_id = text("The name of this node.")
    version = text("The server's version.")


class CommitOffsetSchema(Schema):
    """A position or a lag."""

    unit = fields.Raw(required=True, metadata={"description": '`"seconds"`, or the unit as `{"unit": "bytes"}`.'})
    value = number("The amount, in `unit`.")


class ShardSchema(Schema):
    """One shard: all data of this node."""

    id = text("The stack of this node.")
    role = fields.Raw(required=True, metadata={"description": '`"primary"`, `"secondary"`, or `{"unknown": "<why>"}`.'})
    commit_offset = fields.Nested(
        CommitOffsetSchema,
        required=True,
        allow_none=True,
        metadata={"description": "Null if the position is not a number."},
    )
    lag = fields.Nested(
        CommitOffsetSchema,
        required=True,
        allow_none=True,
        metadata={"description": "The lag of a replica; null if unknown."},
    )


class ShardListSchema(Schema):
    """The shards of this node."""

    shards = fields.List(fields.Nested(ShardSchema), required=True)


class ActionsOfferedSchema(Schema):
    """Whether this node runs actions."""

    actions = flag("Always true.")
