"""Identifies processes by pid and start time, so that a reused pid is not mistaken for the old process."""

from __future__ import annotations

import os
import select
import time
from collections import namedtuple
from contextlib import contextmanager, suppress

from agent.util.poll import poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.util.stop import Stop

KILL_WAIT = 5.0  # seconds to wait for the end of a killed process (it may hang in the kernel)
GONE = (FileNotFoundError, ProcessLookupError)


class Stat(namedtuple("Stat", ("state", "group", "session", "cpu", "started"))):
    """Fields of /proc/PID/stat. `started`: clock ticks after boot; `cpu`: used CPU time in clock ticks."""

    __slots__ = ()
    state: str
    group: int
    session: int
    cpu: int
    started: int


def stat_of(pid: int | str) -> Stat | None:
    """The current state of a process, or of its thread `PID/task/TID`; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (*GONE, PermissionError):  # the mount option hidepid= hides other users' processes
        return None
    # The second field is the program's name in parentheses, which may contain spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split()
    cpu = int(fields[11]) + int(fields[12])
    return Stat(fields[0].decode(), int(fields[2]), int(fields[3]), cpu, int(fields[19]))


def boot_id() -> str:
    """The id of the current boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def all_pids() -> Iterator[int]:
    """The pids of all visible processes."""
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


class Process(namedtuple("Process", ("pid", "started", "boot"))):
    """The unique identity of a process: its pid, its start in clock ticks after boot, and the boot id."""

    __slots__ = ()
    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now; None if there is none."""
        stat = stat_of(pid)
        return None if stat is None else cls(pid, stat.started, boot_id())

    def as_json(self) -> str:
        """The process as JSON, made without the module `json`, which the runner of a job does not import."""
        return f'{{"pid": {self.pid}, "started": {self.started}, "boot": "{self.boot}"}}'

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        stat = stat_of(self.pid)
        return stat is not None and self._is(stat) and self.boot == boot_id()

    def _is(self, stat: Stat) -> bool:
        return stat.started == self.started and stat.state not in "ZX"

    def age(self) -> float:
        """Seconds since its start, by the kernel's boot-time clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / os.sysconf("SC_CLK_TCK")

    def await_end(self, seconds: float, stop: Stop | None = None) -> bool:
        """Wait for its end, for at most `seconds` or until a stop; whether it has ended."""
        with _pidfd(self.pid) as descriptor:
            if descriptor is None or not self.alive:
                return True
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            if stop is not None:
                poller.register(stop.fileno(), select.POLLIN)
            return any(found == descriptor for found, _ in poller.poll(seconds * 1000))

    def signal(self, number: int) -> bool:
        """Send it a signal; False if it is gone.

        Raises PermissionError. A later process with the same pid never gets the signal: the
        descriptor is opened first, then its process is checked.
        """
        import signal  # imported here: most jobs are never signalled and do not need it

        with _pidfd(self.pid) as descriptor:
            if descriptor is None or not self.alive:
                return False
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
                return True
        return False


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Group(namedtuple("Group", ("leader",))):
    """The process group of `leader`; it may outlive its leader."""

    __slots__ = ()
    leader: Process

    def members(self) -> list[Process]:
        """The running processes of the group."""
        first = stat_of(self.leader.pid)
        if first is not None and first.started != self.leader.started:
            return []  # another process has this pid now
        boot = boot_id()
        if boot != self.leader.boot:
            return []
        seen = ((pid, stat_of(pid)) for pid in all_pids())
        return [
            Process(pid, stat.started, boot)
            for pid, stat in seen
            if stat is not None and stat.group == self.leader.pid and stat.state not in "ZX"
        ]

    def signal(self, number: int) -> None:
        """Send every member a signal; skip members of another user."""
        for member in self.members():
            with suppress(PermissionError):
                member.signal(number)

    def terminate(self) -> None:
        """Send SIGTERM, and SIGCONT so that a stopped process can handle it."""
        import signal

        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def end(self, grace: float) -> bool:
        """Send SIGTERM, and SIGKILL after `grace` seconds; True if all members have ended."""
        self.terminate()
        if self._gone_within(grace):
            return True
        return self.kill()

    def kill(self) -> bool:
        """Send SIGKILL; True if all members have ended."""
        import signal

        self.signal(signal.SIGKILL)
        return self._gone_within(KILL_WAIT)

    def _gone_within(self, seconds: float) -> bool:
        return poll(lambda: not self.members(), seconds)
