"""One systemd unit: its status, requests to it, and their results."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import TypeVar

from agent.config import validators
from agent.supervisors.base import CommandKilled, SupervisorFailed, run
from agent.supervisors.systemd import lost_answers
from agent.supervisors.systemd.dbus import Bus
from agent.supervisors.systemd.systemctl import Systemctl
from agent.supervisors.systemd.unit_status import UnitStatus, read
from agent.util.dbus import has_bus
from agent.util.repeated_reads import repeated
from agent.util.stop import Stop

__all__ = ["SYSTEMCTL_TIMEOUT", "Unit", "UnitStatus"]

T = TypeVar("T")
Way = Bus | Systemctl

SYSTEMCTL_TIMEOUT = 30.0
"""Seconds that one request to systemd may take, where nothing else is configured."""
BOOTED = Path("/run/systemd/system")
LINES = 10
"""Lines of a unit's log that a failure repeats."""
JOURNAL_TIMEOUT = 2.0
LIMIT_WAIT = 15.0
"""Seconds that a start waits at most until systemd's limit of starts allows it."""


class Unit:
    """A unit by its full name, or that of a service without `.service`. `timeout` is how many seconds one request
    may take; starts and stops are not awaited.

    All calls raise `SupervisorFailed`, and end early where `stop` is requested; `action` is the id of the
    action they are done for. A lost answer is looked after here, see `agent.supervisors.systemd.lost_answers`.
    """

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self._full = name if re.fullmatch(validators.UNIT, name) else f"{name}.service"
        self._timeout = timeout

    def look(self, stop: Stop, action: str | None = None) -> UnitStatus:
        """How it stands now. `SupervisorFailed` also where systemd knows no such unit."""
        return self._repeated(self._look, stop, action)

    def ask(self, verb: str, stop: Stop, action: str | None = None, before: UnitStatus | None = None) -> None:
        """Ask once for `start`, `stop`, `restart`, `reset-failed`, `freeze` or `thaw`; only the last two are done
        when this returns. `before` is the last look at it, for a lost answer to be looked after."""
        was = before or self.look(stop, action)

        def heard() -> bool:
            return _was_heard(verb, was, self.look(stop, action))

        self._asked(lambda way: way.manage(verb, self._full), heard, stop, action)

    def signal(self, name: str, stop: Stop, action: str | None = None) -> None:
        """Send every process of it a signal, such as `SIGSTOP`; it may not have taken effect when this returns."""
        self._asked(lambda way: way.kill(self._full, name), lambda: False, stop, action)

    def watch(
        self, left: Callable[[UnitStatus], float], seconds: float, stop: Stop, action: str | None = None
    ) -> UnitStatus:
        """Look at each change until `left` says 0 seconds, and at most for `seconds`; returns the last look.

        `left` says how long the status must last before it counts.
        """
        deadline = time.monotonic() + seconds
        return self._repeated(lambda way: self._watch(way, left, deadline, stop), stop, action)

    def allow_start(self, stop: Stop, action: str | None = None, before: UnitStatus | None = None) -> None:
        """Make sure that the next start is not refused for the starts before it: a restart would leave it stopped.

        systemd is asked to forget them. Where the agent may not ask that, wait until they do not count any more.
        """
        status = before or self.look(stop, action)
        most, interval = status.start_limit
        if not most or not interval or status.started_ago is None or status.started_ago > interval:
            return
        try:
            self.ask("reset-failed", stop, action, status)
        except CommandKilled:
            raise
        except SupervisorFailed as refusal:
            self._await_limit(interval - status.started_ago, status, refusal, stop)

    def journal(self, seconds: float) -> list[str]:
        """The last lines that systemd and the unit logged within `seconds`; none where the agent may not read them."""
        since = f"--since=@{time.time() - seconds:.3f}"
        argv = [
            "journalctl",
            "--quiet",
            "--no-pager",
            "--output=cat",
            f"--lines={LINES}",
            since,
            f"--unit={self._full}",
        ]
        with suppress(SupervisorFailed):
            return run(argv, JOURNAL_TIMEOUT, Stop(), None).stdout.splitlines()[-LINES:]
        return []

    def _look(self, way: Way) -> UnitStatus:
        shown = way.show(self._full)
        if shown.get("LoadState") == "not-found":
            raise SupervisorFailed(f"systemd has no unit {self.name}")
        return read(shown)

    def _watch(self, way: Way, left: Callable[[UnitStatus], float], deadline: float, stop: Stop) -> UnitStatus:
        way.subscribe(self._full)
        result = ""
        while True:
            status = self._look(way).after_job(result)
            wanted, over = left(status), deadline - time.monotonic()
            if wanted <= 0 or over <= 0 or stop.requested:
                return status
            result = way.wait(min(wanted, over)) or result

    def _await_limit(self, seconds: float, status: UnitStatus, refusal: SupervisorFailed, stop: Stop) -> None:
        most, interval = status.start_limit
        if seconds > LIMIT_WAIT or stop.wait(max(0.0, seconds)):
            raise SupervisorFailed(
                f"{self.name} was started {interval - seconds:.0f} s ago and may be started {most} times in "
                f"{interval:g} s: another start may be refused. Wait {seconds:.0f} s, or let the agent reset this "
                f"limit: {refusal}"
            )

    def _repeated(self, read: Callable[[Way], T], stop: Stop, action: str | None) -> T:
        ways = self._ways(stop, action)
        return repeated(lambda: _on(next(ways), read), CommandKilled, stop)

    def _asked(self, request: Callable[[Way], None], heard: Callable[[], bool], stop: Stop, action: str | None) -> None:
        ways = self._ways(stop, action)
        lost_answers.asked(lambda: _on(next(ways), request), heard, stop)

    def _ways(self, stop: Stop, action: str | None) -> Iterator[Callable[[], Way]]:
        """How to reach systemd, one after the other: root reaches it through systemctl also while dbus is down."""
        if not BOOTED.is_dir():
            raise SupervisorFailed("this host does not run systemd")

        def program() -> Way:
            return Systemctl(self._timeout, stop, action)

        def bus() -> Way:
            return Bus(self._timeout, stop)

        return cycle([bus, program] if has_bus() else [program])


def _on(way: Callable[[], Way], use: Callable[[Way], T]) -> T:
    with way() as opened:
        return use(opened)


def _was_heard(verb: str, before: UnitStatus, now: UnitStatus) -> bool:
    """Whether a request whose answer was lost has arrived. One that changes nothing when repeated need not be known."""
    if verb in ("start", "restart"):
        # Without an invocation it was only forgotten, as after reset-failed.
        return now.queued or now.invocation not in ("", before.invocation)
    if verb == "stop":
        return now.queued or not now.running
    return now.frozen if verb == "freeze" else False
