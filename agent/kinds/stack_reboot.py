"""`stack_reboot`: reboot this server exactly once."""

import shlex
from typing import Any

from marshmallow import fields

from agent import clock
from agent.config import Settings
from agent.kinds.base import Args, Done, NotOffered, Running, Step, StepResult, failed
from agent.kinds.base.server_argument import OnServer
from agent.plan import Danger, Plan, Would
from agent.processes import command
from agent.processes.command import CommandNotStarted
from agent.processes.process import stat_of
from agent.processes.recording import Recorded
from agent.supervisors.base import failure_text
from agent.util.poll import pause_after

REQUEST_TIMEOUT = 30.0
"""Timeout in seconds of the command that requests the reboot."""
PHASES = {
    "intended": "was not requested yet",
    "asked": "was requested",
    "perhaps asked": "may have been requested",
    "refused": "was refused",
}
"""The phases in the payload, for people."""
REFUSED_FOR = 5.0
"""Seconds until a failed command counts as refused: the shutdown may have cut its connection to systemd."""


class RebootResult(Args):
    """The boots before and after the action."""

    boot_id = fields.String(required=True, metadata={"description": "The kernel's id of the present boot."})
    previous_boot_id = fields.String(
        required=True, metadata={"description": "The id of the boot before; unchanged in a container."}
    )


class RebootServer(OnServer):
    """Reboot this server and wait until it is up again. The reboot is requested at most once; queued actions
    run after the boot."""

    name = "stack_reboot"
    result = RebootResult
    resource_type = "Stack"
    danger = Danger.DISRUPTS
    timeout = 24 * 3600.0
    cancellable = False
    configuration = "``reboot`` of ``[host]``, and ``reboot_timeout``."
    privileges = "The permission that the command needs: to reboot through systemd (``agentctl polkit``)."
    interruption = (
        "After a boot, for any reason, the action is done. In the same boot the request is not repeated: the action "
        "waits ``host.reboot_timeout`` seconds and fails."
    )

    def __init__(self, settings: Settings) -> None:
        if settings.host is None or not settings.host.reboot:
            raise NotOffered("set host.reboot in the configuration")
        super().__init__(settings)
        self._command = settings.host.reboot
        self._reboot_timeout = settings.host.reboot_timeout

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, self.settings.agent.stack

    def plan(self, args: Any) -> Plan:
        steps = [f"run {self._command[0]}", "wait for the next boot"]
        summary = f"the server {self.settings.agent.node} would reboot"
        return Plan(Would.DISRUPT, summary, steps=steps, facts={"boot_id": clock.boot_id()})

    def step(self, step: Step) -> StepResult:
        if step.payload is None:
            return Running({"phase": "intended", "boot_id": clock.boot_id(), "init_started": _init_started()})
        if _rebooted(step.payload):
            return _done(step.payload)
        return self._request(step) if step.payload["phase"] == "intended" else self._await_boot(step.payload)

    def resume(self, step: Step) -> StepResult:
        """In the same boot it is unknown whether the reboot was requested; the request is not repeated."""
        if step.payload is None or _rebooted(step.payload) or step.payload["phase"] != "intended":
            return self.step(step)
        return _requested(step.payload, "perhaps asked")

    @classmethod
    def describe_leftovers(cls, payload: Any) -> str:
        return "this server has rebooted" if _rebooted(payload) else f"the reboot {PHASES[payload['phase']]}"

    def _request(self, step: Step) -> StepResult:
        try:
            outcome = command.run(
                self._command,
                timeout=REQUEST_TIMEOUT,
                stop=step.stop,
                action=step.action.id,
                version=step.version,
                recorded=Recorded(f"$ {shlex.join(self._command)}"),
            )
        except CommandNotStarted as error:
            return failed(str(error))
        # A command ended by a signal may have been ended by the shutdown.
        if outcome.status is not None and outcome.status > 0:
            return _requested(step.payload | {"refusal": failure_text(outcome)}, "refused")
        return _requested(step.payload, "asked")

    def _await_boot(self, payload: Any) -> StepResult:
        refusal = payload.get("refusal")
        passed = clock.monotonic() - payload["since"]
        if passed <= (REFUSED_FOR if refusal else self._reboot_timeout):
            return Running(payload, after=pause_after(passed))
        if refusal:
            return failed(refusal)
        sent = {
            "asked": "received the request to reboot",
            "perhaps asked": "may have received the request to reboot before the agent was interrupted",
        }
        return failed(f"this server {sent[payload['phase']]}, but has not rebooted in {self._reboot_timeout:g} s")


def _rebooted(payload: Any) -> bool:
    """Whether the server was rebooted, by the kernel's boot id or the start of init: a container shares the kernel."""
    before, now = payload["init_started"], _init_started()
    return bool(payload["boot_id"] != clock.boot_id() or (before and now and before != now))


def _init_started() -> int | None:
    """Start time of init in clock ticks of the kernel; None if /proc does not show it."""
    init = stat_of(1)
    return None if init is None else init.started


def _requested(payload: Any, phase: str) -> Running:
    return Running(payload | {"phase": phase, "since": clock.monotonic()}, after=pause_after(0.0))


def _done(payload: Any) -> Done:
    return Done({"boot_id": clock.boot_id(), "previous_boot_id": payload["boot_id"]}, "this server has rebooted")
