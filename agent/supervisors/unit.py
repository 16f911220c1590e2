"""One systemd unit, through systemctl: how it stands, and what it is asked to do."""

from dataclasses import dataclass

from agent.stop import Stop
from agent.supervisors.base import SupervisorFailed, run, run_ok, told

PROPERTIES = "ActiveState,SubState,MainPID,LoadState,Result,InvocationID,FreezerState,ControlGroup"
ACTIVE = ("active", "reloading", "refreshing")
SYSTEMCTL_TIMEOUT = 30.0
"""Seconds that one call of systemctl may take, where nothing else is configured."""
REFUSALS = ("authentication required", "Access denied")
ENDED = ("inactive", "failed")
AWAITED = ("freeze", "thaw")


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """How a unit stands. `invocation` is another one after every start: what tells a restart from none."""

    active: str
    sub: str
    result: str
    pid: str | None
    invocation: str
    freezer: str
    cgroup: str = ""

    @property
    def running(self) -> bool:
        return self.active in ACTIVE

    @property
    def stopped(self) -> bool:
        """One that waits for its automatic restart is not: only a stop ends that."""
        return self.active in ENDED

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
        lines = run_ok(argv, self._timeout, stop, action).stdout.splitlines()
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
        outcome = run(argv, self._timeout, stop, action)
        if any(refusal in outcome.stderr for refusal in REFUSALS):
            said = outcome.stderr.strip().splitlines()[0].rstrip(".")
            raise SupervisorFailed(f"the agent's user may not {verb} {self.name} (see agentctl polkit): {said}")
        if not outcome.ok:
            raise SupervisorFailed(told(outcome))
