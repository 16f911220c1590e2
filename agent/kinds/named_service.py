"""`service_restart`, `service_pause`, `service_resume`: act on the unit or the containers of a named service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validate, validates_schema

from agent.config import Settings
from agent.config.host import Host
from agent.containers.container_target import ContainerProgress, ContainerTarget, NotUp
from agent.containers.engine import ContainerEngine, EngineFailed, NoContainer
from agent.kinds import every_service
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Running, Step, StepResult, failed
from agent.kinds.base.arguments import Names
from agent.kinds.base.orphaned import give_up
from agent.kinds.base.server_argument import OnServer, ServerArgs
from agent.kinds.base.unit_log import with_journal
from agent.kinds.container_restart import options_of
from agent.models import Json
from agent.plan import Danger, Plan, Would, nothing, refuse
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.systemd import freezer
from agent.supervisors.systemd.unit import Unit, UnitStatus
from agent.supervisors.systemd.unit_target import UnitTarget
from agent.util import idempotent_restart
from agent.util.idempotent_restart import RestartProgress, RestartTarget
from agent.util.stop import Stop

Entry = dict[str, Json]
"""`{"unit" or "container" and "id", "state", "message"}`: the work on one unit or container of the service.

`state` is `waiting`, during a restart a state of `RestartProgress`, at the end one of `ENDED`.
"""
WAITING, ENDED = "waiting", ("running", "paused", "skipped")


class ServiceArgs(ServerArgs):
    """The service, and optionally the servers that the request is for."""

    service_name = fields.String(
        required=True, validate=validate.Length(1, 255), metadata={"description": "The name of the service."}
    )
    server_id_filter = Names(metadata={"description": "A server name or a list of them; must include this node."})


class ServiceOrServerArgs(ServiceArgs):
    """The arguments of clients with typed models: service, server, or both. The server alone means all its services."""

    service_name = fields.String(
        validate=validate.Length(1, 255), metadata={"description": "The name of the service; default: all services."}
    )

    @validates_schema
    def _either(self, data: dict[str, Any], **_: Any) -> None:
        if "service_name" not in data and "server" not in data:
            raise ValidationError("Missing data for required field.", "service_name")


class ServiceResult(Args):
    """The service after the action."""

    service = fields.String(required=True, metadata={"description": "Its name."})
    unit = fields.Dict(metadata={"description": "If the service is a unit: unit, state and message."})
    containers = fields.List(
        fields.Dict(),
        metadata={"description": "Otherwise each container, ordered by name: container, id, state "
                  "(running, paused or skipped) and message."},
    )  # fmt: skip


class OnNamedService(OnServer):
    """A kind that acts on a unit of `[services]`, otherwise on the containers labelled with the service's name."""

    args = ServiceArgs
    result = ServiceResult
    resource_type = "Service"
    configuration = (
        "``[services.NAME]`` for a service that is a unit; ``[containers]`` for all others, whose containers have "
        "the label ``containers.label``. ``host.timeout`` limits the wait until each is up."
    )
    privileges = "To manage that unit (``agentctl polkit``), or to use the engine's socket, ``containers.engine``."
    interruption = "It reads the state of the unit or of each container; paused and resumed ones are not changed again."
    danger = Danger.DISRUPTS
    did: ClassVar[str]
    verb: ClassVar[str]
    would: ClassVar[Would] = Would.DISRUPT
    starts: ClassVar[bool] = False
    """Whether a unit that does not run is started."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, ServiceOrServerArgs() if settings.api.async_actions == "typed" else None)
        self.timeout_up = (settings.host or Host()).timeout

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        if settings.containers is not None:
            options_of(settings)
        elif not settings.services:
            raise NotOffered("set [containers] or [services] in the configuration")
        yield cls(settings)

    def misdirected(self, loaded: dict[str, Any]) -> dict[str, list[str]]:
        details, node = super().misdirected(loaded), self.settings.agent.node
        if node not in loaded.get("server_id_filter", [node]):
            details["server_id_filter"] = [f"this is {node}"]
        return details

    def resource(self, args: Any) -> tuple[str, str]:
        if "service_name" not in args:
            return OnServer.resource_type, self.settings.agent.node
        return self.resource_type, args["service_name"]

    def plan(self, args: Any) -> Plan:
        try:
            if "service_name" not in args:
                return every_service.plan(self, args, self._services())
            service = args["service_name"]
            if named := self.settings.services.get(service):
                return self._plan_of_unit(service, Unit(named.unit, self.timeout_up))
            if self.settings.containers is None:
                return refuse(f"unknown service {service}", f"set [services.{service}] or [containers]")
            with ContainerEngine(options_of(self.settings)) as engine:
                names = [str(each["container"]) for each in _listed(engine, service)]
        except (SupervisorFailed, EngineFailed) as error:
            return refuse(str(error), "check the name of the service and the configuration")
        return self._planned(service, names)

    def _services(self) -> list[str]:
        """All services of this node: units first, then those that have containers. Raises `EngineFailed`."""
        names = list(self.settings.services)
        if self.settings.containers is not None:
            with ContainerEngine(options_of(self.settings)) as engine:
                names += [name for name in engine.services() if name not in names]
        if not names:
            raise EngineFailed("this node has no services")
        return names

    def _plan_of_unit(self, service: str, unit: Unit) -> Plan:
        status = unit.look(Stop())
        if not self.starts and not status.running and not freezer.paused(unit, status):
            return refuse(f"{unit.name} is not running: {status.message}", f"start {unit.name} first")
        if self.is_reached(unit, status):
            return nothing(f"the service {service} is {self.did} already", facts={unit.name: status.message})
        return replace(self._planned(service, [unit.name]), facts={unit.name: status.message})

    def _planned(self, service: str, names: list[str]) -> Plan:
        steps = [f"{self.verb} {name}" for name in names]
        return Plan(self.would, f"the service {service} would be {self.did}", steps=steps)

    def is_reached(self, unit: Unit, status: UnitStatus) -> bool:
        """Whether the unit is already in the state that the action would reach."""
        return False

    def step(self, step: Step) -> StepResult:
        if "service_name" not in step.args:
            return self._step_of_all(self.step, step)
        service = step.args["service_name"]
        named = self.settings.services.get(service)
        if step.payload and _changed(step.payload, named.unit if named else None, self.settings.containers is not None):
            why = f"the configuration of the service {service} was changed or removed"
            return give_up(type(self), self.settings, step, why)
        if named:
            return self._step_of_unit(service, Unit(named.unit, self.timeout_up), step)
        if self.settings.containers is None:
            why = f"there is no [services.{service}] in the configuration, and [containers] is not set"
            return Failed({"service": service, "message": why}, why)
        return self._step_of_containers(service, step)

    # Each step reads the state before it sends a request, and a repeated request changes nothing.
    resume = step

    def _step_of_all(self, act: every_service.Act, step: Step) -> StepResult:
        if step.payload:
            return every_service.advance(act, step)
        try:
            return every_service.begin(self._services())
        except EngineFailed as error:
            return failed(str(error))

    @classmethod
    def describe_leftovers(cls, payload: Json) -> str:
        if "services" in payload:
            return every_service.describe_leftovers(payload, cls.describe_leftovers)
        begun = [payload["unit"]] if "unit" in payload else payload["containers"]
        return ", ".join(f"{each.get('unit') or each['container']}: {each['state']}" for each in begun)

    def look(self, target: ContainerTarget, entry: Entry) -> Entry:
        """Read the first container before any change. Raises `EngineFailed`."""
        return entry

    def act(self, target: UnitTarget | ContainerTarget, entry: Entry) -> Entry:
        """Do the next part of the work on one unit or container. Raises `SupervisorFailed`, `EngineFailed`."""
        raise NotImplementedError

    def _step_of_unit(self, service: str, unit: Unit, step: Step) -> StepResult:
        before = step.payload["unit"] if step.payload else None
        target = UnitTarget(unit, self.timeout_up, step.stop, step.action.id)
        try:
            entry = self.act(target, before or {"unit": unit.name, "state": WAITING})
        except SupervisorFailed as error:
            payload = {"service": service, "unit": before, "message": str(error)}
            return Failed(with_journal(self.settings, payload, error.journal), str(error))
        if entry["state"] in ENDED:
            shown = {name: entry[name] for name in ("unit", "state", "message")}
            return Done({"service": service, "unit": shown}, f"the service {service} was {self.did}")
        return Running({"service": service, "unit": entry}, after=RestartProgress.of(entry).due)

    def _step_of_containers(self, service: str, step: Step) -> StepResult:
        all: list[Entry] = step.payload["containers"] if step.payload else []
        try:
            with ContainerEngine(options_of(self.settings), step.stop if all else None) as engine:
                if not all:
                    first, *others = _listed(engine, service)
                    target = ContainerTarget(engine, first["id"], self.timeout_up, step.stop)
                    return Running({"service": service, "containers": [self.look(target, first), *others]})
                index = next(index for index, each in enumerate(all) if each["state"] not in ENDED)
                target = ContainerTarget(engine, all[index]["id"], self.timeout_up, step.stop)
                entry = self.act(target, all[index])
        except NotUp as error:
            entry = all[index] | {"state": "skipped", "message": str(error)}
        except EngineFailed as error:
            return self._failed(service, all, str(error))
        all = [*all[:index], entry, *all[index + 1 :]]
        payload = {"service": service, "containers": all}
        if all[-1]["state"] in ENDED:
            return Done(payload, self._summary(service, all))
        return Running(payload, after=RestartProgress.of(entry).due)

    def _summary(self, service: str, all: list[Entry]) -> str:
        skipped = [f"{each['container']} is not running: {each['message']}" for each in all if _skipped(each)]
        acted_on = _names(each for each in all if not _skipped(each))
        first = f"the service {service} was {self.did}: {acted_on}" if acted_on else f"nothing of {service} is running"
        return "; ".join([first, *skipped])

    def _failed(self, service: str, all: list[Entry], why: str) -> Failed:
        ended = [each for each in all if each["state"] in ENDED]
        failed, left = all[len(ended) : len(ended) + 1], all[len(ended) + 1 :]
        parts = [": ".join(filter(None, (_names(failed), why)))]
        if ended:
            parts.append(f"{self.did} before: {_names(ended)}")
        if left:
            parts.append(f"not {self.did}: {_names(left)}")
        message = "; ".join(parts)
        return Failed({"service": service, "containers": all, "message": message}, message)


class ServiceRestart(OnNamedService):
    """Restart a service: its unit, or all its containers one after the other. Stopped containers are started."""

    name = "service_restart"
    did, verb = "restarted", "restart"
    starts = True
    interruption = (
        "The unit's invocation id or the container's start time shows whether its restart was done; it is not repeated "
        "then. While it is unchanged, the agent waits as long as a restart may take."
    )

    def resume(self, step: Step) -> StepResult:
        if "service_name" not in step.args:
            return self._step_of_all(self.resume, step)
        if step.payload and "containers" in step.payload:
            containers = [ContainerProgress.doubted(each) for each in step.payload["containers"]]
            step = replace(step, payload=step.payload | {"containers": containers})
        return self.step(step)

    def act(self, target: RestartTarget[Any], entry: Entry) -> Entry:
        restart: RestartProgress = idempotent_restart.step(target, None if entry["state"] == WAITING else entry)
        return restart.payload()

    look = act  # the first part of a restart only records the container's state


class ServicePause(OnNamedService):
    """Pause a service: freeze its unit or its containers until they are resumed. Stopped containers are
    skipped."""

    name = "service_pause"
    did, verb = "paused", "pause"

    def is_reached(self, unit: Unit, status: UnitStatus) -> bool:
        return freezer.paused(unit, status)

    def act(self, target: UnitTarget | ContainerTarget, entry: Entry) -> Entry:
        return entry | {"state": "paused", "message": target.pause()}


class ServiceResume(OnNamedService):
    """Resume a paused service. Units and containers that are not paused, or not running, are not changed."""

    name = "service_resume"
    did, verb = "resumed", "resume"
    would = Would.CHANGE

    def is_reached(self, unit: Unit, status: UnitStatus) -> bool:
        return status.running and not freezer.paused(unit, status)

    def act(self, target: UnitTarget | ContainerTarget, entry: Entry) -> Entry:
        return entry | {"state": "running", "message": target.resume()}


def _changed(payload: Json, unit: str | None, containers: bool) -> bool:
    """Whether the service has changed since the action began: to another unit, or between unit and containers."""
    if "unit" in payload:
        return bool(payload["unit"]["unit"] != unit)
    return unit is not None or not containers


def _listed(engine: ContainerEngine, service: str) -> list[Entry]:
    """The waiting entries of a service's containers. Raises `NoContainer` if it has none."""
    found = engine.of_service(service)
    if not found:
        raise NoContainer(f"no container belongs to the service {service}")
    return [{"container": name, "id": id, "state": WAITING, "message": ""} for name, id in found.items()]


def _skipped(each: Entry) -> bool:
    return bool(each["state"] == "skipped")


def _names(all: Iterable[Entry]) -> str:
    return ", ".join(each["container"] for each in all)
