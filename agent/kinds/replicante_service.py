"""`replicante.service.*`: start and stop the datastore's service, and wait for the result."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from agent import clock, supervisors
from agent.config import Settings
from agent.datastores.base import DatastoreError
from agent.kinds.base import Done, Failed, Kind, NotOffered, Running, Step, StepResult, failed
from agent.kinds.base.on_datastore import datastore_of
from agent.kinds.base.staged import Staged
from agent.kinds.base.unit_log import with_journal
from agent.kinds.replicante_store import StopStore
from agent.models import Json
from agent.plan import Danger, Plan, Would, nothing, refuse
from agent.supervisors.base import Status, SupervisorFailed
from agent.supervisors.systemd.unit_status import STAYS
from agent.util.stop import Stop

WATCH = 1.0
"""Maximum seconds that one step watches the service; the agent may be stopped between two steps."""
LOG_BEFORE = 0.5
"""The log of a failed unit is shown from this many seconds before the request."""


Proof = Callable[[], bool]


def _unproved() -> bool:
    return False


class OnService(Kind):
    """A kind that acts on the service of `[service]`."""

    resource_type = "Service"
    danger = Danger.DISRUPTS
    configuration = "``[service]``."
    privileges = "To start, stop and ``reset-failed`` the unit (``agentctl polkit``), or to run the commands."
    interruption = "It reads the state of the service and continues; a repeated request changes nothing."

    def __init__(self, settings: Settings) -> None:
        if settings.service is None:
            raise NotOffered("set [service] in the configuration")
        super().__init__(settings)
        self._service = settings.service
        self._supervisor = supervisors.of(settings.service)

    def resource(self, args: Any) -> tuple[str, str]:
        return self.resource_type, self._service.unit or self._service.start[0]


class Reach(OnService):
    """Send one request to the supervisor unless the service is in the wanted state, then watch it until it is.

    The payload's `attempt` counts the checks after the first one; they are `service.interval` apart.
    """

    verb: ClassVar[str]
    wanted: ClassVar[str]
    """The message when the service is in the wanted state."""
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
            self.would, f"{subject} would get the request to {self.verb}", steps=[f"{self.verb} {subject}"], facts=facts
        )

    def reached(self, status: Status) -> bool:
        raise NotImplementedError

    def settles_in(self, status: Status, proved: Proof) -> float:
        """Seconds that the status must still last until it counts as reached; 0 if it is reached."""
        return 0.0 if self.reached(status) else math.inf

    def proof(self) -> Proof:
        """A function, made before the request, that returns after it whether the wanted state is reached."""
        return _unproved

    def given_up(self, status: Status) -> bool:
        """Whether the supervisor has finished the request without reaching the wanted state."""
        return False

    def send_request(self, step: Step) -> None:
        raise NotImplementedError

    def step(self, step: Step) -> StepResult:
        attempt = 0 if step.payload is None else step.payload["attempt"] + 1
        began = clock.monotonic()
        try:
            status, settled = self._next(step, attempt)
        except SupervisorFailed as error:
            return Failed(with_journal(self.settings, _payload(attempt, str(error), None), error.journal), str(error))
        waited = clock.monotonic() - began
        if self.reached(status) and settled:
            return Done(_payload(attempt, self.wanted, status.pid), self.wanted)
        if step.stop.requested:
            return Running(_payload(attempt, f"{self.otherwise}: {status.message}", status.pid))
        if self.given_up(status) or attempt >= self._service.attempts:
            return self._failed(attempt, status, waited)
        payload = _payload(attempt, f"{self.otherwise}: {status.message}", status.pid)
        return Running(payload, after=max(0.0, self._service.interval - waited))

    # A recorded request is not sent again; repeating an unrecorded one is harmless.
    resume = step

    @classmethod
    def describe_leftovers(cls, payload: Json) -> str:
        return f"last state: {payload['message']}"

    def _next(self, step: Step, attempt: int) -> tuple[Status, bool]:
        """The last check of this step, and whether it is final. Only the first step sends the request."""
        proved = _unproved
        if not attempt:
            status = self._supervisor.status(step.stop, step.action.id)
            if not self.reached(status):
                proved = self.proof()
                self.send_request(step)

        def left(status: Status) -> float:
            return 0.0 if self.given_up(status) else self.settles_in(status, proved)

        seconds = 0.0 if attempt >= self._service.attempts else min(self._service.interval, WATCH)
        status = self._supervisor.watch(left, seconds, step.stop, step.action.id)
        if not step.stop.requested and 0 < (stays := left(status)) < math.inf:
            # Only the age is missing: this does not count as another check.
            status = self._supervisor.watch(left, stays, step.stop, step.action.id)
        return status, left(status) <= 0

    def _failed(self, attempt: int, status: Status, waited: float) -> Failed:
        subject, looked = self._supervisor.subject, attempt * self._service.interval
        if self.given_up(status):
            why = f"{subject} got the request to {self.verb}, but {self.otherwise}: {status.message}"
        else:
            why = (
                f"{subject} got the request to {self.verb}, but after {attempt} checks over {looked:g} s "
                f"{self.otherwise}: {status.message}"
            )
        log = self._supervisor.journal(looked + waited + LOG_BEFORE)
        return Failed(with_journal(self.settings, _payload(attempt, why, status.pid), log), why)


class StartService(Reach):
    """Start the datastore's service and wait until it is running. Done at once if it is running."""

    name = "replicante.service.start"
    verb, wanted, otherwise = "start", "the service is running", "the service is not running"
    would = Would.CHANGE

    def reached(self, status: Status) -> bool:
        return status.running

    def send_request(self, step: Step) -> None:
        self._supervisor.start(step.stop, step.action.id)

    def settles_in(self, status: Status, proved: Proof) -> float:
        """The service counts as up by the supervisor's report, by an answer of the datastore, or by its age."""
        if not status.running:
            return math.inf
        if status.ready or (status.age or 0.0) >= STAYS or proved():
            return 0.0
        return STAYS - (status.age or 0.0)

    def proof(self) -> Proof:
        """An answer of the datastore, unless another server answers at its address already."""
        return _unproved if self._datastore_answers() else self._datastore_answers

    def given_up(self, status: Status) -> bool:
        return status.stopped and self._supervisor.stays_stopped

    def _datastore_answers(self) -> bool:
        with suppress(NotOffered, DatastoreError):
            return datastore_of(self.settings).is_up()
        return False


