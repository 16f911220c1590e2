"""The processes of a pid file as a target: signals go to the whole group, and a command restarts it."""

import shlex
import signal
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent import clock
from agent.config import NamedProcess
from agent.jobs.jobs import ExitedJob, Jobs, LostJob, RunningJob, lost_if_stopped
from agent.processes import pid_file
from agent.processes.pid_file import NotRunning, PidFileInvalid
from agent.processes.process import Group, Process, stat_of
from agent.processes.recording import Recorded
from agent.processes.rest import RestCheck
from agent.supervisors.base import EXCERPT, SupervisorFailed
from agent.supervisors.systemd.freezer import BY_SIGNAL
from agent.util.idempotent_restart import RESTARTING, RUNNING, Look, RestartProgress, RestartTarget
from agent.util.poll import poll
from agent.util.stop import Stop

PATIENCE = 0.5
"""Seconds that one call waits for the end of the command, or for another pid in the file."""
STAYS = 0.2
"""Seconds that a process must live to count as up, unless its group comes to rest before: a process that fails at
once also lives for a moment."""
END_GRACE = 5.0


@dataclass(frozen=True, kw_only=True)
class ProcessProgress(RestartProgress):
    job: str
    pid: str | None = None


class PidFileTarget(RestartTarget[ProcessProgress]):
    """The process group of the pid in a file. It has `timeout` seconds for each request.

    The command runs as a job: the command and its children outlive the agent, and it runs once even if the agent
    is killed meanwhile. All methods raise `SupervisorFailed`.
    """

    progress = ProcessProgress

    def __init__(self, name: str, named: NamedProcess, jobs: Path, stop: Stop, action: str | None = None) -> None:
        assert named.pid_file is not None  # the configuration is checked
        super().__init__(named.timeout, stop)
        self._name, self._path, self._command = name, named.pid_file, named.restart
        self._jobs_directory, self._action = jobs, action

    def paused(self) -> bool | None:
        """Whether all processes are paused; None if none runs."""
        return None if self._leader() is None else not _not(True, self._group())

    def pause(self) -> str:
        return BY_SIGNAL if self._bring(self._group(), stopped=True) else "paused already"

    def resume(self) -> str:
        return "continued" if self._bring(self._group(), stopped=False) else "not paused"

    def note(self) -> ProcessProgress:
        if not self._command:
            raise SupervisorFailed(f"set processes.{self._name}.restart in the configuration: the command for it")
        self._jobs().forget_ended()
        was = self._leader()
        if was is not None:
            self._group()
        job = f"restart-{self._action}-{zlib.crc32(self._name.encode()):08x}"
        return ProcessProgress(was=was._asdict() if was else None, pid=str(was.pid) if was else None, job=job)

    def has_changed(self, restart: ProcessProgress) -> bool:
        leader = self._leader()
        return leader is not None and leader._asdict() != restart.was

    def ask(self, restart: ProcessProgress) -> None:
        if self._leader() is not None:
            self._bring(self._group(), stopped=False)
        # A job of a name starts only once, also if the agent was restarted since.
        recorded = Recorded(f"$ {shlex.join(self._command)}")
        self._jobs().start(restart.job, self._command, timeout=self.timeout, recorded=recorded)

    def look(self, restart: ProcessProgress, seconds: float) -> Look:
        job = self._jobs().find(restart.job)
        status = lost_if_stopped(job.await_end(PATIENCE, self.stop)) if job else None
        if isinstance(status, RunningJob):
            return Look(RESTARTING, {"since": None})  # the timeout begins with the end of the command
        if isinstance(status, ExitedJob) and not status.ok:
            return Look(RESTARTING, failed=f"its restart {_ending(status)}")
        if other := self._other_than(restart.was):
            return Look(RUNNING, {"pid": str(other.pid)})
        lost = isinstance(status, LostJob) and status.why
        return Look(
            RESTARTING,
            {"since": restart.since or clock.monotonic()},
            failed=f"it is unknown whether it was restarted: {lost}; {self._now()}" if lost else "",
            lacks=f"not up {self.timeout:g} s after its restart: {self._now()}",
        )

    def failure(self, why: str, waited: float) -> SupervisorFailed:
        return SupervisorFailed(why)

    def cancel(self, restart: ProcessProgress) -> None:
        if job := self._jobs().find(restart.job):
            job.end(END_GRACE)

    def _jobs(self) -> Jobs:
        return Jobs(self._jobs_directory)

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

    def _bring(self, group: Group, *, stopped: bool) -> bool:
        """Stop or continue every process of the group and wait for it; false if there is nothing to do."""
        if not (others := _not(stopped, group)):
            return False
        for member in others:
            self._send(member, 0)  # check the permission first: all of them or none

        def brought() -> bool:
            for member in (left := _not(stopped, group)):
                self._send(member, signal.SIGSTOP if stopped else signal.SIGCONT)
            return not left

        if not poll(brought, self.timeout, self.stop):
            wanted = "stopped" if stopped else "continued"
            raise SupervisorFailed(f"pid {others[0].pid} has not {wanted}")
        return True

    def _send(self, member: Process, number: int) -> None:
        try:
            member.signal(number)
        except PermissionError:
            raise SupervisorFailed(f"the agent may not signal pid {member.pid}, which another user runs") from None

    def _other_than(self, was: object) -> Process | None:
        """The current leader, if it is another process and stays alive."""

        def another() -> Process | None:
            try:
                leader = pid_file.process_in(self._path)
            except PidFileInvalid:  # the file may be half written
                return None
            return None if leader._asdict() == was else leader

        leader = poll(another, PATIENCE, self.stop)
        return leader if leader is not None and self._stays(leader) else None

    def _stays(self, leader: Process) -> bool:
        rest = RestCheck()
        while left := rest.left(leader.age(), STAYS, self._pids(leader)):
            if leader.await_end(left, self.stop) or self.stop.requested:
                return False
        return leader.alive

    def _pids(self, leader: Process) -> list[int]:
        with suppress(PidFileInvalid):
            return [member.pid for member in pid_file.group_of(leader).members()]
        return []

    def _now(self) -> str:
        try:
            return f"{self._path} still contains pid {pid_file.process_in(self._path).pid}"
        except PidFileInvalid as error:
            return str(error)


def _not(stopped: bool, group: Group) -> list[Process]:
    """The processes of the group that are not in the wanted state."""
    stats = ((member, stat_of(member.pid)) for member in group.members())
    return [member for member, stat in stats if stat is not None and (stat.state == "T") != stopped]


def _ending(status: ExitedJob) -> str:
    how = "took too long and was ended" if status.ended else f"failed with exit status {status.status}"
    output = status.output.strip()[-EXCERPT:]
    return f"{how}: {output}" if output else how
