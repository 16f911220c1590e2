"""`stack_reboot`: reboot this server, once."""

from typing import Any

from marshmallow import fields

from agent import clock
from agent.config import Settings
from agent.hosts import command
from agent.hosts.command import CommandNotStarted
from agent.hosts.process import stat_of
from agent.kinds.base import Args, Done, NotOffered, Outcome, Running, Step, failed
from agent.kinds.server import OnServer
from agent.plan import Danger, Plan, Would
from agent.supervisors.base import told

ASKING_TIMEOUT = 30.0
"""Seconds that the command gets, which only asks for the reboot."""
REFUSED_FOR = 5.0
"""Seconds until a command that failed counts as refused: the shutdown may have cut it off from systemd."""
LOOK_EVERY = 1.0
"""Seconds between two looks whether this server goes down after all."""


class RebootResult(Args):
    """What tells that it was rebooted."""

    boot_id = fields.String(
        required=True, metadata={"description": "The kernel's id of the boot that this server is in now."}
    )
    previous_boot_id = fields.String(
        required=True, metadata={"description": "That of the one before, the same in a container."}
    )


class RebootServer(OnServer):
    """Reboot this server and wait until it is back. It is asked to at most once; what is queued behind goes
    on after the boot."""

    name = "stack_reboot"
    result = RebootResult
    resource_type = "Stack"
    danger = Danger.DISRUPTS
    timeout = 24 * 3600.0
    cancellable = False
    configuration = "``reboot`` of ``[host]``, and ``reboot_timeout``."
    privileges = "What that command needs: to reboot through systemd (``agentctl polkit``)."
    interruption = (
        "After a boot, by whatever cause, it is done. In the same boot it does not ask again: it waits until "
        "``host.reboot_timeout`` has passed, and fails."
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

    def step(self, step: Step) -> Outcome:
        if step.payload is None:
            return Running({"phase": "intended", "boot_id": clock.boot_id(), "init_started": _init_started()})
        if _rebooted(step.payload):
            return _done(step.payload)
        return self._ask(step) if step.payload["phase"] == "intended" else self._look(step.payload)

    def resume(self, step: Step) -> Outcome:
        """In the boot of the intent it may have been asked for or not, and is not asked for again."""
        if step.payload is None or _rebooted(step.payload) or step.payload["phase"] != "intended":
            return self.step(step)
        return _asked(step.payload, "perhaps asked")

    @classmethod
    def left(cls, payload: Any) -> str:
        return "this server has rebooted" if _rebooted(payload) else f"the reboot was {payload['phase']}"

    def _ask(self, step: Step) -> Outcome:
        try:
            outcome = command.run(
                self._command, timeout=ASKING_TIMEOUT, stop=step.stop, action=step.action.id, version=step.version
            )
        except CommandNotStarted as error:
            return failed(str(error))
        # One that was killed may have been so by the shutdown.
        if outcome.status is not None and outcome.status > 0:
            return _asked(step.payload | {"refusal": told(outcome)}, "refused")
        return _asked(step.payload, "asked")

    def _look(self, payload: Any) -> Outcome:
        refusal = payload.get("refusal")
        if clock.monotonic() - payload["since"] <= (REFUSED_FOR if refusal else self._reboot_timeout):
            return Running(payload, after=LOOK_EVERY)
        if refusal:
            return failed(refusal)
        said = {"asked": "was asked to", "perhaps asked": "may have been asked to, before the agent was interrupted"}
        return failed(f"this server {said[payload['phase']]}, but has not rebooted in {self._reboot_timeout:g} s")


def _rebooted(payload: Any) -> bool:
    """Whether this is another boot, by the kernel or by its init: a container has the kernel of its host for ever."""
    before, now = payload["init_started"], _init_started()
    return bool(payload["boot_id"] != clock.boot_id() or (before and now and before != now))


def _init_started() -> int | None:
    """When init began, in clock ticks of the kernel; None where /proc does not show it to us."""
    init = stat_of(1)
    return None if init is None else init.started


def _asked(payload: Any, phase: str) -> Running:
    return Running(payload | {"phase": phase, "since": clock.monotonic()}, after=LOOK_EVERY)


def _done(payload: Any) -> Done:
    return Done({"boot_id": clock.boot_id(), "previous_boot_id": payload["boot_id"]}, "this server has rebooted")
