"""Idempotent restart of one target: compares its identity with the value stored before the request.

    noted ── the request is sent ──▶ restarting ── another identity, and up ──▶ running
      └── the answer is lost ──▶ doubted ── another identity ──▶ restarting
                                    └── the request can no longer take effect ──▶ it is sent again

Each call returns what is to be on disk before the next one.
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
"""Seconds between two looks: a look waits itself, but not where the agent ends with its target."""


class AnswerLost(Exception):
    """The connection broke before the answer: the request may have arrived."""


@dataclass(frozen=True, kw_only=True)
class RestartProgress:
    """The stored progress of a restart. `was` is the identity before the request; `since` is when the target was
    requested, by `clock.monotonic` of the boot `boot`. A subclass adds what names the target and what clients see."""

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
        """The members for JSON; `since` and `boot` from the request on."""
        return {name: value for name, value in vars(self).items() if value is not None or name not in ("since", "boot")}

    def now(self, state: str) -> Self:
        """In this state from now on."""
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
    """What a look shows: the state that follows, the members of the progress that change, and, unless the target is
    up, why it has failed, and what it lacks once its time is over."""

    state: str
    shown: Mapping[str, Json] = field(default_factory=dict)
    failed: str = ""
    lacks: str = ""


class RestartTarget(ABC, Generic[R]):
    """What can be restarted; has `timeout` seconds to be up. The methods raise its own errors."""

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
        """Send the request, after what it needs. Raises `AnswerLost`."""

    @abstractmethod
    def look(self, restart: R, seconds: float) -> Look:
        """Watch the requested target until it is up or has failed, at most for so many seconds."""

    @abstractmethod
    def failure(self, why: str, waited: float) -> Exception:
        """The error for a target that did not come up in `waited` seconds."""

    def cancel(self, restart: R) -> None:
        """End the command of the agent's that restarts it."""


def step(target: RestartTarget[R], payload: Mapping[str, Json] | None) -> R:
    """The next step of a restart that has come to this payload; None is its beginning."""
    return target.note() if payload is None else advance(target, target.progress.of(payload))


def ask(target: RestartTarget[R], restart: R) -> R:
    """Send the request unless it took effect, or may still do so."""
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
