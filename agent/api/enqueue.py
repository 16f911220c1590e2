"""Validate an action of any channel and add it to the queue."""

from fnmatch import fnmatchcase

from agent import clock
from agent.api import authentication, body, correlation, request_metadata
from agent.api.context import context
from agent.api.node_protocol import ScheduleRequest
from agent.api.request_metadata import NO_TERMS, Terms
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

ENVELOPE = frozenset(("action_id", "args", "created_ts", "requester"))
"""The members of the envelope that other agents with such a protocol expect around the arguments."""
REFUSALS = (
    *body.REFUSALS,
    ActionAlreadyExists,
    ActionNotAvailable,
    InvalidArgs,
    InvalidHeader,
    IdempotencyKeyReused,
    QueueFull,
)
"""The errors of `enqueue`."""


def enqueue_for_caller(
    kind: Kind, wanted: ScheduleRequest, *, user_reference: str | None = None, request_id: str | None = None
) -> Accepted:
    """Store an action for the caller of the API, whose permission must have been checked. Raises `REFUSALS`."""
    return enqueue(
        kind,
        wanted,
        authentication.channel(),
        user=request_metadata.user(),
        idempotency_key=request_metadata.idempotency_key(),
        user_reference=user_reference,
        terms=request_metadata.terms(),
        request_id=request_id,
    )


def enqueue(
    kind: Kind,
    wanted: ScheduleRequest,
    requester: Requester,
    *,
    user: str,
    idempotency_key: str | None,
    user_reference: str | None = None,
    terms: Terms = NO_TERMS,
    request_id: str | None = None,
) -> Accepted:
    """Validate and store an action of any channel, and wake the engine. Raises `REFUSALS`.

    The permissions of `user` must have been checked.
    """
    now = clock.now()
    agent = context()
    args = _as_declared(kind, wanted.args)
    resource = kind.resource(kind.load(args))
    _refuse_surrogates(user_reference=user_reference or "", name=resource[1])
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


def _as_declared(kind: Kind, args: Json) -> Json:
    """The arguments in the spelling of the kind's schema. Raises `InvalidArgs` for an envelope."""
    if not isinstance(args, dict):
        return args
    _refuse_an_envelope(kind, args)
    return spelled_as_declared(kind.schema, args)


def _refuse_an_envelope(kind: Kind, args: dict[str, Json]) -> None:
    """Raises `InvalidArgs` for arguments in another protocol's envelope, unless the kind has an argument `args`."""
    if "args" in args and len(args) > 1 and ENVELOPE.issuperset(args) and "args" not in kind.schema.load_fields:
        found = ", ".join(sorted(args))
        raise InvalidArgs(
            f"the body is the envelope of another protocol ({found}): send the value of args as the whole body",
            details={NO_MEMBER: ["Not expected: the body is the arguments themselves."]},
        )


def _refuse_surrogates(**texts: str) -> None:
    """Raises `InvalidArgs` for an unpaired surrogate, which is possible in JSON but not in UTF-8."""
    for name, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgs(
                "an unpaired surrogate is not valid text", details={name: ["Not a valid text."]}
            ) from None
