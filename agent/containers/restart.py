"""Restart one container once, however often whoever asks is interrupted: when it was started tells whether it was."""

from __future__ import annotations

from agent import clock
from agent.containers.engine import Container, Engine, EngineFailed
from agent.models import Json
from agent.stop import Stop

FIRST_LOOKS = (0.02, 0.04, 0.08, 0.16)
"""Seconds before each of the looks that follow the request at once: most containers are that fast."""
LOOK_EVERY = 0.5
"""Seconds between two looks after those."""
STAYS = 0.3
"""Seconds that a container must have been running: one that ends at once is running for a moment too."""
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
    return 0.0 if progress["state"] == "noted" else LOOK_EVERY


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
    container = _look_quickly(engine, progress, stop)
    if _is_up(container, progress) and not stop.wait(STAYS):
        again = engine.look(container.id)
        if _is_up(again, progress) and again.started == container.started:
            ended = progress | {"state": "running", "message": again.message}
            return {name: value for name, value in ended.items() if name != "since"}
        container = again
    _refuse_what_will_not_come(container, progress, timeout)
    return progress | {"message": container.message}


def _look_quickly(engine: Engine, progress: Progress, stop: Stop) -> Container:
    container = engine.look(progress["id"])
    for seconds in FIRST_LOOKS:
        if _is_up(container, progress) or not container.up or stop.wait(seconds):
            break
        container = engine.look(progress["id"])
    return container


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
