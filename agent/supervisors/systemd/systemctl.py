"""systemd asked through the program systemctl: where the library for D-Bus is not installed, or D-Bus is down."""

import re
from collections.abc import Mapping
from typing import Self

from agent.processes.command import CommandResult, passed_on
from agent.processes.lost_connection import is_lost
from agent.processes.recording import Recorded
from agent.supervisors.base import AnswerUnclear, CommandKilled, SupervisorFailed, failure_text, run
from agent.supervisors.systemd.unit_status import PROPERTIES
from agent.util.pauses import Pauses
from agent.util.stop import Stop

REFUSALS = ("authentication required", "Access denied")
FINAL = (
    " is masked",
    " not found",
    " not loaded",
    "bad unit file setting",
    "does not support freezing",
    " is inactive",
)
"""What systemd says of a unit that it will not act on."""
AWAITED = ("freeze", "thaw")
UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
SPANS = ("StartLimitIntervalUSec", "WatchdogUSec")
"""Properties that systemctl prints as a span of time, such as `1min 30s`."""


class Systemctl:
    """Calls of systemctl, which may take `timeout` seconds each. All raise `SupervisorFailed`."""

    def __init__(self, timeout: float, stop: Stop, action: str | None) -> None:
        self._timeout, self._stop, self._action = timeout, stop, action
        self._pauses = Pauses()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is kept open."""

    def show(self, unit: str) -> dict[str, str]:
        """The properties of a unit."""
        outcome = self._run(["show", f"--property={','.join(PROPERTIES)}", "--", unit])
        if not outcome.ok:  # it shows also what does not exist
            raise CommandKilled(failure_text(outcome))
        shown = dict(line.split("=", 1) for line in outcome.stdout.splitlines() if "=" in line)
        return shown | {name: str(_microseconds(shown.get(name, ""))) for name in SPANS}

    def manage(self, verb: str, unit: str) -> None:
        """Ask for `start`, `stop`, `restart`, `reset-failed`, `freeze` or `thaw`; only the last two are awaited."""
        # With --no-block systemctl crashes on those two.
        self._ask(verb, unit, [] if verb in AWAITED else ["--no-block"])

    def kill(self, unit: str, signal: str) -> None:
        """Send every process of the unit a signal, such as `SIGSTOP`."""
        self._ask("kill", unit, [f"--signal={signal}"])

    def subscribe(self, unit: str) -> None:
        """systemctl reports no changes."""

    def wait(self, seconds: float) -> str:
        """Pause before the next look, at most for `seconds`. The result of a job is never heard."""
        self._stop.wait(min(seconds, self._pauses.next()))
        return ""

    def _ask(self, verb: str, unit: str, options: list[str]) -> None:
        outcome = self._run([*options, "--no-ask-password", verb, "--", unit], Recorded(f"$ systemctl {verb} {unit}"))
        if outcome.ok:
            return
        if any(refusal in outcome.stderr for refusal in REFUSALS):
            said = outcome.stderr.strip().splitlines()[0].rstrip(".")
            raise SupervisorFailed(not_allowed(verb, unit, said))
        if is_lost(outcome.stderr):
            raise CommandKilled(failure_text(outcome))
        if any(words in outcome.stderr for words in FINAL):
            raise SupervisorFailed(failure_text(outcome))
        raise AnswerUnclear(failure_text(outcome))

    def _run(self, words: list[str], recorded: Recorded | None = None) -> CommandResult:
        return run(["systemctl", *words], self._timeout, self._stop, self._action, _environment(), recorded)


def not_allowed(verb: str, unit: str, said: str) -> str:
    """The message where polkit or the bus refuses."""
    return f"the agent's user may not {verb} {unit} (see agentctl polkit): {said}"


def _environment() -> Mapping[str, str]:
    return passed_on() | {"LC_ALL": "C"}


def _microseconds(span: str) -> int:
    """Of a span as systemd prints it; 0 for `infinity` and whatever else is no number."""
    parts = re.findall(r"([0-9.]+)(us|ms|s|min|h|d)\b", span)
    return round(sum(float(number) * UNITS[unit] for number, unit in parts))
