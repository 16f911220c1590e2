"""`restart`: restart the services of this server."""

from dataclasses import replace
from typing import Any

from marshmallow import fields

from agent.config import Settings
from agent.kinds.base import Args, Done, Failed, NotOffered, Running, Step, StepResult
from agent.kinds.base.server_argument import OnServer
from agent.kinds.base.unit_log import with_journal
from agent.models import Json
from agent.plan import Danger, Plan, Would, refuse
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.systemd.unit import SYSTEMCTL_TIMEOUT, Unit
from agent.supervisors.systemd.unit_target import UnitProgress, UnitTarget
from agent.util import idempotent_restart
from agent.util.idempotent_restart import RUNNING
from agent.util.stop import Stop


class RestartedUnit(Args):
    unit = fields.String(required=True, metadata={"description": "Its name."})
    pid = fields.String(required=True, allow_none=True, metadata={"description": "The pid of the main process."})


class RestartResult(Args):
    """The restarted units."""

    services = fields.List(
        fields.Nested(RestartedUnit),
        required=True,
        metadata={"description": "The units, in the order of the restarts."},
    )


class RestartServices(OnServer):
    """Restart every unit that the configuration lists for this server, in that order. The next one is restarted
    when the previous one is up."""

    name = "restart"
    result = RestartResult
    danger = Danger.DISRUPTS
    configuration = "``services`` of ``[host]``, and ``timeout``, which applies to each of them."
    privileges = "To restart the units (``agentctl polkit``)."
    interruption = (
        "It continues with the current unit. Each unit is restarted once: its invocation id shows whether it was "
        "restarted. This also holds for the agent's own unit."
    )

    def __init__(self, settings: Settings) -> None:
        if settings.host is None or not settings.host.services:
            raise NotOffered("set host.services in the configuration")
        super().__init__(settings)
        self._timeout = settings.host.timeout
        self._names = list(settings.host.services)

    def plan(self, args: Any) -> Plan:
        try:
            facts = {name: Unit(name, SYSTEMCTL_TIMEOUT).look(Stop()).message for name in self._names}
        except SupervisorFailed as error:
            return refuse(str(error), "check host.services in the configuration")
        steps = [f"restart {name}" for name in self._names]
        return Plan(Would.DISRUPT, f"would restart {_listed(self._names)}", steps=steps, facts=facts)

    def step(self, step: Step) -> StepResult:
        begun = [] if step.payload is None else [UnitProgress.of(each) for each in step.payload["services"]]
        try:
            if begun and begun[-1].state != RUNNING:
                *before, current = begun
                current = idempotent_restart.advance(self._target(current.unit, step), current)
                return _running([*before, current], _invocations(step))
            remaining = self._untouched(begun)
            return self._begin(remaining, begun, step) if remaining else _done(begun)
        except SupervisorFailed as error:
            return self._failed(error, begun)

    # Each restart is recorded before it is requested; the record and the invocation id show whether it was done.
    resume = step

    @classmethod
    def describe_leftovers(cls, payload: Any) -> str:
        return ", ".join(f"{each['unit']}: {each['state']}" for each in payload["services"])

    def _target(self, unit: str, step: Step) -> UnitTarget:
        return UnitTarget(Unit(unit, SYSTEMCTL_TIMEOUT), self._timeout, step.stop, step.action.id)

    def _begin(self, remaining: list[str], begun: list[UnitProgress], step: Step) -> Running:
        """Record the next restart. Before the first, all units are checked: if one is missing, none is restarted.

        A unit that was started since then, together with a unit that it is part of, is not restarted again.
        """
        notes = [self._target(unit, step).note() for unit in (remaining[:1] if begun else remaining)]
        invocations = _invocations(step) if begun else {note.unit: note.was for note in notes}
        current = replace(notes[0], was=invocations.get(notes[0].unit, notes[0].was))
        return _running([*begun, current], invocations)

    def _untouched(self, begun: list[UnitProgress]) -> list[str]:
        """The units without a record, compared by name: the list may have changed since the action began."""
        return [name for name in self._names if name not in [each.unit for each in begun]]

    def _failed(self, why: SupervisorFailed, begun: list[UnitProgress]) -> Failed:
        """The failure, with the reason, the restarted units and the units not restarted."""
        restarted, untouched = [each.unit for each in begun if each.state == RUNNING], self._untouched(begun)
        message = f"{why}; restarted: {_listed(restarted)}; not restarted: {_listed(untouched)}"
        payload = {"message": message, "restarted": restarted, "not_restarted": untouched}
        return Failed(with_journal(self.settings, payload, why.journal), message)


def _running(begun: list[UnitProgress], invocations: dict[str, Json]) -> Running:
    """`begun` ends with the current unit; `invocations` are those of all units before the first restart."""
    payload = {"services": [each.payload() for each in begun], "invocations": invocations}
    return Running(payload, after=begun[-1].due)


def _invocations(step: Step) -> dict[str, Json]:
    # Actions begun by an older agent have none in the payload.
    return step.payload.get("invocations", {}) if step.payload else {}


def _done(restarted: list[UnitProgress]) -> Done:
    services = [{"unit": each.unit, "pid": each.pid} for each in restarted]
    return Done({"services": services}, f"restarted: {_listed([each.unit for each in restarted])}")


def _listed(units: list[str]) -> str:
    return ", ".join(units) or "none"
