"""One systemd unit: its status, and requests to it."""

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
from agent.supervisors.systemd.unit_status import ENDED, UnitStatus, read
from agent.util.dbus import has_bus
from agent.util.repeated_reads import repeated
from agent.util.stop import Stop

__all__ = ["SYSTEMCTL_TIMEOUT", "Unit", "UnitStatus"]

T = TypeVar("T")
Client = Bus | Systemctl

SYSTEMCTL_TIMEOUT = 30.0
"""Default timeout, in seconds, of one request to systemd."""
BOOTED = Path("/run/systemd/system")
LINES = 10
"""Lines of a unit's log in the report of a failure."""
JOURNAL_TIMEOUT = 2.0
LIMIT_WAIT = 15.0
"""Maximum seconds that a start waits until systemd's start limit allows it."""


class Unit:
    """A unit by its full name; `.service` may be omitted. One request may take `timeout` seconds; it does not wait
    for the unit's start or stop.

    All calls raise `SupervisorFailed`, and end early when `stop` is requested; `action` is the id of the action that
    makes the call. Lost answers are handled by `agent.supervisors.systemd.lost_answers`.
    """

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self._full = name if re.fullmatch(validators.UNIT, name) else f"{name}.service"
        self._timeout = timeout

    def look(self, stop: Stop, action: str | None = None) -> UnitStatus:
        """The current status. Raises `SupervisorFailed` also if systemd knows no such unit."""
        return self._repeated(self._look, stop, action)

    def ask(self, verb: str, stop: Stop, action: str | None = None, before: UnitStatus | None = None) -> None:
        """Request `start`, `stop`, `restart`, `reset-failed`, `freeze` or `thaw` once; only the last two are complete
        when this returns. `before` is the last known status, which shows after a lost answer what has changed."""
        was = before or self.look(stop, action)

        def has_arrived() -> bool:
            return _has_arrived(verb, was, self.look(stop, action))

        self._send_once(lambda client: client.manage(verb, self._full), has_arrived, stop, action)

    def signal(self, name: str, stop: Stop, action: str | None = None) -> None:
        """Send every process of it a signal, such as `SIGSTOP`; it may not have taken effect when this returns."""
        self._send_once(lambda client: client.kill(self._full, name), lambda: False, stop, action)

    def watch(
        self, left: Callable[[UnitStatus], float], seconds: float, stop: Stop, action: str | None = None
    ) -> UnitStatus:
        """Check each change until `left` returns 0, at most for `seconds`. Returns the last status.

        `left` returns how many more seconds the status must last to count.
        """
        deadline = time.monotonic() + seconds
        return self._repeated(lambda client: self._watch(client, left, deadline, stop), stop, action)

    def allow_start(self, stop: Stop, action: str | None = None, before: UnitStatus | None = None) -> None:
        """Ensure that systemd's start limit does not refuse the next start: a restart would leave the unit stopped.

        Resets the limit, or, without the permission for that, waits until the earlier starts no longer count.
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

    def check_start(self, stop: Stop, action: str | None = None) -> None:
        """Raises `SupervisorFailed` if systemd would refuse to start the unit after a stop.

        A start of a running unit changes nothing, but systemd checks it: the unit file, the units that it requires and
        the permission.
        """
        status = self.look(stop, action)
        if not status.running:
            return
        try:
            self.ask("start", stop, action, status)
        except CommandKilled:
            raise
        except SupervisorFailed as refusal:
            raise SupervisorFailed(f"{self.name} is not stopped, as it could not be started again: {refusal}") from None

    def journal(self, seconds: float) -> list[str]:
        """The last lines that systemd and the unit logged within `seconds`; empty if the agent may not read them."""
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

    def _look(self, client: Client) -> UnitStatus:
        shown = client.show(self._full)
        status = read(shown)
        # A unit whose file was removed may still run.
        if shown.get("LoadState") == "not-found" and status.active in ("", *ENDED):
            raise SupervisorFailed(f"systemd has no unit {self.name}")
        return status

    def _watch(self, client: Client, left: Callable[[UnitStatus], float], deadline: float, stop: Stop) -> UnitStatus:
        client.subscribe(self._full)
        result = ""
        while True:
            # A unit whose file was removed is gone once it has stopped.
            status = read(client.show(self._full)).after_job(result)
            wanted, over = left(status), deadline - time.monotonic()
            if wanted <= 0 or over <= 0 or stop.requested:
                return status
            result = client.wait(min(wanted, over)) or result

    def _await_limit(self, seconds: float, status: UnitStatus, refusal: SupervisorFailed, stop: Stop) -> None:
        most, interval = status.start_limit
        if seconds > LIMIT_WAIT or stop.wait(max(0.0, seconds)):
            raise SupervisorFailed(
                f"{self.name} was started {interval - seconds:.0f} s ago and may be started {most} times in "
                f"{interval:g} s: another start may be refused. Wait {seconds:.0f} s, or let the agent reset this "
                f"limit: {refusal}"
            )

    def _repeated(self, read: Callable[[Client], T], stop: Stop, action: str | None) -> T:
        clients = self._clients(stop, action)
        return repeated(lambda: _with(next(clients), read), CommandKilled, stop)

    def _send_once(
        self, request: Callable[[Client], None], has_arrived: Callable[[], bool], stop: Stop, action: str | None
    ) -> None:
        clients = self._clients(stop, action)
        lost_answers.send_once(lambda: _with(next(clients), request), has_arrived, stop)

    def _clients(self, stop: Stop, action: str | None) -> Iterator[Callable[[], Client]]:
        """The clients for the attempts, in turns: for root, systemctl reaches systemd also while D-Bus is down."""
        if not BOOTED.is_dir():
            raise SupervisorFailed("this host does not run systemd")

        def program() -> Client:
            return Systemctl(self._timeout, stop, action)

        def bus() -> Client:
            return Bus(self._timeout, stop)

        return cycle([bus, program] if has_bus() else [program])


def _with(client: Callable[[], Client], use: Callable[[Client], T]) -> T:
    with client() as opened:
        return use(opened)


def _has_arrived(verb: str, before: UnitStatus, now: UnitStatus) -> bool:
    """Whether a request with a lost answer has arrived; false for requests that are harmless when repeated."""
    if verb in ("start", "restart"):
        # An empty invocation is no start: systemd only dropped the old one, as after reset-failed.
        return now.queued or now.invocation not in ("", before.invocation)
    if verb == "stop":
        return now.queued or not now.running
    return now.frozen if verb == "freeze" else False
