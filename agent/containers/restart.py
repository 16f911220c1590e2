"""Restart one container once, however often whoever asks is interrupted: when it was started tells whether it was."""

from __future__ import annotations

from datetime import datetime

from agent import clock
from agent.containers.engine import Container, Engine, EngineFailed
from agent.hosts.poll import poll
from agent.models import Json
from agent.stop import Stop

PATIENCE = 0.5
"""Seconds that one call waits until the container is up."""
DOUBT_EVERY = 0.5
"""Seconds between two looks whether an engine that was asked before a crash restarts it yet."""
STAYS = 0.3
"""Seconds since its start that a container without a health check must run: one that fails at once does so too."""
STARTS = 5.0
"""Seconds that an engine gets to start what has ended, where it was asked by one that cannot tell any more."""

Progress = dict[str, Json]
"""`{"container", "id", "state", "was", "message"}`: how far it is, to be written down after each call.

`state` is `noted`, `doubted`, `restarting` or `running`; `was` is when the container was started before,
and `since` when it was asked for, or the doubt began.
"""


def note(container: Container) -> Progress:
    """What is to be on disk before `go_on` is first called."""
    return {
        "container": container.name, "id": container.id, "state": "noted", "was": container.started,
        "message": container.message,
    }  # fmt: skip


def doubt(progress: Progress) -> Progress:
    """The same after a crash, where the engine may have been asked already and be about it still."""
    if progress["state"] == "noted":
        progress = progress | {"state": "doubted"}
    # The clock began anew if the host went down.
    return progress | {"since": clock.monotonic()}


def due(progress: Progress) -> float:
    """Seconds until `go_on` is to be called again."""
    return DOUBT_EVERY if progress["state"] == "doubted" else 0.0


def go_on(engine: Engine, progress: Progress, timeout: float, stop: Stop) -> Progress:
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
    return _told(engine, progress, timeout, stop)


def _ask(engine: Engine, container: Container, progress: Progress) -> Progress:
    # What is frozen can neither end nor be restarted.
    if container.status == "paused":
        engine.unpause(container.id)
    engine.restart(container.id)
    return _begun(progress)


def _may_come(engine: Engine, progress: Progress) -> bool:
    """Whether an engine that was asked before the crash would still be within its time to stop and start it."""
    return bool(clock.monotonic() - progress["since"] < engine.stop_timeout + STARTS)


def _told(engine: Engine, progress: Progress, timeout: float, stop: Stop) -> Progress:
    container = _look_until_decided(engine, progress, stop)
    if _is_up(container, progress) and not stop.wait(_unproved(container)):
        again = engine.look(container.id)
        if _is_up(again, progress) and again.started == container.started:
            ended = progress | {"state": "running", "message": again.message}
            return {name: value for name, value in ended.items() if name != "since"}
        container = again
    _refuse_what_will_not_come(container, progress, timeout)
    return progress | {"message": container.message}


def _look_until_decided(engine: Engine, progress: Progress, stop: Stop) -> Container:
    seen: list[Container] = []

    def decided() -> bool:
        seen.append(container := engine.look(progress["id"]))
        return _is_up(container, progress) or not container.up or container.health == "unhealthy"

    poll(decided, PATIENCE, stop)
    return seen[-1]


def _unproved(container: Container) -> float:
    """Seconds until it has run for `STAYS`, by the engine's clock; none where its health check has passed."""
    if container.health == "healthy":
        return 0.0
    try:
        runs = clock.now() / 1_000_000 - datetime.fromisoformat(container.started).timestamp()
    except ValueError:
        return STAYS
    return min(STAYS, max(0.0, STAYS - runs))


def _refuse_what_will_not_come(container: Container, progress: Progress, timeout: float) -> None:
    if not container.up:
        raise EngineFailed(f"the container {container.name} was restarted and has ended: {container.message}")
    if container.health == "unhealthy":
        raise EngineFailed(f"the container {container.name} was restarted and is unhealthy")
    if clock.monotonic() - progress["since"] > timeout:
        raise EngineFailed(
            f"the container {container.name} {_lacks(container)} {timeout:g} s after its restart: {container.message}"
        )


def _lacks(container: Container) -> str:
    """What it has not come to: a check may fail, or be run by nobody."""
    waits = container.status == "running" and container.health == "starting"
    return "runs, but its health check has not passed" if waits else "is not up"


def _begun(progress: Progress) -> Progress:
    return progress | {"state": "restarting", "since": clock.monotonic()}


def _is_another(container: Container, progress: Progress) -> bool:
    return bool(container.started != progress["was"])


def _is_up(container: Container, progress: Progress) -> bool:
    return container.status == "running" and container.health in ("", "healthy") and _is_another(container, progress)
