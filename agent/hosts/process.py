"""Which process is which: a pid and when it started, so that a recycled pid does not deceive."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .poll import poll

if TYPE_CHECKING:
    from agent.stop import Stop

KILL_WAIT = 5.0  # seconds that a killed process gets to disappear (it may hang in the kernel)
GONE = (FileNotFoundError, ProcessLookupError)


class Stat(NamedTuple):
    """What /proc/PID/stat says of a process; `started` in clock ticks after boot."""

    state: str
    group: int
    session: int
    started: int


def stat_of(pid: int) -> Stat | None:
    """The process as it is now; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (*GONE, PermissionError):  # With hidepid= other users' processes are hidden.
        return None
    # The second field is the program's name in parentheses and may itself hold any of these.
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[2]), int(fields[3]), int(fields[19]))


def boot_id() -> str:
    """Another one after each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def all_pids() -> Iterator[int]:
    """Every process that can be seen from here."""
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


class Process(NamedTuple):
    """One process, never another: its pid, its start in clock ticks after boot, and which boot."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now; None if there is none."""
        stat = stat_of(pid)
        return None if stat is None else cls(pid, stat.started, boot_id())

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        stat = stat_of(self.pid)
        return stat is not None and self._is(stat) and self.boot == boot_id()

    def _is(self, stat: Stat) -> bool:
        return stat.started == self.started and stat.state not in "ZX"

    def age(self) -> float:
        """Seconds since it was started, by the kernel's clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / os.sysconf("SC_CLK_TCK")

    def await_end(self, seconds: float, stop: Stop | None = None) -> bool:
        """Wait for the kernel's word that it has ended, `seconds` at most or until a stop; whether it has."""
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

        Raises PermissionError. What comes later under the same pid is never hit: the descriptor is
        opened first, then what it stands for is checked.
        """
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


class Group(NamedTuple):
    """The process group that `leader` opened; it may outlive its leader."""

    leader: Process

    def members(self) -> list[Process]:
        """Those of the group that still run."""
        first = stat_of(self.leader.pid)
        if first is not None and first.started != self.leader.started:
            return []  # The number belongs to someone else by now.
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
        """Send every member a signal; those that belong to another user are left out."""
        for member in self.members():
            with suppress(PermissionError):
                member.signal(number)

    def ask_to_end(self) -> None:
        """SIGTERM, and SIGCONT so that a stopped process can obey."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def end(self, grace: float) -> bool:
        """SIGTERM, after `grace` seconds SIGKILL; True if nothing of it is left."""
        self.ask_to_end()
        if self._gone_within(grace):
            return True
        self.signal(signal.SIGKILL)
        return self._gone_within(KILL_WAIT)

    def _gone_within(self, seconds: float) -> bool:
        return poll(lambda: not self.members(), seconds)
