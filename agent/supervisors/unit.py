"""One systemd unit, through systemctl: how it stands, and what it is asked to do."""

from dataclasses import dataclass

from agent.hosts.command import Outcome
from agent.stop import Stop
from agent.supervisors.base import CommandKilled, SupervisorFailed, run, told

PROPERTIES = "ActiveState,SubState,MainPID,LoadState,Result,InvocationID,FreezerState,ControlGroup,Job"
ACTIVE = ("active", "reloading", "refreshing")
SYSTEMCTL_TIMEOUT = 30.0
"""Seconds that one call of systemctl may take, where nothing else is configured."""
REFUSALS = ("authentication required", "Access denied")
CUT_OFF = ("Transport endpoint is not connected", "Connection reset by peer")
"""What systemctl says where systemd goes down while it is asked, with the host."""
ENDED = ("inactive", "failed")
AWAITED = ("freeze", "thaw")


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """How a unit stands. `invocation` is another one after every start: what tells a restart from none. `queued`
    tells that systemd has yet to start or stop it, as while the host boots or between the halves of a restart."""

    active: str
    sub: str
    result: str
    pid: str | None
    invocation: str
    freezer: str
    cgroup: str = ""
    queued: bool = False

    @property
    def running(self) -> bool:
        return self.active in ACTIVE

    @property
    def stopped(self) -> bool:
        """One that waits for its automatic restart is not: only a stop ends that. Nor is one that is to start yet."""
        return self.active in ENDED and not self.queued

    @property
    def frozen(self) -> bool:
        return self.freezer == "frozen"

    @property
    def message(self) -> str:
        """systemd's words: `active (running)`, `failed (failed), Result: exit-code`."""
        state = f"{self.active} ({self.sub})"
        return state if self.result == "success" else f"{state}, Result: {self.result}"


class Unit:
    """A unit by its full name. `timeout` is how many seconds systemctl may take; starts and stops are not awaited.

    All calls raise `SupervisorFailed`, and end early where `stop` is requested; `action` is the id of the
    action they are done for.
    """

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self._timeout = timeout

    def look(self, stop: Stop, action: str | None = None) -> UnitStatus:
        """How it stands now. `SupervisorFailed` also where systemd knows no such unit."""
        argv = ["systemctl", "show", f"--property={PROPERTIES}", "--", self.name]
        outcome = self._asked(argv, stop, action)
        if not outcome.ok:
            raise SupervisorFailed(told(outcome))
        lines = outcome.stdout.splitlines()
        shown = dict(line.split("=", 1) for line in lines if "=" in line)
        if shown.get("LoadState") == "not-found":
            raise SupervisorFailed(f"systemd has no unit {self.name}")
        return UnitStatus(
            active=shown.get("ActiveState", ""),
            sub=shown.get("SubState", ""),
            result=shown.get("Result", "success"),
            pid=shown.get("MainPID") if shown.get("MainPID") not in ("", "0") else None,
            invocation=shown.get("InvocationID", ""),
            freezer=shown.get("FreezerState", ""),
            cgroup=shown.get("ControlGroup", ""),
            queued=shown.get("Job", "") not in ("", "0"),
        )

    def ask(self, verb: str, stop: Stop, action: str | None = None) -> None:
        """Ask for `start`, `stop`, `restart`, `freeze` or `thaw`; none but the last two is done when this returns."""
        # Waiting for a start or stop is ours: it can be given up, and is told look by look. Freezing and thawing
        # end by themselves, and with --no-block systemctl crashes.
        waiting = [] if verb in AWAITED else ["--no-block"]
        self._manage(verb, waiting, stop, action)

    def signal(self, name: str, stop: Stop, action: str | None = None) -> None:
        """Send every process of it a signal, such as `SIGSTOP`; it may not have taken effect when this returns."""
        self._manage("kill", [f"--signal={name}"], stop, action)

    def _manage(self, verb: str, options: list[str], stop: Stop, action: str | None) -> None:
        argv = ["systemctl", *options, "--no-ask-password", verb, "--", self.name]
        outcome = self._asked(argv, stop, action)
        if any(refusal in outcome.stderr for refusal in REFUSALS):
            said = outcome.stderr.strip().splitlines()[0].rstrip(".")
            raise SupervisorFailed(f"the agent's user may not {verb} {self.name} (see agentctl polkit): {said}")
        if not outcome.ok:
            raise SupervisorFailed(told(outcome))

    def _asked(self, argv: list[str], stop: Stop, action: str | None) -> Outcome:
        """How systemctl ended. Raises `CommandKilled` also where it was cut off: it may have been heard."""
        outcome = run(argv, self._timeout, stop, action)
        if not outcome.ok and any(words in outcome.stderr for words in CUT_OFF):
            raise CommandKilled(told(outcome))
        return outcome
