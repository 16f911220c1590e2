"""The supervisor of most hosts: a systemd unit, driven through systemctl."""

from agent.stop import Stop
from agent.supervisors.base import Status, Supervisor, SupervisorFailed, run_ok

PROPERTIES = "ActiveState,SubState,MainPID,LoadState,Result"
ACTIVE = ("active", "reloading", "refreshing")
ENDED = ("inactive", "failed")


class Systemd(Supervisor):
    """One unit. A unit that waits for its automatic restart is not stopped: only a stop ends that.

    `timeout` is how many seconds systemctl may take; the unit's own start and stop are not awaited.
    """

    def __init__(self, unit: str, timeout: float) -> None:
        self.subject = unit
        self._timeout = timeout

    def status(self, stop: Stop, action: str | None = None) -> Status:
        unit = self._show(stop, action)
        active = unit.get("ActiveState", "")
        if unit.get("LoadState") == "not-found":
            raise SupervisorFailed(f"systemd has no unit {self.subject}")
        return Status(
            running=active in ACTIVE,
            stopped=active in ENDED,
            pid=_pid(unit.get("MainPID", "")),
            message=_message(unit),
        )

    def start(self, stop: Stop, action: str | None = None) -> None:
        self._ask("start", stop, action)

    def stop(self, stop: Stop, action: str | None = None) -> None:
        self._ask("stop", stop, action)

    def _ask(self, verb: str, stop: Stop, action: str | None) -> None:
        # Waiting is ours: it can be given up, and is told look by look.
        argv = ["systemctl", "--no-block", "--no-ask-password", verb, "--", self.subject]
        run_ok(argv, self._timeout, stop, action)

    def _show(self, stop: Stop, action: str | None) -> dict[str, str]:
        argv = ["systemctl", "show", f"--property={PROPERTIES}", "--", self.subject]
        lines = run_ok(argv, self._timeout, stop, action).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def _pid(main_pid: str) -> str | None:
    return main_pid if main_pid not in ("", "0") else None


def _message(unit: dict[str, str]) -> str:
    """systemd's words: `active (running)`, `failed (failed), Result: exit-code`."""
    state = f"{unit.get('ActiveState')} ({unit.get('SubState')})"
    result = unit.get("Result", "success")
    return state if result == "success" else f"{state}, Result: {result}"
