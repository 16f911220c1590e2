"""`restart`: restart the services of this server."""

from typing import Any

from marshmallow import fields

from agent.config import Settings
from agent.kinds.base import Args, Done, Failed, NotOffered, Outcome, Running, Step
from agent.kinds.journal import with_journal
from agent.kinds.server import OnServer
from agent.models import Json
from agent.plan import Danger, Plan, Would, refuse
from agent.stop import Stop
from agent.supervisors import restart
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.restart import Progress
from agent.supervisors.unit import SYSTEMCTL_TIMEOUT, Unit


class RestartedUnit(Args):
    unit = fields.String(required=True, metadata={"description": "Its name."})
    pid = fields.String(required=True, allow_none=True, metadata={"description": "Its main process."})


class RestartResult(Args):
    """What was restarted."""

    services = fields.List(
        fields.Nested(RestartedUnit),
        required=True,
        metadata={"description": "The units, in the order of the restarts."},
    )


class RestartServices(OnServer):
    """Restart every service that the configuration lists for this server, in that order, each once the one
    before is up."""

    name = "restart"
    result = RestartResult
    danger = Danger.DISRUPTS
    configuration = "``services`` of ``[host]``, and ``timeout``, which each of them gets."
    privileges = "To restart those units (``agentctl polkit``)."
    interruption = (
        "It goes on where it was. Each unit is restarted once: systemd tells by its invocation whether it was. "
        "So it does where one of the units is the agent's own."
    )

    def __init__(self, settings: Settings) -> None:
        if settings.host is None or not settings.host.services:
            raise NotOffered("set host.services in the configuration")
        super().__init__(settings)
        self._timeout = settings.host.timeout
        self._units = [Unit(name, SYSTEMCTL_TIMEOUT) for name in settings.host.services]

    def plan(self, args: Any) -> Plan:
        try:
            facts = {unit.name: unit.look(Stop()).message for unit in self._units}
        except SupervisorFailed as error:
            return refuse(str(error), "check host.services in the configuration")
        names = [unit.name for unit in self._units]
        steps = [f"restart {name}" for name in names]
        return Plan(Would.DISRUPT, f"would restart {_names(names)}", steps=steps, facts=facts)

    def step(self, step: Step) -> Outcome:
        progress: list[Progress] = [] if step.payload is None else step.payload["services"]
        try:
            if progress and progress[-1]["state"] != "running":
                return self._go_on(progress, step)
            left = self._untouched(progress)
            return self._begin(left, progress, step) if left else _done(progress)
        except SupervisorFailed as error:
            return self._failed(error, progress)

    # Each restart is noted before it is asked for, and its note tells whether it has been.
    resume = step

    @classmethod
    def left(cls, payload: Any) -> str:
        return ", ".join(f"{each['unit']}: {each['state']}" for each in payload["services"])

    def _begin(self, left: list[Unit], progress: list[Progress], step: Step) -> Running:
        """Note the next one. All are looked at first: where one is missing none is restarted."""
        for unit in left if not progress else ():
            unit.look(step.stop, step.action.id)
        return Running({"services": [*progress, restart.note(left[0], step.stop, step.action.id)]})

    def _go_on(self, progress: list[Progress], step: Step) -> Running:
        *before, current = progress
        unit = Unit(str(current["unit"]), SYSTEMCTL_TIMEOUT)
        current = restart.go_on(unit, current, self._timeout, step.stop, step.action.id)
        return Running({"services": [*before, current]}, after=restart.due(current))

    def _untouched(self, progress: list[Progress]) -> list[Unit]:
        """By their names: the list may have changed since the action was begun."""
        begun = [each["unit"] for each in progress]
        return [unit for unit in self._units if unit.name not in begun]

    def _failed(self, why: SupervisorFailed, progress: list[Progress]) -> Failed:
        """Which were restarted and which were not even asked, beside what is wrong with the one between them."""
        restarted = [each["unit"] for each in progress if each["state"] == "running"]
        untouched = [unit.name for unit in self._untouched(progress)]
        message = f"{why}; restarted: {_names(restarted)}; not restarted: {_names(untouched)}"
        payload = {"message": message, "restarted": restarted, "not_restarted": untouched}
        return Failed(with_journal(self.settings, payload, why.journal), message)


def _done(progress: list[Progress]) -> Done:
    services = [{"unit": each["unit"], "pid": each["pid"]} for each in progress]
    return Done({"services": services}, f"restarted: {_names([each['unit'] for each in progress])}")


def _names(units: list[Json]) -> str:
    return ", ".join(map(str, units)) or "none"
