"""The status of a systemd unit, from its properties."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from agent.processes import cgroup
from agent.processes.rest import RestCheck

PROPERTIES = (
    "Id", "ActiveState", "SubState", "MainPID", "LoadState", "Result", "InvocationID", "FreezerState", "ControlGroup",
    "Job", "Type", "ActiveEnterTimestampMonotonic", "InactiveExitTimestampMonotonic", "StartLimitBurst",
    "StartLimitIntervalUSec", "WatchdogUSec", "RemainAfterExit",
)  # fmt: skip
ACTIVE = ("active", "reloading", "refreshing")
ENDED = ("inactive", "failed")
AWAITED_TYPES = ("notify", "notify-reload", "dbus", "forking", "oneshot")
"""Types of services that become active only when they report it. Units other than services have no type."""
ABOUT_TO_START = "before-auto-restart"
"""End of the SubState of a unit that looks ended but restarts automatically at once (systemd 254 and later)."""
STAYS = 0.2
"""Seconds that a unit of any other type must be active to count as up, unless its processes come to rest before: a
unit that dies at once is also active for a moment."""


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """Status of a unit. `invocation` changes with every start and so shows a restart. `queued`: systemd has a job to
    start or stop the unit, as while the host boots or between the halves of a restart.

    `age` and `started_ago` are seconds since it became active and since its start began, by systemd's clock; None if
    it never did. `start_limit` is how many starts systemd allows in how many seconds. `watchdog` is WatchdogSec in
    seconds, 0 for none. `never_up`: it is inactive again as soon as its command has ended. `masked`: systemd refuses
    each start. `job_result` is the result of the last job, if it was received.
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
    never_up: bool = False
    masked: bool = False
    job_result: str = ""

    @property
    def running(self) -> bool:
        return self.active in ACTIVE

    @property
    def stopped(self) -> bool:
        """Whether it stays stopped: a unit that waits for its automatic restart, or for a queued start, does not."""
        return self.active in ENDED and not self.queued and not self.sub.endswith(ABOUT_TO_START)

    @property
    def frozen(self) -> bool:
        """Whether it is frozen. systemd keeps this state of a unit that died while frozen, even after the next start:
        the state counts only for an active unit, and the kernel's cgroup overrides it."""
        return self.freezer == "frozen" and self.active not in ENDED and cgroup.frozen(self.cgroup) is not False

    def stays(self, rest: RestCheck) -> float:
        """Seconds until the next look; 0 once it is proved that the unit stays active."""
        return 0.0 if self.ready else rest.left(self.age or 0.0, STAYS, cgroup.members(self.cgroup))

    @property
    def message(self) -> str:
        """As systemctl prints it: `active (running)`, `failed (failed), Result: exit-code`."""
        text = f"{self.active} ({self.sub})"
        if self.result != "success":
            text += f", Result: {self.result}"
        if self.job_result not in ("", "done") and not self.running:
            text += f", job result: {self.job_result}"
        return text

    def after_job(self, result: str) -> "UnitStatus":
        """This status with the result of its last job."""
        return replace(self, job_result=result)


def read(shown: Mapping[str, str]) -> UnitStatus:
    """The status from a unit's properties. Times are in microseconds, an invocation is 32 hexadecimal digits."""
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
        # A unit file without any command is also shown as oneshot; systemd refuses it itself.
        never_up=[shown.get(name) for name in ("LoadState", "Type")] == ["loaded", "oneshot"]
        and shown.get("RemainAfterExit") in ("no", "False"),
        masked=shown.get("LoadState") == "masked",
    )
