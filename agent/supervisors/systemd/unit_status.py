"""The status of a systemd unit, from its properties."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.processes import cgroup
from agent.processes.rest import RestCheck

PROPERTIES = (
    "Id", "ActiveState", "SubState", "MainPID", "LoadState", "Result", "InvocationID", "FreezerState", "ControlGroup",
    "Job", "Type", "ActiveEnterTimestampMonotonic", "InactiveExitTimestampMonotonic", "StartLimitBurst",
    "StartLimitIntervalUSec", "WatchdogUSec",
)  # fmt: skip
ACTIVE = ("active", "reloading", "refreshing")
ENDED = ("inactive", "failed")
AWAITED_TYPES = ("notify", "notify-reload", "dbus", "forking", "oneshot")
"""Types of a service that is active only once the service itself has said so. Units that are no services have none."""
ABOUT_TO_START = "before-auto-restart"
"""How the SubState of a unit ends that looks ended and is started again at once (systemd 254 and later)."""
STAYS = 0.2
"""Seconds that a unit must have been active where nothing proves that it is up, unless its processes come to rest
before: one that dies at once is active too."""


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """How a unit stands. `invocation` changes with every start, which shows whether a restart was done. `queued`:
    systemd has yet to start or stop the unit, as while the host boots or between the halves of a restart.

    `age` and `started_ago` are seconds since it was active and since its start began, by systemd's clock; None if it
    never was. `start_limit` is how many starts systemd allows in how many seconds. `watchdog` is the seconds in
    which systemd expects a sign of life, 0 for none. `job_result` is how the last job ended, where it was heard.
    """

    active: str
    sub: str
    result: str
    pid: str | None
    invocation: str
    freezer: str
    cgroup: str = ""
    queued: bool = False
    ready: bool = False
    age: float | None = None
    started_ago: float | None = None
    start_limit: tuple[int, float] = (0, 0.0)
    watchdog: float = 0.0
    job_result: str = ""

    @property
    def running(self) -> bool:
        return self.active in ACTIVE

    @property
    def stopped(self) -> bool:
        """One that waits for its automatic restart is not: only a stop ends that. Nor is one that is to start yet."""
        return self.active in ENDED and not self.queued and not self.sub.endswith(ABOUT_TO_START)

    @property
    def frozen(self) -> bool:
        """systemd keeps the state of a unit that has died while it was frozen, also after the next start. So the
        state counts for a unit with processes only, and not against the kernel's own word."""
        return self.freezer == "frozen" and self.active not in ENDED and cgroup.frozen(self.cgroup) is not False

    def stays(self, rest: RestCheck) -> float:
        """Seconds until the next look while it is not certain that it stays active; 0 where that is proved."""
        return 0.0 if self.ready else rest.left(self.age or 0.0, STAYS, cgroup.members(self.cgroup))

    @property
    def message(self) -> str:
        """systemd's words: `active (running)`, `failed (failed), Result: exit-code`."""
        said = f"{self.active} ({self.sub})"
        if self.result != "success":
            said += f", Result: {self.result}"
        if self.job_result not in ("", "done") and not self.running:
            said += f", job result: {self.job_result}"
        return said

    def after_job(self, result: str) -> "UnitStatus":
        """The same, once its job has ended so."""
        return replace(self, job_result=result)


def read(shown: Mapping[str, str]) -> UnitStatus:
    """The status that these properties say. Times are in microseconds, an invocation is 32 hexadecimal digits."""
    now = time.clock_gettime(time.CLOCK_MONOTONIC)

    def ago(name: str) -> float | None:
        at = int(shown.get(name) or 0)
        return now - at / 1e6 if at else None

    return UnitStatus(
        active=shown.get("ActiveState", ""),
        sub=shown.get("SubState", ""),
        result=shown.get("Result", "success"),
        pid=shown.get("MainPID") if shown.get("MainPID") not in ("", "0") else None,
        invocation=shown.get("InvocationID", ""),
        freezer=shown.get("FreezerState", ""),
        cgroup=shown.get("ControlGroup", ""),
        queued=shown.get("Job", "") not in ("", "0"),
        ready=shown.get("Type") in AWAITED_TYPES or (bool(shown.get("ActiveState")) and not shown.get("Type")),
        age=ago("ActiveEnterTimestampMonotonic"),
        started_ago=ago("InactiveExitTimestampMonotonic"),
        start_limit=(int(shown.get("StartLimitBurst") or 0), int(shown.get("StartLimitIntervalUSec") or 0) / 1e6),
        watchdog=int(shown.get("WatchdogUSec") or 0) / 1e6,
    )
