"""A container as a target of restart, pause and resume. Its StartedAt changes with every start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from agent import clock
from agent.containers.engine import Container, ContainerEngine, EngineFailed, EngineLost, EngineUnclear
from agent.processes import cgroup
from agent.processes.rest import RestCheck
from agent.util.idempotent_restart import NOTED, RESTARTING, RUNNING, AnswerLost, Look, RestartProgress, RestartTarget
from agent.util.stop import Stop

PATIENCE = 2.0
"""Seconds that one look waits for the container to be up before its status is recorded."""
STAYS = 0.3
"""Seconds that a container without a health check must run to count as up, unless its processes come to rest before:
a container that fails at once also runs for a moment."""
STARTS = 5.0
"""Seconds for the engine to start an exited container after the answer to a restart was lost."""


class NotUp(EngineFailed):
    """A container that does not run cannot be paused or resumed; the message is its status."""


@dataclass(frozen=True, kw_only=True)
class ContainerProgress(RestartProgress):
    container: str
    id: str
    message: str = ""


class ContainerTarget(RestartTarget[ContainerProgress]):
    """The container with this id. All methods raise `EngineFailed`."""

    progress = ContainerProgress

    def __init__(self, engine: ContainerEngine, id: str, timeout: float, stop: Stop) -> None:
        super().__init__(timeout, stop)
        self._engine, self._id = engine, id
        self._before: Container
        # The engine may need this long to stop and start it.
        self.in_doubt = engine.stop_timeout + STARTS

    def pause(self) -> str:
        """Pause it. Returns how. Raises `NotUp`, as `resume` does."""
        return self._bring(self._engine.pause, "paused", "paused", "paused already")

    def resume(self) -> str:
        return self._bring(self._engine.unpause, "running", "resumed", "not paused")

    def note(self) -> ContainerProgress:
        found = self._engine.look(self._id)
        return ContainerProgress(container=found.name, id=found.id, was=found.started, message=found.message)

    def has_changed(self, restart: ContainerProgress) -> bool:
        self._before = self._engine.look(self._id)
        return bool(self._before.started != restart.was)

    def ask(self, restart: ContainerProgress) -> None:
        try:
            # A frozen container can neither end nor be restarted.
            if self._before.status == "paused":
                self._engine.unpause(self._id)
            self._engine.restart(self._id)
        except EngineLost as error:
            raise AnswerLost(str(error)) from error
        except EngineUnclear as error:
            self._engine.look(self._id)
            if not self._engine.was_lost:
                raise
            raise AnswerLost(str(error)) from error

    def look(self, restart: ContainerProgress, seconds: float) -> Look:
        found, is_up = self._await_decision(restart, min(PATIENCE, seconds))
        name, shown = f"the container {found.name}", {"message": found.message}
        if is_up:
            return Look(RUNNING, {**shown, "since": None, "boot": None})
        if not found.up and self._engine.was_lost:
            # It did not exit by itself: a stop of the engine also ends a container just restarted.
            return Look(NOTED, {**shown, "was": found.started, "since": None, "boot": None})
        failed = f"and has exited: {found.message}" if not found.up else "and is unhealthy"
        starting = found.status == "running" and found.health == "starting"
        lacks = "runs, but its health check has not passed" if starting else "is not up"
        return Look(
            RESTARTING,
            shown,
            failed="" if found.up and found.health != "unhealthy" else f"{name} was restarted {failed}",
            lacks=f"{name} {lacks} {self.timeout:g} s after its restart: {found.message}",
        )

    def failure(self, why: str, waited: float) -> EngineFailed:
        return EngineFailed(why)

    def _bring(self, ask: Callable[[str], None], wanted: str, done: str, already: str) -> str:
        found = self._engine.look(self._id)
        if not found.up:
            raise NotUp(found.message)
        if (found.status == "paused") == (wanted == "paused"):
            return already
        try:
            ask(self._id)
        except EngineFailed as error:
            # A request before a crash may still be running, or the answer was lost: the status shows it.
            if self._engine.look(self._id).status != wanted:
                if not isinstance(error, EngineLost | EngineUnclear) or not self._engine.was_lost:
                    raise
                ask(self._id)
        return done

    def _await_decision(self, restart: ContainerProgress, seconds: float) -> tuple[Container, bool]:
        """Wait, at most `seconds` and until a stop, until it has ended, is unhealthy or stays up.

        Returns its status and whether it stays up.
        """
        first_seen: dict[str, float] = {}
        rest = RestCheck()
        with self._engine.changes(self._id) as changes:
            until = time.monotonic() + seconds
            while True:
                found, now = self._engine.look(self._id), time.monotonic()
                unproved = 0.0
                if found.status == "running" and found.health in ("", "healthy") and found.started != restart.was:
                    unproved = _unproved(found, now - first_seen.setdefault(found.started, now), rest)
                    if not unproved:
                        return found, True
                elif not found.up or found.health == "unhealthy":
                    return found, False
                if self.stop.requested or now >= until:
                    return found, False
                changes.wait(unproved or until - now, self.stop)


def _unproved(container: Container, seen_for: float, rest: RestCheck) -> float:
    """Seconds until the next look: 0 if its health check has passed, if it has run for `STAYS` by the engine's clock,
    or if its processes are at rest."""
    if container.health == "healthy":
        return 0.0
    try:
        runs = clock.now() / 1_000_000 - datetime.fromisoformat(container.started).timestamp()
    except ValueError:
        runs = 0.0
    processes = cgroup.members(cgroup.of_container(container.id, container.pid))
    return rest.left(max(runs, seen_for), STAYS, processes)
