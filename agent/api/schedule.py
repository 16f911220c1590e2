"""`POST /schedule/<kind>`: write an action down; 200 means that it is on disk and will run."""

from flask import Blueprint, Response

from agent import clock
from agent.api import auth, body, requesting
from agent.api.addresses import ACTIONS
from agent.api.body import json_body
from agent.api.current import context
from agent.api.description import describe
from agent.api.requesting import NO_TERMS, Terms
from agent.errors import ActionNotAvailable, IdempotencyKeyReused, InvalidArgs, InvalidHeader, QueueFull
from agent.kinds.arguments import spelled_as_declared
from agent.kinds.base import Kind
from agent.models import Accepted, Json, Request, Requester

bp = Blueprint("schedule", __name__)

ENVELOPE = frozenset(("action_id", "args", "created_ts", "requester"))
"""The members in which other agents of this kind of protocol wrap the arguments."""
HEADERS = ("Idempotency-Key", "From", "Action-Reason", "Not-Before", "Not-After")
REFUSALS = (*body.REFUSALS, ActionNotAvailable, InvalidArgs, InvalidHeader, IdempotencyKeyReused, QueueFull)
"""What `accept` may answer instead of an id."""


@bp.post("/schedule/<anything:kind>")
@describe(
    "Write an action down: 200 means that it is on disk and will run. The whole body is its arguments.",
    "Scheduled",
    headers=HEADERS,
    errors=REFUSALS,
    bodies=lambda registry: {"application/json": {}},
    links={"info": ("action_id", "/id"), "cancel": ("action_id", "/id")},
)
def schedule(kind: str) -> Response:
    """The whole JSON body is the action's arguments."""
    wanted = context().registry.get(kind)
    auth.permit(wanted.name)
    accepted = accept(wanted, json_body())
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


def accept(kind: Kind, args: Json, *, user_reference: str | None = None) -> Accepted:
    """Validate and store an action for a caller of the API, whose permission was checked before the body was read."""
    return write_down(
        kind,
        args,
        auth.channel(),
        user=requesting.user(),
        idempotency_key=requesting.idempotency_key(),
        user_reference=user_reference,
        terms=requesting.terms(),
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
) -> Accepted:
    """Validate and store a request of any channel. The caller must have checked the permissions of `user`."""
    created_ts = clock.now()
    agent = context()
    if isinstance(args, dict):
        _refuse_an_envelope(kind, args)
        args = spelled_as_declared(kind.schema, args)
    loaded = kind.load(args)
    resource = kind.resource(loaded)
    _refuse_what_is_no_text(user_reference=user_reference or "", name=resource[1])
    public, secrets = kind.conceal(args)
    request = Request(
        kind=kind.name,
        args=public,
        secrets=secrets,
        headers=requesting.headers(),
        requester=requester,
        user=user,
        resource=resource,
        created_ts=created_ts,
        idempotency_key=idempotency_key,
        user_reference=user_reference,
        reason=terms.reason,
        not_before=terms.not_before,
        not_after=terms.not_after,
        ends_hold=not kind.holdable,
    )
    accepted = agent.intake.schedule(request)
    agent.engine.wake()
    return accepted


def _refuse_an_envelope(kind: Kind, args: dict[str, Json]) -> None:
    """Raises `InvalidArgs` for arguments in the envelope of another protocol, where the kind has no argument `args`."""
    if "args" in args and len(args) > 1 and ENVELOPE.issuperset(args) and "args" not in kind.schema.load_fields:
        found = ", ".join(sorted(args))
        raise InvalidArgs(
            f"the body is the envelope of another protocol ({found}): send what is in args as the whole body",
            details={"_schema": ["Not the arguments themselves."]},
        )


def _refuse_what_is_no_text(**texts: str) -> None:
    """Raises `InvalidArgs` for half of a surrogate pair, which JSON can write and no file can hold."""
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgs("half a surrogate pair is no text", details={name: ["Not a valid text."]}) from None
