"""The containers of one service: each is restarted, paused or resumed once, one after the other."""

from __future__ import annotations

from collections.abc import Callable

from agent.containers import restart
from agent.containers.engine import Engine, EngineFailed, EngineLost, NoContainer
from agent.models import Json
from agent.util.stop import Stop

Each = dict[str, Json]
"""`{"container", "id", "state", "message"}`: what was done with one, to be written down after each call.

`state` is `waiting`, while it is restarted a state of `restart.Progress`, and in the end one of `ENDED`.
"""
ENDED = ("running", "paused", "skipped")


def listed(engine: Engine, service: str) -> list[Each]:
    """Its containers, of which nothing was done yet. Raises `NoContainer` where it has none."""
    found = engine.of_service(service)
    if not found:
        raise NoContainer(f"no container belongs to the service {service}")
    return [{"container": name, "id": id, "state": "waiting", "message": ""} for name, id in found.items()]


def restarted(engine: Engine, each: Each, timeout: float, stop: Stop) -> Each:
    """The next step of its restart; see `restart`. Raises `EngineFailed`."""
    if each["state"] == "waiting":
        return restart.note(engine.look(each["id"]))
    return restart.advance(engine, each, timeout, stop)


def paused(engine: Engine, each: Each) -> Each:
    """Frozen, unless it is or does not run. Raises `EngineFailed`."""
    container = engine.look(each["id"])
    if not container.up:
        return each | {"state": "skipped", "message": container.message}
    if container.status == "paused":
        return each | {"state": "paused", "message": "paused already"}
    _ask_for(engine.pause, "paused", engine, container.id)
    return each | {"state": "paused", "message": "paused"}


def resumed(engine: Engine, each: Each) -> Each:
    """Let go on, unless it was not paused or does not run. Raises `EngineFailed`."""
    container = engine.look(each["id"])
    if not container.up:
        return each | {"state": "skipped", "message": container.message}
    if container.status != "paused":
        return each | {"state": "running", "message": "not paused"}
    _ask_for(engine.unpause, "running", engine, container.id)
    return each | {"state": "running", "message": "resumed"}


def _ask_for(ask: Callable[[str], None], wanted: str, engine: Engine, id: str) -> None:
    try:
        ask(id)
    except EngineFailed as error:
        # An engine that was asked before a crash may be busy with it. After a lost answer only a look shows the effect.
        if engine.look(id).status == wanted:
            return
        if not isinstance(error, EngineLost):
            raise
        ask(id)
