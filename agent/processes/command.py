"""Run one command to its end: with a timeout, a way to stop it, and bounded memory."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.processes import trace
from agent.processes.child import Child
from agent.processes.errors import CommandError, CommandNotStarted
from agent.processes.output import TAIL, Tail
from agent.processes.popen import popen
from agent.processes.process import GONE, Group, Process, Stat, all_pids, boot_id, stat_of
from agent.processes.recording import Recorded, streams
from agent.processes.transcript import both
from agent.util.stop import Stop

__all__ = ["CommandError", "CommandNotStarted", "CommandResult", "end_left_over", "environment", "passed_on", "run"]

MARK, STEP = "AGENT_ACTION", "AGENT_STEP"
# What commands get of our environment: neither secrets, nor what lets one answer the service manager in our name.
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


@dataclass(frozen=True)
class CommandResult:
    """How a command ended.

    status: exit status, negative = killed by that signal; None if it could not be got rid of.
    stdout, stderr: the end of what it printed.
    ended: None if it ended by itself, else why we ended it: "timeout" or the reason of the stop.
    """

    argv: tuple[str, ...]
    status: int | None
    stdout: str
    stderr: str
    ended: str | None

    @property
    def ok(self) -> bool:
        return self.ended is None and self.status == 0

    def describe(self) -> str:
        """One sentence for a person: which command, and how it ended."""
        return f"{_shown(self.argv)} {self._ending()}"

    def _ending(self) -> str:
        if self.status is None:
            return f"was killed ({self.ended}) but is still running"
        if self.ended == "timeout":
            return "took too long and was ended"
        if self.ended is not None:
            return f"was ended: {self.ended}"
        if self.status < 0:
            return f"was killed by {_signal_name(-self.status)}"
        return "succeeded" if self.status == 0 else f"failed with exit status {self.status}"


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float,
    stop: Stop | None = None,
    action: str | None = None,
    version: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    grace: float = 5.0,
    tail: int = TAIL,
    umask: int = -1,
    recorded: Recorded | None = None,
) -> CommandResult:
    """Run `argv` until it exits, and say how.

    timeout, grace: seconds; when timeout or `stop` is requested its process group gets
        SIGTERM, and after `grace` SIGKILL. A stop that came before prevents the start.
    action: the action it works for, so that `end_left_over` finds it if we are killed meanwhile.
    version: the step it works for (see `Step`), so that its children are found though it died with us.
    env: its whole environment; `passed_on` if None.
    tail: how many bytes of each of its outputs are kept, the last ones.
    umask: which permissions its files do not get; ours if negative.
    recorded: what of it belongs to the output of the action whose step runs.

    Returns as soon as the command itself has exited: what it left in the background is neither
    awaited nor ended, and its further output is discarded.
    Raises CommandNotStarted.
    """
    if stop is not None and stop.requested:
        return CommandResult(tuple(argv), -signal.SIGTERM, "", "", stop.reason)
    out, err = Tail(tail), Tail(tail)
    marked = environment(env, action, version)
    with streams(recorded) as (shown_out, shown_err):
        stdout, stderr = both(out.add, shown_out), both(err.add, shown_err)
        start = partial(popen, argv, stdin=bool(stdin), env=marked, cwd=cwd, umask=umask)
        child = Child(start, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            ended = child.follow(timeout, stop)
            if ended is not None:
                child.end(grace)
            return CommandResult(tuple(argv), child.status, out.text(), err.text(), ended)
        finally:
            child.close()


def end_left_over(action: str, version: int | None = None, grace: float = 5.0) -> list[int]:
    """End the commands that were in flight for `action`, in its step `version`, when an earlier agent was killed.

    Returns the pids that they had. What a command of an earlier step left in the background is not touched.
    """
    left = _in_flight(action, version)
    for group in left:
        group.end(grace)
    return [group.leader.pid for group in left]


def environment(env: Mapping[str, str] | None, action: str | None = None, version: int | None = None) -> dict[str, str]:
    """The environment for a command: `env`, or what is `passed_on`, marked with what it works for alone."""
    marks = {MARK: action, STEP: None if version is None else _step(version, os.getsid(0))}
    unmarked = {name: value for name, value in (passed_on() if env is None else env).items() if name not in marks}
    return unmarked | trace.variables() | {name: value for name, value in marks.items() if value is not None}


def passed_on() -> dict[str, str]:
    """The part of our environment that a command gets."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def _step(version: int, session: int) -> str:
    """In the agent's session, so that a daemon, which opens its own, can be distinguished."""
    return f"{version} {session}"


def _in_flight(action: str, version: int | None) -> list[Group]:
    found = {
        stat.group
        for pid in all_pids()
        if (stat := stat_of(pid)) is not None
        and _may_be_a_command(pid, stat)
        and _works_for(pid, stat, action, version)
    }
    return [Group(Process.of(number) or Process(number, 0, boot_id())) for number in found]


def _may_be_a_command(pid: int, stat: Stat) -> bool:
    """It is ours, but in no group of an agent's; one that leads a session detached itself, as a daemon does."""
    return stat.group not in (stat.session, os.getpgrp()) and _is_ours(pid)


def _works_for(pid: int, stat: Stat, action: str, version: int | None) -> bool:
    """Whether it carries the mark and leads its group, or has lost who did so and works for that very step."""
    environ = _environ(pid)
    if os.fsencode(f"{MARK}={action}") not in environ:
        return False
    return stat.group == pid or (
        version is not None and os.fsencode(f"{STEP}={_step(version, stat.session)}") in environ
    )


def _is_ours(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except GONE:
        return False


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (*GONE, PermissionError):
        return []


def _shown(argv: Sequence[str]) -> str:
    text = shlex.join(argv)
    return text if len(text) <= 200 else text[:199] + "…"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
