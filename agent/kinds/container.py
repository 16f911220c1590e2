"""`container_restart`: restart one container of this host's engine, once."""

from typing import Any

from marshmallow import fields, validate

from agent.config import Settings
from agent.config.host import Containers, Host
from agent.containers import restart
from agent.containers.engine import Engine, EngineFailed, EngineMissing, require_package
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Outcome, Running, Step
from agent.plan import Danger, Plan, Would, refuse

NAME = validate.Regexp(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}\Z", error="Not the name or id of a container.")


class ContainerArgs(Args):
    container = fields.String(
        required=True,
        validate=NAME,
        metadata={"description": "The name of the container, or its id, whole or the first 12 digits."},
    )


class ContainerResult(Args):
    """The container after its restart."""

    container = fields.String(required=True, metadata={"description": "Its name."})
    id = fields.String(required=True, metadata={"description": "Its full id."})
    state = fields.String(required=True, metadata={"description": "How it ended: running."})
    was = fields.String(required=True, metadata={"description": "When it was started the time before."})
    message = fields.String(required=True, metadata={"description": "How it stands, in the engine's words."})


class ContainerRestart(Kind):
    """Restart one container and wait until it runs, and is healthy where its image has a check.

    One that does not run is started, one that is paused is let go on first.
    """

    name = "container_restart"
    args = ContainerArgs
    result = ContainerResult
    resource_type = "Container"
    danger = Danger.DISRUPTS
    configuration = (
        "``[containers]``, for Docker and podman alike; ``host.timeout`` is how long it gets to be up and healthy."
    )
    privileges = "To use the engine's socket, ``containers.engine``; who may do that may do anything on the host."
    interruption = (
        "When the container was last started tells whether the restart was done. Where it cannot tell yet, the engine "
        "is given the time that the restart may take before it is asked again, so that it is done once."
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._options = options_of(settings)
        self._timeout = (settings.host or Host()).timeout

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, args["container"]

    def plan(self, args: Any) -> Plan:
        try:
            with Engine(self._options) as engine:
                found = engine.find(args["container"])
        except EngineFailed as error:
            return refuse(str(error), "check the name, and [containers] in the configuration")
        facts = {"container": found.name, "id": found.id, "state": found.message}
        summary = f"the container {found.name} would be restarted"
        return Plan(Would.DISRUPT, summary, steps=[f"restart {found.name}"], facts=facts)

    def step(self, step: Step) -> Outcome:
        return self._go_on(step, step.payload)

    def resume(self, step: Step) -> Outcome:
        return self._go_on(step, step.payload and restart.doubt(step.payload))

    @classmethod
    def left(cls, payload: Any) -> str:
        return f"the container {payload['container']}: {payload['state']}"

    def _go_on(self, step: Step, progress: restart.Progress | None) -> Outcome:
        try:
            with Engine(self._options) as engine:
                if progress is None:
                    return Running(restart.note(engine.find(step.args["container"])))
                progress = restart.go_on(engine, progress, self._timeout, step.stop)
        except EngineFailed as error:
            return Failed((progress or {}) | {"message": str(error)}, str(error))
        if progress["state"] == "running":
            return Done(progress, f"the container {progress['container']} was restarted")
        return Running(progress, after=restart.due(progress))


def options_of(settings: Settings) -> Containers:
    """Raises `NotOffered`, saying what to set or install."""
    if settings.containers is None:
        raise NotOffered("set [containers] in the configuration")
    try:
        require_package()
    except EngineMissing as error:
        raise NotOffered(str(error)) from None
    return settings.containers
