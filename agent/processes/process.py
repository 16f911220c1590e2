"""Which process is which: a pid and when it started, so that a recycled pid does not deceive."""

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

KILL_WAIT = 5.0  # seconds that a killed process gets to disappear (it may hang in the kernel)
GONE = (FileNotFoundError, ProcessLookupError)


class Stat(namedtuple("Stat", ("state", "group", "session", "cpu", "started"))):
    """What /proc/PID/stat says of a process; `started` in clock ticks after boot, `cpu` in those that it has used."""

    __slots__ = ()
    state: str
    group: int
    session: int
    cpu: int
    started: int


def stat_of(pid: int | str) -> Stat | None:
    """The process as it is now, or its thread `PID/task/TID`; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (*GONE, PermissionError):  # With hidepid= other users' processes are hidden.
        return None
    # The second field is the program's name in parentheses and may itself hold any of these.
    fields = text[text.rindex(b")") + 2 :].split()
    cpu = int(fields[11]) + int(fields[12])
    return Stat(fields[0].decode(), int(fields[2]), int(fields[3]), cpu, int(fields[19]))


def boot_id() -> str:
    """Another one after each boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def all_pids() -> Iterator[int]:
    """Every process that can be seen from here."""
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


class Process(namedtuple("Process", ("pid", "started", "boot"))):
    """One process, never another: its pid, its start in clock ticks after boot, and which boot."""

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
        """As it is written down, without the module `json`, which the runner of a job does not load."""
        return f'{{"pid": {self.pid}, "started": {self.started}, "boot": "{self.boot}"}}'

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
        import signal  # here, as a job that is never signalled need not load it

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
    """The process group that `leader` opened; it may outlive its leader."""

    __slots__ = ()
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
        import signal

        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def end(self, grace: float) -> bool:
        """SIGTERM, after `grace` seconds SIGKILL; True if nothing of it is left."""
        self.ask_to_end()
        if self._gone_within(grace):
            return True
        return self.kill()

    def kill(self) -> bool:
        """SIGKILL; True if nothing of it is left."""
        import signal

        self.signal(signal.SIGKILL)
        return self._gone_within(KILL_WAIT)

    def _gone_within(self, seconds: float) -> bool:
        return poll(lambda: not self.members(), seconds)