class StopService(Reach):
    """Stop the datastore's service and wait until it is not running. Done at once if it is not running."""

    name = "replicante.service.stop"
    verb, wanted, otherwise = "stop", "the service is not running", "the service has not stopped"
    would = Would.DISRUPT

    def reached(self, status: Status) -> bool:
        return status.stopped

    def send_request(self, step: Step) -> None:
        self._supervisor.stop(step.stop, step.action.id)


class StartsAgain(Staged, OnService):
    """Stages that stop the service and start it again. The first begins only if the start is permitted."""

    def step(self, step: Step) -> StepResult:
        if step.payload is None:
            try:
                self._supervisor.allow_start(step.stop, step.action.id)
            except SupervisorFailed as error:
                return failed(str(error))
        return super().step(step)


class Restart(StartsAgain):
    """Stop the datastore's service, then start it. Refused if systemd would not start it again."""

    name = "replicante.service.restart"
    stages = (StopService, StartService)


class GracefulStop(Staged, OnService):
    """Shut the datastore down by its own command, then stop its service."""

    name = "replicante.service.gracefulstop"
    stages = (StopStore, StopService)


class GracefulRestart(StartsAgain):
    """Shut the datastore down by its own command, stop its service, then start it. Refused if systemd would not start
    it again."""

    name = "replicante.service.gracefulrestart"
    stages = (StopStore, StopService, StartService)


def _payload(attempt: int, message: str, pid: str | None) -> Json:
    return {"attempt": attempt, "message": message, "pid": pid}
