"""The answers under /api/3: AsyncActions, their stack and server, and hooks."""

from marshmallow import Schema, fields

from agent.wire.members import flag, mapping, number, text
from agent.wire.rows import AsyncActionSchema


class PaginationSchema(Schema):
    """The position of a page."""

    previous = number("The previous page.", allow_none=True)
    next = number("The next page.", allow_none=True)
    current = number("This page.")
    per_page = number("The maximum number on a page.")
    count = number("The number on all pages.")
    pages = number("The number of pages.")


class AsyncActionAnswerSchema(Schema):
    """One AsyncAction."""

    response = fields.Nested(AsyncActionSchema, required=True)


class TypedPingSchema(Schema):
    """The agent answers."""

    response = mapping("`ok` and `message`.")


class TypedStackSchema(Schema):
    """The stack of this node."""

    response = mapping("The stack; its uid is its name.")


class TypedServerSchema(Schema):
    """The server that this node is."""

    response = mapping("The server; its uid is the name of the node.")


class TypedStacksSchema(Schema):
    """A list of one stack."""

    response = fields.List(fields.Dict(), required=True, metadata={"description": "The stack of this node."})
    count = number("The number on this page.")
    pagination = fields.Nested(PaginationSchema, required=True)


class TypedServersSchema(Schema):
    """A list of one server."""

    response = fields.List(fields.Dict(), required=True, metadata={"description": "The server that this node is."})
    count = number("The number on this page.")
    pagination = fields.Nested(PaginationSchema, required=True)


class DeploymentSchema(Schema):
    """A stored deploy."""

    ok = flag("True.")
    message = text("The result in one sentence.")
    queued = flag("Whether it waits for other actions.")
    async_action_id = number("The id of the AsyncAction.")


class TypedDeploymentSchema(Schema):
    """A stored deploy."""

    response = fields.Nested(DeploymentSchema, required=True)


class HookSchema(Schema):
    """The result of a delivery: an AsyncAction, or nothing."""

    response = fields.Nested(AsyncActionSchema)
    ignored = fields.String(metadata={"description": "The reason why nothing was scheduled."})


class AsyncActionPageSchema(Schema):
    """A page of AsyncActions."""

    response = fields.List(
        fields.Nested(AsyncActionSchema), required=True, metadata={"description": "The oldest first."}
    )
    count = number("The number on this page.")
    pagination = fields.Nested(PaginationSchema, required=True)
