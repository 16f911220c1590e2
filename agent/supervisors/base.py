"""The contract of a supervisor: reports the state of the one service, starts and stops it."""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from agent.processes import command
from agent.processes.command import CommandNotStarted, CommandResult
from agent.processes.recording import Recorded
from agent.util.pauses import Pauses
from agent.util.stop import Stop

HINT = "See system logs and "
"""How systemctl begins a line that says nothing of what has happened."""
SAID = 500
"""Characters of a command's last words that a message repeats."""


class SupervisorFailed(Exception):
    """The supervisor could not be asked or refused; the message is a sentence with what it printed.

    `journal` holds the last lines of the unit's log, where the unit has failed.
    """

    def __init__(self, message: str, journal: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.journal = list(journal)


class CommandKilled(SupervisorFailed):
    """The answer was lost: the command was killed or the connection broke. The request may have arrived."""


class AnswerUnclear(CommandKilled):
    """The answer may be a refusal, or say that the connection broke."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the service stands.

    `running` and `stopped` are both false on the way from one to the other: while it starts or
    stops, or waits to be started again. `pid` is the main process, if the supervisor knows it.
    `message` is how the supervisor puts it. `ready`: the supervisor itself awaited that the service
    was up. `age`: seconds since the service came up, None if unknown.
    """

    running: bool
    stopped: bool
    pid: str | None
    message: str
    ready: bool = False
    age: float | None = field(default=None, compare=False)


class Supervisor(ABC):
    """Starts and stops one service. Every call ends early where `stop` is requested.

    `action` is the id of the action it is done for. All calls raise `SupervisorFailed`.
    """

    subject: str
    """What it supervises or how, for messages."""
    stays_stopped: ClassVar[bool] = False
    """Whether a service that is stopped after a start was asked for has failed: it will not come up later."""

    @abstractmethod
    def status(self, stop: Stop, action: str | None = None) -> Status:
        """How the service stands now."""

    @abstractmethod
    def start(self, stop: Stop, action: str | None = None) -> None:
        """Ask for a start; it may not have come up yet when this returns."""

    @abstractmethod
    def stop(self, stop: Stop, action: str | None = None) -> None:
        """Ask for a stop; it may still run when this returns."""

    def allow_start(self, stop: Stop, action: str | None = None) -> None:  # noqa: B027 (most limit nothing)
        """Make sure that a start will not be refused for too many starts before it. Call it before a stop."""

    def watch(self, left: Callable[[Status], float], seconds: float, stop: Stop, action: str | None = None) -> Status:
        """Look until `left` says 0 seconds, and at most for `seconds`; returns the last look.

        `left` says how long the status must last before it counts.
        """
        pauses = Pauses()
        while True:
            status = self.status(stop, action)
            wanted, over = left(status), seconds - pauses.passed
            if wanted <= 0 or over <= 0 or stop.wait(min(wanted, over, pauses.next())):
                return status

    def journal(self, seconds: float) -> list[str]:
        """The last lines that the service logged within `seconds`; none where the supervisor keeps no log."""
        return []


def run(
    argv: Sequence[str],
    timeout: float,
    stop: Stop,
    action: str | None,
    env: Mapping[str, str] | None = None,
    recorded: Recorded | None = None,
) -> CommandResult:
    """Run a command that ends by itself, whatever its status. Raises `SupervisorFailed` for any other."""
    try:
        outcome = command.run(argv, timeout=timeout, stop=stop, action=action, env=env, recorded=recorded)
    except CommandNotStarted as error:
        raise SupervisorFailed(str(error)) from error
    if outcome.ended is not None or outcome.status is None:
        raise SupervisorFailed(failure_text(outcome))
    if outcome.status < 0:
        raise CommandKilled(failure_text(outcome))
    return outcome


def run_ok(argv: Sequence[str], timeout: float, stop: Stop, action: str | None) -> CommandResult:
    """Run and record a command that must succeed. Raises `SupervisorFailed` with what it printed."""
    outcome = run(argv, timeout, stop, action, recorded=Recorded(f"$ {shlex.join(argv)}"))
    if not outcome.ok:
        raise SupervisorFailed(failure_text(outcome))
    return outcome


def failure_text(outcome: CommandResult) -> str:
    """How a command ended and its last words."""
    lines = (outcome.stderr.strip() or outcome.stdout.strip())[-SAID:].splitlines()
    said = "; ".join(line.strip().rstrip(".") for line in lines if line.strip() and not line.startswith(HINT))
    return f"{outcome.describe()}: {said}" if said else outcome.describe()
