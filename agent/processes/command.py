"""Runs one command to its end, with a timeout, a stop and bounded memory."""

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
# Variables of the agent's environment for commands: no secrets, and no NOTIFY_SOCKET, with which a command could
# notify systemd in the agent's name.
PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


@dataclass(frozen=True)
class CommandResult:
    """The result of a command.

    status: exit status, negative = killed by that signal; None if it still runs after SIGKILL.
    stdout, stderr: the end of its output.
    ended: None if it ended by itself, else why it was ended: "timeout" or the reason of the stop.
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
        """One sentence: the command and how it ended."""
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
    """Run `argv` until it exits.

    timeout, grace: seconds. After `timeout`, or if `stop` is requested, its process group gets
        SIGTERM, and after `grace` SIGKILL. An earlier stop prevents the start.
    action: the action of the command; `end_left_over` finds the command by it if the agent is killed.
    version: the step of the command (see `Step`), to find its children if it died with the agent.
    env: its whole environment; `passed_on` if None.
    tail: the number of bytes kept from the end of each output.
    umask: of the command; the agent's if negative.
    recorded: the part of its output that belongs to the output of the running step's action.

    Returns as soon as the command itself has exited. Its background processes are neither awaited
    nor ended, and their output is discarded.
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
    """End the commands that an agent, now killed, was running for `action` in its step `version`.

    Returns their pids. Background processes of commands of earlier steps are not touched.
    """
    left = _in_flight(action, version)
    for group in left:
        group.end(grace)
    return [group.leader.pid for group in left]


def environment(env: Mapping[str, str] | None, action: str | None = None, version: int | None = None) -> dict[str, str]:
    """The environment for a command: `env` or `passed_on`, with marks only for its own action and step."""
    marks = {MARK: action, STEP: None if version is None else _step(version, os.getsid(0))}
    unmarked = {name: value for name, value in (passed_on() if env is None else env).items() if name not in marks}
    return unmarked | trace.variables() | {name: value for name, value in marks.items() if value is not None}


def passed_on() -> dict[str, str]:
    """The part of the agent's environment for commands."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def _step(version: int, session: int) -> str:
    """The mark of a step. It has the agent's session, which distinguishes a daemon: daemons open their own."""
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
    """Whether the process has the agent's user and may be a command's: not in the agent's group, and not detached.

    A process whose group is its session has detached itself, as a daemon does.
    """
    return stat.group not in (stat.session, os.getpgrp()) and _is_ours(pid)


def _works_for(pid: int, stat: Stat, action: str, version: int | None) -> bool:
    """Whether the process has the mark of the action, and leads its group or also has the mark of the step.

    The mark of the step finds children whose group leader has died.
    """
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
