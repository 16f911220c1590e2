"""`container_restart`: restart one container of this host's engine, idempotently."""

from typing import Any

from marshmallow import fields, validate

from agent.config import Settings
from agent.config.host import Containers, Host
from agent.containers.container_target import ContainerProgress, ContainerTarget
from agent.containers.engine import ContainerEngine, EngineFailed, EngineMissing, require_package
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Running, Step, StepResult
from agent.models import Json
from agent.plan import Danger, Plan, Would, refuse
from agent.util import idempotent_restart
from agent.util.idempotent_restart import RUNNING

NAME = validate.Regexp(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}\Z", error="Not the name or id of a container.")


class ContainerArgs(Args):
    container = fields.String(
        required=True,
        validate=NAME,
        metadata={"description": "The container's name or id (full id, or its first 12 digits)."},
    )


class ContainerResult(Args):
    """The container after its restart."""

    container = fields.String(required=True, metadata={"description": "Its name."})
    id = fields.String(required=True, metadata={"description": "Its full id."})
    state = fields.String(required=True, metadata={"description": "The state after the restart: running."})
    was = fields.String(required=True, metadata={"description": "The time of the start before this restart."})
    message = fields.String(required=True, metadata={"description": "The engine's description of the state."})


class ContainerRestart(Kind):
    """Restart one container and wait until it runs, and is healthy if its image has a health check.

    A stopped container is started. A paused container is unpaused first.
    """

    name = "container_restart"
    args = ContainerArgs
    result = ContainerResult
    resource_type = "Container"
    danger = Danger.DISRUPTS
    configuration = (
        "``[containers]``, for Docker or podman; ``host.timeout`` limits the wait until it is up and healthy."
    )
    privileges = "To use the engine's socket, ``containers.engine``; this permission is equal to root on the host."
    interruption = (
        "The start time of the container shows whether the restart was done. While it is unchanged, the agent waits as "
        "long as the restart may take before it sends the request again, so that the container restarts once."
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._options = options_of(settings)
        self._timeout = (settings.host or Host()).timeout

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, args["container"]

    def plan(self, args: Any) -> Plan:
        try:
            with ContainerEngine(self._options) as engine:
                found = engine.find(args["container"])
        except EngineFailed as error:
            return refuse(str(error), "check the name, and [containers] in the configuration")
        facts = {"container": found.name, "id": found.id, "state": found.message}
        summary = f"the container {found.name} would be restarted"
        return Plan(Would.DISRUPT, summary, steps=[f"restart {found.name}"], facts=facts)

    def step(self, step: Step) -> StepResult:
        return self._advance(step, step.payload)

    def resume(self, step: Step) -> StepResult:
        return self._advance(step, ContainerProgress.doubted(step.payload))

    @classmethod
    def describe_leftovers(cls, payload: Any) -> str:
        return f"the container {payload['container']}: {payload['state']}"

    def _advance(self, step: Step, payload: Json) -> StepResult:
        try:
            with ContainerEngine(self._options, step.stop if payload else None) as engine:
                id = payload["id"] if payload else engine.find(step.args["container"]).id
                restart = idempotent_restart.step(ContainerTarget(engine, id, self._timeout, step.stop), payload)
        except EngineFailed as error:
            return Failed((payload or {}) | {"message": str(error)}, str(error))
        if restart.state == RUNNING:
            return Done(restart.payload(), f"the container {restart.container} was restarted")
        return Running(restart.payload(), after=restart.due)


def options_of(settings: Settings) -> Containers:
    """The client of the container engine. Raises `NotOffered` with what to set or install."""
    if settings.containers is None:
        raise NotOffered("set [containers] in the configuration")
    try:
        require_package()
    except EngineMissing as error:
        raise NotOffered(str(error)) from None
    return settings.containers
