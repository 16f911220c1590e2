"""`replicante.service.*`: start and stop the datastore's service, and wait until it is so."""

from dataclasses import replace
from typing import Any, ClassVar

from agent import supervisors
from agent.config import Settings
from agent.kinds.base import Done, Failed, Kind, NotOffered, Outcome, Running, Step
from agent.kinds.stages import Staged
from agent.kinds.store import StopStore
from agent.models import Json
from agent.plan import Danger, Plan, Would, nothing, refuse
from agent.stop import Stop
from agent.supervisors.base import Status, SupervisorFailed
from agent.supervisors.restart import FIRST_LOOKS, STAYS


class OnService(Kind):
    """A kind that acts on the service of `[service]`."""

    resource_type = "Service"
    danger = Danger.DISRUPTS
    configuration = "``[service]``."
    privileges = "To start and stop that unit (``agentctl polkit``), or to run those commands."
    interruption = "It looks how the service stands and goes on; asking again for what is so already changes nothing."

    def __init__(self, settings: Settings) -> None:
        if settings.service is None:
            raise NotOffered("set [service] in the configuration")
        super().__init__(settings)
        self._service = settings.service
        self._supervisor = supervisors.of(settings.service)

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, self._service.unit or self._service.start[0]


class Reach(OnService):
    """Ask the supervisor once for what is wanted, unless it is so already, then look until it is.

    The payload's `attempt` counts the looks, `service.interval` apart, after the first one.
    """

    verb: ClassVar[str]
    wanted: ClassVar[str]
    """What is said of the service when it is as wanted."""
    otherwise: ClassVar[str]
    would: ClassVar[Would]

    def plan(self, args: Any) -> Plan:
        subject = self._supervisor.subject
        try:
            status = self._supervisor.status(Stop())
        except SupervisorFailed as error:
            return refuse(str(error), "check [service] in the configuration")
        facts = {"state": status.message, "pid": status.pid}
        if self.reached(status):
            return nothing(self.wanted, facts=facts)
        return Plan(
            self.would, f"{subject} would be asked to {self.verb}", steps=[f"{self.verb} {subject}"], facts=facts
        )

    def reached(self, status: Status) -> bool:
        raise NotImplementedError

    def ask(self, step: Step) -> None:
        raise NotImplementedError

    def look(self, step: Step) -> Status:
        return self._supervisor.status(step.stop, step.action.id)

    def step(self, step: Step) -> Outcome:
        attempt = 0 if step.payload is None else step.payload["attempt"] + 1
        try:
            status = self.look(step) if attempt else self._begin(step)
        except SupervisorFailed as error:
            return Failed(_payload(attempt, str(error), None), str(error))
        if self.reached(status):
            return Done(_payload(attempt, self.wanted, status.pid), self.wanted)
        if attempt >= self._service.attempts:
            why = self._why(attempt, status)
            return Failed(_payload(attempt, why, status.pid), why)
        payload = _payload(attempt, f"{self.otherwise}: {status.message}", status.pid)
        return Running(payload, after=self._service.interval)

    # What was asked for once is not asked for again when its payload tells so, and else it is harmless to.
    resume = step

    @classmethod
    def left(cls, payload: Json) -> str:
        return f"at the last look {payload['message']}"

    def _begin(self, step: Step) -> Status:
        status = self.look(step)
        if not self.reached(status):
            self.ask(step)
            status = self._look_quickly(step)
        return status

    def _look_quickly(self, step: Step) -> Status:
        status = self.look(step)
        for seconds in FIRST_LOOKS:
            if self.reached(status) or step.stop.wait(seconds):
                break
            status = self.look(step)
        return status

    def _why(self, attempt: int, status: Status) -> str:
        return (
            f"{self._supervisor.subject} was asked to {self.verb}, but after {attempt} looks over "
            f"{attempt * self._service.interval:g} s {self.otherwise}: {status.message}"
        )


class StartService(Reach):
    """Start the datastore's service and wait until it is running. Done at once where it is."""

    name = "replicante.service.start"
    verb, wanted, otherwise = "start", "the service is running", "the service is not running"
    would = Would.CHANGE

    def reached(self, status: Status) -> bool:
        return status.running

    def ask(self, step: Step) -> None:
        self._supervisor.start(step.stop, step.action.id)

    def look(self, step: Step) -> Status:
        first = super().look(step)
        if not first.running or step.stop.wait(STAYS):
            return first
        again = super().look(step)
        if again.running and again.pid != first.pid:
            return replace(again, running=False, message=f"pid {first.pid} has gone, now {again.message}")
        return again


class StopService(Reach):
    """Stop the datastore's service and wait until it is not running. Done at once where it is not."""

    name = "replicante.service.stop"
    verb, wanted, otherwise = "stop", "the service is not running", "the service has not stopped"
    would = Would.DISRUPT

    def reached(self, status: Status) -> bool:
        return status.stopped

    def ask(self, step: Step) -> None:
        self._supervisor.stop(step.stop, step.action.id)


class Restart(Staged, OnService):
    """Stop the datastore's service, then start it."""

    name = "replicante.service.restart"
    stages = (StopService, StartService)


class GracefulStop(Staged, OnService):
    """Let the datastore shut itself down, then stop its service."""

    name = "replicante.service.gracefulstop"
    stages = (StopStore, StopService)


class GracefulRestart(Staged, OnService):
    """Let the datastore shut itself down, stop its service, then start it."""

    name = "replicante.service.gracefulrestart"
    stages = (StopStore, StopService, StartService)


def _payload(attempt: int, message: str, pid: str | None) -> Json:
    return {"attempt": attempt, "message": message, "pid": pid}
