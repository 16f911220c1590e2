"""The AsyncAction resource: the same queue, for the vendor's own clients."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, fields, validate

from agent.api import conditional, long_polling, permissions, streaming
from agent.api.async_action_form import SeedForm, form
from agent.api.body import form_body, json_body
from agent.api.cancel import cancel_action
from agent.api.context import context, held_reason
from agent.api.enqueue import REFUSALS, enqueue_for_caller
from agent.api.node_protocol import ScheduleRequest
from agent.api.openapi.description import describe
from agent.api.schedule import HEADERS, marked
from agent.engine.holds import Holds
from agent.errors import ActionNotFound, ActionPruned, InvalidArgs, NotCancellable, StackNotFound
from agent.kinds.base import Kind
from agent.kinds.base.json_schema import json_schema
from agent.kinds.base.registry import Registry
from agent.models import Accepted, Json
from agent.store import Store, action_list, async_actions
from agent.store.async_actions import AsyncAction
from agent.store.encoding import dumps
from agent.util.validation import load

PREFIX = "/api/3/stacks/<stack>/actions"
FORM = "application/x-www-form-urlencoded"
LONGEST_REFERENCE = 255
LARGEST_PAGE = 2**40
"""The maximum page number: beyond every list, and with an offset that fits into an integer of SQLite."""

REFUSAL = "these parameters are not accepted"

bp = Blueprint("async_actions", __name__)


class PageArgs(Schema):
    page = fields.Integer(
        load_default=1, validate=validate.Range(1, LARGEST_PAGE), metadata={"description": "The page, from 1."}
    )
    per_page = fields.Integer(
        load_default=30, validate=validate.Range(1, 100), metadata={"description": "Actions of one page, at most."}
    )
    user_reference = fields.String(
        validate=validate.Length(max=LONGEST_REFERENCE),
        metadata={"description": "Only actions that were scheduled with this reference."},
    )


class CommandArgs(Schema):
    command = fields.String(required=True)
    user_reference = fields.String(validate=validate.Length(max=LONGEST_REFERENCE))

    class Meta:
        unknown = "include"


def commands(registry: Registry) -> dict[str, Any]:
    """The JSON Schema of a command with its parameters, by media type."""
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
    check_stack(stack)
    agent = context()
    wanted = load(PageArgs(), request.args.to_dict(), REFUSAL)
    number, per_page = wanted["page"], wanted["per_page"]

    def body() -> Response:
        seqs, count = async_actions.page(agent.store, number, per_page, wanted.get("user_reference"))
        pages = pagination(number, per_page, count)
        return streaming.answer(_page(agent.store, form(), agent.engine.holds, seqs, pages))

    return long_polling.respond(
        "changes and holds", lambda: f"{action_list.tag(agent.store)}.{agent.engine.holds.tag()}", body, form().name
    )


@bp.get(f"{PREFIX}/<id:action_id>")
@bp.get(f"{PREFIX}/<id:action_id>.json")
@describe(
    "One action.", "AsyncActionAnswer", headers=("If-None-Match", "Prefer"), errors=(StackNotFound, ActionNotFound)
)
def one(stack: str, action_id: str) -> Response:
    check_stack(stack)
    long_polling.wait_for(action_id, form().name)
    action = async_actions.by_id(context().store, action_id)
    held = held_reason(action)
    response = jsonify({"response": form().fields(action, held)})
    response.headers["Cache-Control"] = long_polling.caching(action.state)
    tag = long_polling.tag_of(action.version, held, form().name)
    return long_polling.preference().applied(conditional.tagged(response, tag))


@bp.post(f"{PREFIX}/<id:action_id>/cancel")
@bp.post(f"{PREFIX}/<id:action_id>/cancel.json")
@describe(
    "Cancel an action. A waiting action ends at once; a running action is requested to stop.",
    "AsyncActionAnswer",
    errors=(StackNotFound, ActionNotFound, NotCancellable),
)
def cancel_one(stack: str, action_id: str) -> Response:
    check_stack(stack)
    cancelled = cancel_action(action_id)
    return _response(async_actions.by_seq(context().store, cancelled.seq))


@bp.post(PREFIX)
@bp.post(f"{PREFIX}.json")
@describe(
    "Schedule an action. `command` is its kind, the other parameters are its arguments.",
    "AsyncActionAnswer",
    headers=HEADERS,
    errors=(StackNotFound, ActionPruned, *REFUSALS),
    bodies=commands,
    links={"one": ("action_id", "/response/id")},
)
def begin(stack: str) -> Response:
    """Schedule the kind that `command` names; the other parameters are its arguments."""
    check_stack(stack)
    # Before the body is read: it names the kind, but a caller without any permission is refused without it.
    permissions.permit_any(context().registry.offered)
    is_form = request.mimetype == FORM
    parameters = load(CommandArgs(), form_body() if is_form else json_body(), REFUSAL)
    command = parameters.pop("command")
    user_reference = parameters.pop("user_reference", None)
    kind = context().registry.get(command)
    permissions.permit(kind.name)
    return answer(*schedule_action(kind, form().args(kind, parameters, is_form=is_form), user_reference))


def schedule_action(kind: Kind, args: Json, user_reference: str | None = None) -> tuple[AsyncAction, Accepted]:
    """Schedule an action for a caller with permission; a repeated request returns its earlier action.

    Raises the errors of `REFUSALS`, and `ActionPruned` if the earlier action was pruned.
    """
    accepted = enqueue_for_caller(
        kind, ScheduleRequest(args), user_reference=user_reference, request_id=form().request_id()
    )
    try:
        return async_actions.by_id(context().store, accepted.action_id), accepted
    except ActionNotFound:
        key = "Idempotency-Key" if "Idempotency-Key" in request.headers else "Request-Id"
        raise ActionPruned(f"this {key} scheduled {accepted.action_id}, which was removed from the history") from None


def answer(action: AsyncAction, accepted: Accepted) -> Response:
    """The answer for a scheduled action."""
    return marked(_response(action), accepted)


def _response(action: AsyncAction) -> Response:
    return jsonify({"response": form().fields(action, held_reason(action))})


def _page(store: Store, shape: SeedForm, holds: Holds, seqs: Sequence[int], pages: dict[str, Any]) -> Iterator[str]:
    """The JSON text of a page, without actions that were pruned since their ids were read."""
    count = 0
    yield '{"response":['
    for seq in seqs:
        with suppress(ActionNotFound):
            action = async_actions.by_seq(store, seq)
            held = holds.reason(action)
            yield "," * bool(count) + dumps(shape.fields(action, held))
            count += 1
    yield f'],"count":{count},"pagination":{dumps(pages)}}}\n'


def pagination(page: int, per_page: int, count: int) -> dict[str, Any]:
    """The position of a page; `previous` and `next` are null if there is no such page."""
    pages = max(1, -(-count // per_page))
    return {
        "previous": min(page - 1, pages) or None,
        "next": page + 1 if page < pages else None,
        "current": page,
        "per_page": per_page,
        "count": count,
        "pages": pages,
    }


def check_stack(stack: str) -> None:
    if stack != (own := context().settings.agent.stack):
        raise StackNotFound(f"this node belongs to the stack {own}")
