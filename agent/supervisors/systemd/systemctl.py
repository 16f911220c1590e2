"""Client for systemd by the program systemctl, for hosts without the D-Bus library and while D-Bus is down."""

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
"""Messages of systemd about a unit that it cannot act on."""
AWAITED = ("freeze", "thaw")
UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
SPANS = ("StartLimitIntervalUSec", "WatchdogUSec")
"""Properties that systemctl prints as a time span, such as `1min 30s`."""


class Systemctl:
    """Calls of systemctl. Each may take `timeout` seconds. All raise `SupervisorFailed`."""

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
        if not outcome.ok:  # also for a missing unit, `show` exits with 0
            raise CommandKilled(failure_text(outcome))
        shown = dict(line.split("=", 1) for line in outcome.stdout.splitlines() if "=" in line)
        return shown | {name: str(_microseconds(shown.get(name, ""))) for name in SPANS}

    def manage(self, verb: str, unit: str) -> None:
        """Request `start`, `stop`, `restart`, `reset-failed`, `freeze` or `thaw`; only the last two are awaited."""
        # systemctl crashes if these two have --no-block.
        self._ask(verb, unit, [] if verb in AWAITED else ["--no-block"])

    def kill(self, unit: str, signal: str) -> None:
        """Send every process of the unit a signal, such as `SIGSTOP`."""
        self._ask("kill", unit, [f"--signal={signal}"])

    def subscribe(self, unit: str) -> None:
        """systemctl reports no changes."""

    def wait(self, seconds: float) -> str:
        """Pause before the next look, at most for `seconds`. Returns no job result: systemctl reports none."""
        self._stop.wait(min(seconds, self._pauses.next()))
        return ""

    def _ask(self, verb: str, unit: str, options: list[str]) -> None:
        outcome = self._run([*options, "--no-ask-password", verb, "--", unit], Recorded(f"$ systemctl {verb} {unit}"))
        if outcome.ok:
            return
        if any(refusal in outcome.stderr for refusal in REFUSALS):
            raise SupervisorFailed(not_allowed(verb, unit, outcome.stderr.strip().splitlines()[0].rstrip(".")))
        if is_lost(outcome.stderr):
            raise CommandKilled(failure_text(outcome))
        if any(words in outcome.stderr for words in FINAL):
            raise SupervisorFailed(failure_text(outcome))
        raise AnswerUnclear(failure_text(outcome))

    def _run(self, words: list[str], recorded: Recorded | None = None) -> CommandResult:
        return run(["systemctl", *words], self._timeout, self._stop, self._action, _environment(), recorded)


def not_allowed(verb: str, unit: str, refusal: str) -> str:
    """The error message for a refusal by polkit or the bus."""
    return f"the agent's user may not {verb} {unit} (see agentctl polkit): {refusal}"


def _environment() -> Mapping[str, str]:
    return passed_on() | {"LC_ALL": "C"}


def _microseconds(span: str) -> int:
    """The microseconds of a time span as systemd prints it; 0 for `infinity` and other non-numbers."""
    parts = re.findall(r"([0-9.]+)(us|ms|s|min|h|d)\b", span)
    return round(sum(float(number) * UNITS[unit] for number, unit in parts))
