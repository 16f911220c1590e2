"""Idempotent restart of one target: compares its identity with the value stored before the request.

    noted ── the request is sent ──▶ restarting ── another identity, and up ──▶ running
      └── the answer is lost ──▶ doubted ── another identity ──▶ restarting
                                    └── the request can no longer take effect ──▶ it is sent again

Each call returns the progress to store before the next call.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Generic, Self, TypeVar

from agent import clock
from agent.models import Json
from agent.util.poll import pause_after
from agent.util.stop import Stop

NOTED, DOUBTED, RESTARTING, RUNNING = "noted", "doubted", "restarting", "running"
DUE = 0.05
"""Seconds between two looks. A look already waits, unless the restart of the target also ends the agent."""


class AnswerLost(Exception):
    """The connection broke before the answer: the request may have arrived."""


@dataclass(frozen=True, kw_only=True)
class RestartProgress:
    """The stored progress of a restart.

    `was`: the identity before the request. `since`: the time of the request by `clock.monotonic` of the boot `boot`.
    Subclasses add the name of the target and the members shown to clients.
    """

    state: str = NOTED
    was: Json = None
    since: float | None = None
    boot: str | None = None

    @classmethod
    def of(cls, payload: Mapping[str, Json]) -> Self:
        """The progress that a payload records."""
        known = {each.name: payload[each.name] for each in fields(cls) if each.name in payload}
        if "since" in known and "boot" not in known:
            # Version 0.1 stored no boot for a container and a pid file.
            known |= {"since": min(known["since"], clock.monotonic()), "boot": clock.boot_id()}
        return cls(**known)

    @classmethod
    def doubted(cls, payload: Json) -> Json:
        """The payload after an interruption: the request may have been sent and not carried out yet."""
        return cls.of(payload).now(DOUBTED).payload() if payload and payload["state"] == NOTED else payload

    def payload(self) -> dict[str, Json]:
        """The members for JSON; `since` and `boot` only after the request."""
        return {name: value for name, value in vars(self).items() if value is not None or name not in ("since", "boot")}

    def now(self, state: str) -> Self:
        """The progress with this state, beginning now."""
        return replace(self, state=state, since=clock.monotonic(), boot=clock.boot_id())

    @property
    def waited(self) -> float:
        """Seconds since the request; 0 before it."""
        return 0.0 if self.since is None else clock.monotonic() - self.since

    @property
    def due(self) -> float:
        """Seconds until the next call."""
        return pause_after(self.waited) if self.state == DOUBTED else DUE if self.state == RESTARTING else 0.0


R = TypeVar("R", bound=RestartProgress)


@dataclass(frozen=True)
class Look:
    """The result of one look at the target.

    `state`: the next state. `shown`: changed members of the progress. `failed`: why the target has failed. `lacks`: the
    reason for the error if the target is not up in time.
    """

    state: str
    shown: Mapping[str, Json] = field(default_factory=dict)
    failed: str = ""
    lacks: str = ""


class RestartTarget(ABC, Generic[R]):
    """A target that can be restarted and must be up within `timeout` seconds. Its methods raise its own errors."""

    progress: type[R]
    in_doubt: float = 0.0
    """Seconds for which a request whose answer was lost may still take effect."""

    def __init__(self, timeout: float, stop: Stop) -> None:
        self.timeout, self.stop = timeout, stop

    @abstractmethod
    def note(self) -> R:
        """The progress before the request, with the identity."""

    @abstractmethod
    def has_changed(self, restart: R) -> bool:
        """Whether the identity differs from the one before the request."""

    @abstractmethod
    def ask(self, restart: R) -> None:
        """Send the request and everything that must precede it. Raises `AnswerLost`."""

    @abstractmethod
    def look(self, restart: R, seconds: float) -> Look:
        """Watch the target after the request until it is up or has failed, for at most `seconds`."""

    @abstractmethod
    def failure(self, why: str, waited: float) -> Exception:
        """The error for a target that did not come up in `waited` seconds."""

    def cancel(self, restart: R) -> None:
        """End the agent's own command that restarts the target, if there is one."""


def step(target: RestartTarget[R], payload: Mapping[str, Json] | None) -> R:
    """The next step of a restart with this payload; None begins it."""
    return target.note() if payload is None else advance(target, target.progress.of(payload))


def ask(target: RestartTarget[R], restart: R) -> R:
    """Send the request unless an earlier one took effect or may still take effect."""
    if not target.has_changed(restart):
        if restart.state == DOUBTED and restart.boot == clock.boot_id() and restart.waited < target.in_doubt:
            return restart
        try:
            target.ask(restart)
        except AnswerLost:
            return restart.now(DOUBTED)
    return restart.now(RESTARTING)


def advance(target: RestartTarget[R], restart: R) -> R:
    """Send the request unless it was sent, and watch the target for a moment.

    Raises the error of the target as soon as it has failed, or is not up in time.
    """
    # A request from before a reboot is no longer pending.
    if restart.state in (NOTED, DOUBTED) or restart.boot != clock.boot_id():
        restart = ask(target, restart)
        if restart.state == DOUBTED:
            return restart
    look = target.look(restart, max(target.timeout - restart.waited, 0.0))
    restart = replace(restart, state=look.state, **look.shown)
    if look.state == RESTARTING and not target.stop.requested:
        why = look.failed or (look.lacks if restart.waited > target.timeout else "")
        if why:
            raise target.failure(why, restart.waited)
    return restart
