"""The AsyncAction resource: the same queue, as the vendor's own clients call it."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, ValidationError, fields, validate

from agent.api import auth, conditional, long_polling, streamed
from agent.api.body import form_body, json_body
from agent.api.cancel import cancel_action
from agent.api.current import context
from agent.api.description import describe
from agent.api.form import form_args
from agent.api.schedule import HEADERS, REFUSALS, accept, marked
from agent.api.schemas import async_action_fields, held_reason
from agent.engine.holds import Holds
from agent.errors import ActionNotFound, ActionPruned, InvalidArgs, NotCancellable, StackNotFound
from agent.kinds.arguments import json_schema
from agent.kinds.registry import Registry
from agent.models import Json
from agent.store import Store, action_list, async_actions
from agent.store.actions import dumps

PREFIX = "/api/3/stacks/<stack>/actions"
FORM = "application/x-www-form-urlencoded"
LONGEST_REFERENCE = 255
LARGEST_PAGE = 2**40
"""A page further than any list is long, whose offset SQLite still has room for."""

bp = Blueprint("async_actions", __name__)


class PageArgs(Schema):
    page = fields.Integer(load_default=1, validate=validate.Range(1, LARGEST_PAGE))
    per_page = fields.Integer(load_default=30, validate=validate.Range(1, 100))
    user_reference = fields.String(validate=validate.Length(max=LONGEST_REFERENCE))


class CommandArgs(Schema):
    command = fields.String(required=True)
    user_reference = fields.String(validate=validate.Length(max=LONGEST_REFERENCE))

    class Meta:
        unknown = "include"


def commands(registry: Registry) -> dict[str, Any]:
    """A command with the parameters that it takes, as JSON or as a form."""
    named = json_schema(CommandArgs())
    offered = []
    for kind in registry:
        args = {"properties": {}} | kind.args_schema()
        properties = args["properties"] | named["properties"] | {"command": {"const": kind.name}}
        required = [*named["required"], *args.get("required", ())]
        offered.append(args | {"type": "object", "properties": properties, "required": required})
    return {media_type: {"oneOf": offered} for media_type in ("application/json", FORM)}


@bp.get(PREFIX)
@bp.get(f"{PREFIX}.json")
@describe(
    "A page of all actions.",
    "AsyncActionPage",
    query=PageArgs,
    headers=("If-None-Match", "Prefer"),
    errors=(StackNotFound, InvalidArgs),
)
def page(stack: str) -> Response:
    _check(stack)
    agent = context()
    wanted = _loaded(PageArgs(), request.args.to_dict())
    number, per_page = wanted["page"], wanted["per_page"]

    def body() -> Response:
        seqs, count = async_actions.page(agent.store, number, per_page, wanted.get("user_reference"))
        return streamed.answer(_page(agent.store, agent.engine.holds, seqs, pagination(number, per_page, count)))

    return long_polling.respond(lambda: f"{action_list.tag(agent.store)}.{agent.engine.holds.tag()}", body)


@bp.get(f"{PREFIX}/<id:action_id>")
@bp.get(f"{PREFIX}/<id:action_id>.json")
@describe(
    "One action.", "AsyncActionAnswer", headers=("If-None-Match", "Prefer"), errors=(StackNotFound, ActionNotFound)
)
def one(stack: str, action_id: str) -> Response:
    _check(stack)
    long_polling.wait_for(action_id)
    action = async_actions.by_id(context().store, action_id)
    held = held_reason(action)
    response = jsonify({"response": async_actions.fields(action, held)})
    response.headers["Cache-Control"] = long_polling.caching(action.state)
    tag = long_polling.tag_of(action.version, held)
    return long_polling.preference().applied(conditional.tagged(response, tag))


@bp.post(f"{PREFIX}/<id:action_id>/cancel")
@bp.post(f"{PREFIX}/<id:action_id>/cancel.json")
@describe(
    "End an action that waits, ask one that runs to stop.",
    "AsyncActionAnswer",
    errors=(StackNotFound, ActionNotFound, NotCancellable),
)
def cancel_one(stack: str, action_id: str) -> Response:
    _check(stack)
    cancelled = cancel_action(action_id)
    return jsonify({"response": async_action_fields(async_actions.by_seq(context().store, cancelled.seq))})


@bp.post(PREFIX)
@bp.post(f"{PREFIX}.json")
@describe(
    "Write an action down; `command` is its kind, the other parameters are its arguments.",
    "AsyncActionAnswer",
    headers=HEADERS,
    errors=(StackNotFound, ActionPruned, *REFUSALS),
    bodies=commands,
    links={"one": ("action_id", "/response/id")},
)
def begin(stack: str) -> Response:
    """Schedule the kind that `command` names; the other parameters are its arguments."""
    _check(stack)
    # Which kind is wanted stands in the body; a caller who may schedule none has no body read.
    auth.permit_any(context().registry.offered)
    parameters = _loaded(CommandArgs(), form_body() if _is_form() else json_body())
    command = parameters.pop("command")
    user_reference = parameters.pop("user_reference", None)
    kind = context().registry.get(command)
    auth.permit(kind.name)
    args: Json = form_args(kind.schema, parameters) if _is_form() else parameters
    accepted = accept(kind, args, user_reference=user_reference)
    try:
        action = async_actions.by_id(context().store, accepted.action_id)
    except ActionNotFound:
        raise ActionPruned(f"this Idempotency-Key scheduled {accepted.action_id}, which is no longer kept") from None
    return marked(jsonify({"response": async_action_fields(action)}), accepted)


def _page(store: Store, holds: Holds, seqs: Sequence[int], pages: dict[str, Any]) -> Iterator[str]:
    """The text of a page; what was pruned since it was looked up is not on it."""
    count = 0
    yield '{"response":['
    for seq in seqs:
        with suppress(ActionNotFound):
            action = async_actions.by_seq(store, seq)
            held = holds.reason(action.kind, action.state, action.not_before)
            yield "," * bool(count) + dumps(async_actions.fields(action, held))
            count += 1
    yield f'],"count":{count},"pagination":{dumps(pages)}}}\n'


def pagination(page: int, per_page: int, count: int) -> dict[str, Any]:
    """Where a page lies among the others; the neighbours are null where there is none."""
    pages = max(1, -(-count // per_page))
    return {
        "previous": min(page - 1, pages) or None,
        "next": page + 1 if page < pages else None,
        "current": page,
        "per_page": per_page,
        "count": count,
        "pages": pages,
    }


def _check(stack: str) -> None:
    if stack != (own := context().settings.agent.stack):
        raise StackNotFound(f"this node belongs to the stack {own}")


def _is_form() -> bool:
    return request.mimetype == FORM


def _loaded(schema: Schema, parameters: Json) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(parameters)
    except ValidationError as error:
        details = error.messages if isinstance(error.messages, dict) else {"_schema": error.messages}
        raise InvalidArgs("these parameters are not accepted", details=details) from None
    return loaded
