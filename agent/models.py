"""An action, its states and the transitions that the protocol draws."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = Any
"""Whatever `json.loads` returns."""


class State(StrEnum):
    """Where an action stands. `DONE` and `FAILED` are final."""

    NEW = "NEW"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        return self in (State.DONE, State.FAILED)


class Outcome(StrEnum):
    """How a final action ended: `DONE` with the state of that name, all others with `FAILED`."""

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
    """The channel through which an action was asked for."""

    API = "API"
    WEB = "WEB"
    HOOK = "HOOK"
    CLI = "CLI"


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for, checked, before it is written down.

    `args` hold no secret: those are in `secrets`, by member name, until the action is final.
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
    """The same: an action that has not started by then fails as expired."""
    needs_approval: bool = False
    """Whether it waits until another identity approves it."""
    x_request_id: str | None = None
    """What identifies the request in logs and callbacks; not what makes it idempotent."""
    traceparent: str | None = None
    """The span of the request, as the header of this name has it."""
    ends_hold: bool = False
    """Whether it may be what lets go on those who fill the queue, and so finds a place behind them."""
    action_id: str | None = None
    """The id that the caller gives the action; None: the store makes one."""
    core_requester: str | None = None
    """Whom a controller of the node protocol names as the requester."""
    request_id: str | None = None
    """Without an idempotency key: what makes a repeat within ten minutes the same request."""
    earlier_key: str | None = None
    """The key that the same `request_id` gave up to ten minutes ago; the store fills it in."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The action of a request; `replayed` where an earlier request with the same idempotency key scheduled it."""

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
    """How it ended, in a sentence; None until it is final."""
    reason: str | None = None
    not_before: int | None = None
    not_after: int | None = None
    needs_approval: bool = False
    approved_by: str | None = None
    core_requester: str | None = None
    """Whom a controller of the node protocol named as the requester; `requester` is the channel."""
    x_request_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A waiting action and why it is held; `reason` is None where it is not."""

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
    """An action that this executor runs, with what only the executor may know.

    `version` is that of its newest transition, `elapsed` how many seconds it has been running (since
    this boot), `handed_over` whether the executor before left it between two steps.
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
