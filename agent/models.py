"""An action: its request, its states, its transitions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = Any
"""A value as `json.loads` returns it."""


class State(StrEnum):
    """The state of an action. `DONE` and `FAILED` are final."""

    NEW = "NEW"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        return self in (State.DONE, State.FAILED)


class Outcome(StrEnum):
    """The outcome of a final action. `DONE` has the state of that name, all others have `FAILED`."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"

    @property
    def state(self) -> State:
        return State.DONE if self is Outcome.DONE else State.FAILED


class Requester(StrEnum):
    """The channel of a request for an action."""

    API = "API"
    WEB = "WEB"
    HOOK = "HOOK"
    CLI = "CLI"


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request for an action that is not stored yet.

    `args` hold no secrets: `secrets` has them by member name, and the store keeps them until the action is final.
    """

    kind: str
    args: Json
    secrets: dict[str, Json]
    headers: dict[str, str]
    requester: Requester
    user: str
    resource: tuple[str, str]
    created_ts: int
    idempotency_key: str | None = None
    user_reference: str | None = None
    reason: str | None = None
    not_before: int | None = None
    """Microseconds since the epoch: the action does not start before."""
    not_after: int | None = None
    """Microseconds since the epoch: an action that has not started by then fails as expired."""
    needs_approval: bool = False
    """Whether it waits until another identity approves it."""
    x_request_id: str | None = None
    """The id of the request in logs and callbacks; it does not make the request idempotent."""
    traceparent: str | None = None
    """The span of the request: the value of the header `traceparent`."""
    ends_hold: bool = False
    """Whether the action may end a hold. A full queue accepts some of these, as it could be full of held actions."""
    action_id: str | None = None
    """The id that the caller gives the action; None: the store makes one."""
    core_requester: str | None = None
    """The requester that a controller of the node protocol names."""
    request_id: str | None = None
    """The Request-Id. Without an idempotency key, a repeat within ten minutes counts as the same request."""
    earlier_key: str | None = None
    """The key of the same `request_id` in the span of ten minutes before; set by the store."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The action of a request; `replayed`: an earlier request with the same idempotency key scheduled it."""

    action_id: str
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the queue. Times are microseconds since the epoch; `seq` is the order of execution."""

    seq: int
    id: str
    kind: str
    args: Json
    headers: dict[str, str]
    requester: str
    state: State
    state_payload: Json
    created_ts: int
    scheduled_ts: int
    finished_ts: int | None
    user: str = ""
    outcome: Outcome | None = None
    message: str | None = None
    """The result in one sentence; None until the action is final."""
    reason: str | None = None
    not_before: int | None = None
    not_after: int | None = None
    needs_approval: bool = False
    approved_by: str | None = None
    core_requester: str | None = None
    """The requester that a controller of the node protocol named; `requester` is the channel."""
    x_request_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A waiting action; `reason`: why it is held, None if it is not."""

    seq: int
    id: str
    kind: str
    user: str
    requester: str
    state: State
    not_before: int | None
    needs_approval: bool
    approved_by: str | None
    reason: str | None
    x_request_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A running action with its secrets, for the executor alone.

    `version`: of its newest transition. `elapsed`: seconds that it has run since this boot. `handed_over`: the
    previous executor stopped between two steps.
    """

    action: Action
    secrets: dict[str, Json]
    version: int = 0
    elapsed: float = 0.0
    cancel_requested: bool = False
    handed_over: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of an action's history; `version` counts them from 1."""

    version: int
    timestamp: int
    state: State
    state_payload: Json
