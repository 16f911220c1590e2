"""The processes of a pid file: their whole group gets the signals, and a command restarts them."""

import math
import shlex
import signal
import zlib
from contextlib import suppress
from pathlib import Path

from agent import clock
from agent.config import NamedProcess
from agent.jobs.jobs import ExitedJob, Jobs, LostJob, RunningJob, lost_if_stopped
from agent.processes import pid_file
from agent.processes.pid_file import NotRunning, PidFileInvalid
from agent.processes.process import Group, Process, stat_of
from agent.processes.recording import Recorded
from agent.processes.rest import RestCheck
from agent.supervisors.base import SAID, SupervisorFailed
from agent.supervisors.processes import Processes, Progress
from agent.supervisors.systemd.freezer import BY_SIGNAL
from agent.util.poll import poll
from agent.util.stop import Stop

PATIENCE = 0.5
"""Seconds that one call waits for the end of the command, or for another process in the file."""
STAYS = 0.2
"""Seconds since its start that a process must live, unless its group comes to rest before: one that fails at once is
there for a moment too."""
END_GRACE = 5.0


class OfPidFile(Processes):
    """Those whose leader's pid stands in a file. They get `timeout` seconds for each request.

    The command runs as a job, so that neither it nor what it starts ends with the agent, and that it is
    run once, however often the agent is killed meanwhile.
    """

    def __init__(self, name: str, named: NamedProcess, jobs_directory: Path) -> None:
        assert named.pid_file is not None  # the configuration is checked
        self._name, self._path = name, named.pid_file
        self._command, self._timeout = named.restart, named.timeout
        self._jobs_directory = jobs_directory

    def paused(self, stop: Stop) -> bool | None:
        return None if self._leader() is None else not _not(True, self._group())

    def pause(self, stop: Stop, action: str) -> str:
        return BY_SIGNAL if self._bring(self._group(), stopped=True, stop=stop) else "paused already"

    def resume(self, stop: Stop, action: str) -> str:
        return "continued" if self._bring(self._group(), stopped=False, stop=stop) else "not paused"

    def note(self, stop: Stop, action: str) -> Progress:
        if not self._command:
            raise SupervisorFailed(f"set processes.{self._name}.restart in the configuration: the command for it")
        self._jobs().forget_ended()
        was = self._leader()
        if was is not None:
            self._group()
        return {
            "state": "noted", "was": was._asdict() if was else None, "pid": str(was.pid) if was else None,
            "job": f"restart-{action}-{zlib.crc32(self._name.encode()):08x}",
        }  # fmt: skip

    def advance(self, progress: Progress, stop: Stop, action: str) -> Progress:
        if progress["state"] == "noted" and self._leader() is not None:
            self._bring(self._group(), stopped=False, stop=stop)
        # Started once by its name, found again by it: also by an agent that was started since.
        job = self._jobs().start(
            progress["job"], self._command, timeout=self._timeout, recorded=Recorded(f"$ {shlex.join(self._command)}")
        )
        status = lost_if_stopped(job.await_end(PATIENCE, stop))
        progress = progress | {"state": "restarting"}
        if isinstance(status, RunningJob):
            return progress
        if isinstance(status, ExitedJob) and not status.ok:
            raise SupervisorFailed(f"its restart {_ending(status)}")
        if other := self._other_than(progress["was"], stop):
            return progress | {"state": "running", "pid": str(other.pid)}
        # The monotonic clock restarts with a reboot.
        progress["since"] = min(clock.monotonic(), progress.get("since", math.inf))
        self._refuse_what_will_not_come(status, progress["since"])
        return progress

    def cancel(self, progress: Progress) -> None:
        if job := self._jobs().find(progress["job"]):
            job.end(END_GRACE)

    def _leader(self) -> Process | None:
        try:
            return pid_file.process_in(self._path)
        except NotRunning:
            return None
        except PidFileInvalid as error:
            raise SupervisorFailed(str(error)) from None

    def _group(self) -> Group:
        try:
            return pid_file.group_of(pid_file.process_in(self._path))
        except PidFileInvalid as error:
            raise SupervisorFailed(str(error)) from None

    def _bring(self, group: Group, *, stopped: bool, stop: Stop) -> bool:
        """Stop or continue every process of the group and await that it is so; false where it was so before."""
        if not (others := _not(stopped, group)):
            return False
        for member in others:
            self._send(member, 0)  # all of them or none

        def brought() -> bool:
            for member in (left := _not(stopped, group)):
                self._send(member, signal.SIGSTOP if stopped else signal.SIGCONT)
            return not left

        if not poll(brought, self._timeout, stop):
            wanted = "stopped" if stopped else "gone on"
            raise SupervisorFailed(f"pid {others[0].pid} has not {wanted}")
        return True

    def _send(self, member: Process, number: int) -> None:
        try:
            member.signal(number)
        except PermissionError:
            raise SupervisorFailed(f"the agent may not signal pid {member.pid}, which another user runs") from None

    def _other_than(self, was: object, stop: Stop) -> Process | None:
        """Who leads now, if that is another process and stays."""

        def another() -> Process | None:
            try:
                leader = pid_file.process_in(self._path)
            except PidFileInvalid:  # it may just be written
                return None
            return None if leader._asdict() == was else leader

        leader = poll(another, PATIENCE, stop)
        return leader if leader is not None and self._stays(leader, stop) else None

    def _stays(self, leader: Process, stop: Stop) -> bool:
        rest = RestCheck()
        while left := rest.left(leader.age(), STAYS, self._pids(leader)):
            if leader.await_end(left, stop) or stop.requested:
                return False
        return leader.alive

    def _pids(self, leader: Process) -> list[int]:
        with suppress(PidFileInvalid):
            return [member.pid for member in pid_file.group_of(leader).members()]
        return []

    def _refuse_what_will_not_come(self, status: ExitedJob | LostJob, since: float) -> None:
        if isinstance(status, LostJob):
            raise SupervisorFailed(f"it is not known whether it was restarted, as {status.why}; {self._now()}")
        if clock.monotonic() - since > self._timeout:
            raise SupervisorFailed(f"not up {self._timeout:g} s after its restart: {self._now()}")

    def _now(self) -> str:
        try:
            return f"{self._path} still contains pid {pid_file.process_in(self._path).pid}"
        except PidFileInvalid as error:
            return str(error)

    def _jobs(self) -> Jobs:
        return Jobs(self._jobs_directory)


def _not(stopped: bool, group: Group) -> list[Process]:
    """The processes of the group that are not so."""
    stats = ((member, stat_of(member.pid)) for member in group.members())
    return [member for member, stat in stats if stat is not None and (stat.state == "T") != stopped]


def _ending(status: ExitedJob) -> str:
    how = "took too long and was ended" if status.ended else f"failed with exit status {status.status}"
    said = status.output.strip()[-SAID:]
    return f"{how}: {said}" if said else how
