"""The facts in the head of every page: datastore, maintenance, faults, and whether this process executes the queue."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from flask import Flask

from agent.api.context import Context
from agent.api.datastore import Facts
from agent.engine.health import Health
from agent.errors import DatastoreNotConfigured, StoreUnavailable
from agent.maintenance import MaintenanceFlag, Mark
from agent.processes import command
from agent.processes.command import CommandNotStarted
from agent.util.installed_version import installed_version
from agent.util.remembered import Remembered

DATASTORE_FRESH, FAULTS_FRESH = 5.0, 900.0
"""Seconds between two queries of the datastore, and between two runs of doctor, while pages are open."""
FIRST_ANSWER = 0.05
"""Maximum seconds that a page waits for the first answer of the datastore."""
DOCTOR = (sys.executable, "-P", "-m", "agent.cli", "doctor", "--faults")
DOCTOR_SECONDS = 120.0
FAULT = "FAULT"


@dataclass(frozen=True)
class HeadFacts:
    """The facts of the head. `faults`: findings of doctor. `unhealthy`: parts of the agent that do not work now."""

    node: str
    stack: str
    version: str
    datastore: Mapping[str, Any] | None
    maintenance: Mark | None
    executes: str
    is_executor: bool
    unhealthy: tuple[str, ...]
    faults: tuple[str, ...]


class Head:
    """Returns the facts at once; slow ones are cached and refreshed in the background."""

    def __init__(self, app: Flask) -> None:
        self._context: Context = app.extensions["agent"]
        self._health: Health = app.extensions["agent.health"]
        self._facts: Facts = app.extensions["agent.facts"]
        self._datastore = Remembered(self._look_at_datastore, DATASTORE_FRESH, None)
        self._faults: Remembered[tuple[str, ...]] = Remembered(_doctor_faults, FAULTS_FRESH, ())
        self._flag = MaintenanceFlag.of(self._context.settings)
        self._version = installed_version()

    def facts(self) -> HeadFacts:
        """The current facts."""
        engine, agent = self._context.engine, self._context.settings.agent
        return HeadFacts(
            agent.node,
            agent.stack,
            self._version,
            self._datastore.now(FIRST_ANSWER),
            self._maintenance(),
            engine.executes,
            engine.is_executor,
            tuple(f"{name} {part.about}" for name, part in self._health.parts().items() if not part.ok),
            self._faults.now(),
        )

    def tag(self) -> str:
        """A hash of the facts."""
        return f"{crc32(repr(self.facts()).encode(errors='replace')):08x}"

    def _maintenance(self) -> Mark | None:
        try:
            return self._flag.read() if self._context.settings.maintenance else None
        except OSError:
            return None

    def _look_at_datastore(self) -> Mapping[str, Any] | None:
        with suppress(DatastoreNotConfigured, StoreUnavailable):
            found = self._facts.now()
            lag = found.get("lag") or {}
            names = ("kind", "version", "role", "reachable", "error", "writable", "streaming")
            shown = {name: found.get(name) for name in names}
            # With a lag of 0 bytes, the seconds are the age of the last message and grow all the time: left out.
            return shown | {"bytes": lag.get("bytes"), "seconds": lag.get("seconds") if lag.get("bytes") != 0 else None}
        return None


def _doctor_faults() -> tuple[str, ...]:
    """The faults that doctor finds, in a separate process because doctor waits for servers."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        outcome = command.run(DOCTOR, timeout=DOCTOR_SECONDS, env=environ)
    except CommandNotStarted as error:
        return (f"doctor cannot be run: {error}",)
    lines = [each for each in outcome.stdout.splitlines() if each.startswith(FAULT)]
    return tuple(each.removeprefix(FAULT).strip() for each in lines)
