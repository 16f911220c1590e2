"""`POST /schedule/<kind>`: write an action down; 200 means that it is on disk and will run."""

from fnmatch import fnmatchcase

from flask import Blueprint, Response

from agent import clock
from agent.api import authentication, body, correlation, node_protocol, request_metadata
from agent.api.body import json_body
from agent.api.context import context
from agent.api.node_protocol import ScheduleRequest
from agent.api.openapi.description import describe
from agent.api.request_metadata import NO_TERMS, Terms
from agent.api.routing import ACTIONS
from agent.errors import (
    NO_MEMBER,
    ActionAlreadyExists,
    ActionNotAvailable,
    IdempotencyKeyReused,
    InvalidArgs,
    InvalidHeader,
    QueueFull,
)
from agent.kinds.base import Kind
from agent.kinds.base.arguments import spelled_as_declared
from agent.models import Accepted, Json, Request, Requester

bp = Blueprint("schedule", __name__)

ENVELOPE = frozenset(("action_id", "args", "created_ts", "requester"))
"""The members in which other agents of this kind of protocol wrap the arguments."""
HEADERS = ("Idempotency-Key", "From", "Action-Reason", "Not-Before", "Not-After", *correlation.HEADERS)
REFUSALS = (
    *body.REFUSALS,
    ActionAlreadyExists,
    ActionNotAvailable,
    InvalidArgs,
    InvalidHeader,
    IdempotencyKeyReused,
    QueueFull,
)
"""What `accept` may answer instead of an id."""


@bp.post("/schedule/<anything:kind>")
@describe(
    "Schedule an action. 200 means that the action is stored on disk. The body has its arguments, or the envelope of "
    "the node protocol.",
    "Scheduled",
    headers=HEADERS,
    errors=REFUSALS,
    bodies=lambda registry: {"application/json": node_protocol.configured().any_body()},
    links={"info": ("action_id", "/id"), "cancel": ("action_id", "/id")},
)
def schedule(kind: str) -> Response:
    """The whole JSON body is the action's arguments, or the envelope around them."""
    called = node_protocol.kind_called(kind)
    authentication.permit(called.name)
    accepted = accept(called, node_protocol.words().wanted(json_body()))
    return marked(Response(f'{{"id":"{accepted.action_id}"}}\n', mimetype="application/json"), accepted)


def marked(response: Response, accepted: Accepted) -> Response:
    """The answer with the action's address, and `Idempotent-Replayed: true` where an earlier call scheduled it."""
    address = f"{ACTIONS}/info/{accepted.action_id}"
    response.headers["Location"] = address
    response.headers["Link"] = f'<{address}>; rel="monitor"'
    response.autocorrect_location_header = False
    if accepted.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def accept(
    kind: Kind, wanted: ScheduleRequest, *, user_reference: str | None = None, request_id: str | None = None
) -> Accepted:
    """Validate and store an action for a caller of the API, whose permission was checked before the body was read."""
    return write_down(
        kind,
        wanted.args,
        authentication.channel(),
        user=request_metadata.user(),
        idempotency_key=request_metadata.idempotency_key(),
        user_reference=user_reference,
        terms=request_metadata.terms(),
        wanted=wanted,
        request_id=request_id,
    )


def write_down(
    kind: Kind,
    args: Json,
    requester: Requester,
    *,
    user: str,
    idempotency_key: str | None,
    user_reference: str | None = None,
    terms: Terms = NO_TERMS,
    wanted: ScheduleRequest | None = None,
    request_id: str | None = None,
) -> Accepted:
    """Validate and store a request of any channel. The caller must have checked the permissions of `user`."""
    now = clock.now()
    agent = context()
    wanted = wanted or ScheduleRequest(args)
    if isinstance(args, dict):
        _refuse_an_envelope(kind, args)
        args = spelled_as_declared(kind.schema, args)
    loaded = kind.load(args)
    resource = kind.resource(loaded)
    _refuse_what_is_no_text(user_reference=user_reference or "", name=resource[1])
    public, secrets = kind.split_secrets(args)
    request = Request(
        kind=kind.name,
        args=public,
        secrets=secrets,
        headers=request_metadata.headers(),
        requester=requester,
        user=user,
        resource=resource,
        created_ts=now if wanted.created_ts is None else wanted.created_ts,
        idempotency_key=idempotency_key,
        user_reference=user_reference,
        reason=terms.reason,
        not_before=terms.not_before,
        not_after=terms.not_after,
        needs_approval=any(fnmatchcase(kind.name, glob) for glob in agent.settings.actions.approval),
        x_request_id=correlation.request_id(),
        traceparent=str(correlation.span()),
        ends_hold=not kind.can_be_held,
        action_id=wanted.action_id,
        core_requester=wanted.core_requester,
        request_id=request_id,
    )
    accepted = agent.enqueuer.schedule(request)
    agent.engine.wake()
    return accepted


def _refuse_an_envelope(kind: Kind, args: dict[str, Json]) -> None:
    """Raises `InvalidArgs` for arguments in the envelope of another protocol, where the kind has no argument `args`."""
    if "args" in args and len(args) > 1 and ENVELOPE.issuperset(args) and "args" not in kind.schema.load_fields:
        found = ", ".join(sorted(args))
        raise InvalidArgs(
            f"the body is the envelope of another protocol ({found}): send what is in args as the whole body",
            details={NO_MEMBER: ["Not expected: the body is the arguments themselves."]},
        )


def _refuse_what_is_no_text(**texts: str) -> None:
    """Raises `InvalidArgs` for half of a surrogate pair, which JSON can write and no file can hold."""
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgs(
                "an unpaired surrogate is not valid text", details={name: ["Not a valid text."]}
            ) from None
