"""Idempotent container restart: compares StartedAt with the value stored before the request."""

from __future__ import annotations

import time
from datetime import datetime

from agent import clock
from agent.containers.engine import Container, Engine, EngineFailed, EngineLost
from agent.models import Json
from agent.processes import cgroup
from agent.processes.rest import RestCheck
from agent.util.poll import pause_after
from agent.util.stop import Stop

PATIENCE = 2.0
"""Seconds that one call waits until the container is up: after them its words are recorded."""
STAYS = 0.3
"""Seconds since its start that a container without a health check must run, unless its processes come to rest before:
one that fails at once does so too."""
STARTS = 5.0
"""Seconds that an engine gets to start what has ended, where it was asked by one that cannot tell any more."""

Progress = dict[str, Json]
"""`{"container", "id", "state", "was", "message"}`: how far it is, to be written down after each call.

`state` is `noted`, `doubted`, `restarting` or `running`; `was` is when the container was started before,
and `since` when it was asked for, or the doubt began.
"""


def note(container: Container) -> Progress:
    """What is to be on disk before `advance` is first called."""
    return {
        "container": container.name, "id": container.id, "state": "noted", "was": container.started,
        "message": container.message,
    }  # fmt: skip


def doubt(progress: Progress) -> Progress:
    """The same after a crash or a lost answer: the engine may have been asked already and be about it still."""
    if progress["state"] == "noted":
        progress = progress | {"state": "doubted"}
    # The monotonic clock restarts with the host.
    return progress | {"since": clock.monotonic()}


def due(progress: Progress) -> float:
    """Seconds until `advance` is to be called again."""
    if progress["state"] != "doubted":
        return 0.0
    return pause_after(clock.monotonic() - progress["since"])


def advance(engine: Engine, progress: Progress, timeout: float, stop: Stop) -> Progress:
    """Ask for the restart unless it was done, and look whether the container is up, for a moment.

    Raises `EngineFailed` where it is gone, has ended again, is unhealthy, or is not up `timeout`
    seconds after it was asked for.
    """
    container = engine.look(progress["id"])
    if progress["state"] in ("noted", "doubted"):
        if _is_another(container, progress):
            progress = _begun(progress)
        elif progress["state"] == "doubted":
            return progress if _may_come(engine, progress) else progress | {"state": "noted"}
        else:
            progress = _ask(engine, container, progress)
            if progress["state"] == "doubted":
                return progress
    return _told(engine, progress, timeout, stop)


def _ask(engine: Engine, container: Container, progress: Progress) -> Progress:
    try:
        # What is frozen can neither end nor be restarted.
        if container.status == "paused":
            engine.unpause(container.id)
        engine.restart(container.id)
    except EngineLost:
        return doubt(progress)
    return _begun(progress)


def _may_come(engine: Engine, progress: Progress) -> bool:
    """Whether an engine that was asked before the crash would still be within its time to stop and start it."""
    return bool(clock.monotonic() - progress["since"] < engine.stop_timeout + STARTS)


def _told(engine: Engine, progress: Progress, timeout: float, stop: Stop) -> Progress:
    container, stays = _await_decision(engine, progress, stop)
    if stays:
        ended = progress | {"state": "running", "message": container.message}
        return {name: value for name, value in ended.items() if name != "since"}
    if not container.up and engine.was_lost:
        # Not by itself: an engine that is stopped ends what it has just restarted too.
        return progress | {"state": "noted", "was": container.started, "message": container.message}
    _refuse_what_will_not_come(container, progress, timeout)
    return progress | {"message": container.message}


def _await_decision(engine: Engine, progress: Progress, stop: Stop) -> tuple[Container, bool]:
    """How it stands once it has ended, is unhealthy or stays up, `PATIENCE` seconds later or at a stop; and whether
    it stays up."""
    first_seen: dict[str, float] = {}
    rest = RestCheck()
    with engine.changes(progress["id"]) as changes:
        until = time.monotonic() + PATIENCE
        while True:
            container, now = engine.look(progress["id"]), time.monotonic()
            unproved = 0.0
            if _is_up(container, progress):
                unproved = _unproved(container, now - first_seen.setdefault(container.started, now), rest)
                if not unproved:
                    return container, True
            elif not container.up or container.health == "unhealthy":
                return container, False
            if stop.requested or now >= until:
                return container, False
            changes.wait(unproved or until - now, stop)


def _unproved(container: Container, seen_for: float, rest: RestCheck) -> float:
    """Seconds until the next look: none where its health check has passed, where it has run for `STAYS` by the engine's
    clock, or where its processes are at rest."""
    if container.health == "healthy":
        return 0.0
    try:
        runs = clock.now() / 1_000_000 - datetime.fromisoformat(container.started).timestamp()
    except ValueError:
        runs = 0.0
    processes = cgroup.members(cgroup.of_container(container.id, container.pid))
    return rest.left(max(runs, seen_for), STAYS, processes)


def _refuse_what_will_not_come(container: Container, progress: Progress, timeout: float) -> None:
    if not container.up:
        raise EngineFailed(f"the container {container.name} was restarted and has exited: {container.message}")
    if container.health == "unhealthy":
        raise EngineFailed(f"the container {container.name} was restarted and is unhealthy")
    if clock.monotonic() - progress["since"] > timeout:
        raise EngineFailed(
            f"the container {container.name} {_lacks(container)} {timeout:g} s after its restart: {container.message}"
        )


def _lacks(container: Container) -> str:
    """Why it is not up: its health check fails, or the engine does not run it."""
    waits = container.status == "running" and container.health == "starting"
    return "runs, but its health check has not passed" if waits else "is not up"


def _begun(progress: Progress) -> Progress:
    return progress | {"state": "restarting", "since": clock.monotonic()}


def _is_another(container: Container, progress: Progress) -> bool:
    return bool(container.started != progress["was"])


def _is_up(container: Container, progress: Progress) -> bool:
    return container.status == "running" and container.health in ("", "healthy") and _is_another(container, progress)
