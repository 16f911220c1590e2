"""The interface of a supervisor: reports the status of one service, starts and stops it."""

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
"""The beginning of a line of systemctl without information about the failure."""
EXCERPT = 500
"""Maximum characters of a command's output in an error message."""


class SupervisorFailed(Exception):
    """The supervisor was not reached or refused; the message is a sentence with its output.

    `journal` holds the last lines of the unit's log if the unit has failed.
    """

    def __init__(self, message: str, journal: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.journal = list(journal)


class CommandKilled(SupervisorFailed):
    """The answer was lost: the command was killed or the connection broke. The request may have arrived."""


class AnswerUnclear(CommandKilled):
    """The answer may be a refusal or the report of a broken connection."""


@dataclass(frozen=True, slots=True)
class Status:
    """Status of the service.

    `running` and `stopped` are both false while it starts or stops, or waits for an automatic restart.
    `pid` is the main process, if the supervisor knows it. `message` is the supervisor's description.
    `ready`: the supervisor itself awaited that the service was up. `age`: seconds since the service
    came up, None if unknown.
    """

    running: bool
    stopped: bool
    pid: str | None
    message: str
    ready: bool = False
    age: float | None = field(default=None, compare=False)


class Supervisor(ABC):
    """Starts and stops one service. Every call ends early when `stop` is requested.

    `action` is the id of the action that makes the call. All calls raise `SupervisorFailed`.
    """

    subject: str
    """The unit or the start command, for messages."""
    stays_stopped: ClassVar[bool] = False
    """Whether a service that is stopped after a requested start has failed and will not come up later."""

    @abstractmethod
    def status(self, stop: Stop, action: str | None = None) -> Status:
        """The current status of the service."""

    @abstractmethod
    def start(self, stop: Stop, action: str | None = None) -> None:
        """Request a start. The service may not be up yet when this returns."""

    @abstractmethod
    def stop(self, stop: Stop, action: str | None = None) -> None:
        """Request a stop. The service may still run when this returns."""

    def allow_start(self, stop: Stop, action: str | None = None) -> None:  # noqa: B027 (most have no limit)
        """Ensure that the next start is not refused. Call it before a stop: otherwise the service would stay down."""

    def watch(self, left: Callable[[Status], float], seconds: float, stop: Stop, action: str | None = None) -> Status:
        """Poll the status until `left` returns 0, at most for `seconds`. Returns the last status.

        `left` returns how many more seconds the status must last to count.
        """
        pauses = Pauses()
        while True:
            status = self.status(stop, action)
            wanted, over = left(status), seconds - pauses.passed
            if wanted <= 0 or over <= 0 or stop.wait(min(wanted, over, pauses.next())):
                return status

    def journal(self, seconds: float) -> list[str]:
        """The last lines that the service logged within `seconds`; empty if the supervisor keeps no log."""
        return []


def run(
    argv: Sequence[str],
    timeout: float,
    stop: Stop,
    action: str | None,
    env: Mapping[str, str] | None = None,
    recorded: Recorded | None = None,
) -> CommandResult:
    """Run a command; any exit status is allowed. Raises `SupervisorFailed` if it cannot start or is ended early."""
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
    """Run and record a command that must succeed. Raises `SupervisorFailed` with its output."""
    outcome = run(argv, timeout, stop, action, recorded=Recorded(f"$ {shlex.join(argv)}"))
    if not outcome.ok:
        raise SupervisorFailed(failure_text(outcome))
    return outcome


def failure_text(outcome: CommandResult) -> str:
    """The end of a command and its last output."""
    lines = (outcome.stderr.strip() or outcome.stdout.strip())[-EXCERPT:].splitlines()
    output = "; ".join(line.strip().rstrip(".") for line in lines if line.strip() and not line.startswith(HINT))
    return f"{outcome.describe()}: {output}" if output else outcome.describe()
