"""`replicante.service.*`: start and stop the datastore's service, and wait until it is so."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from agent import clock, supervisors
from agent.config import Settings
from agent.datastores.base import DatastoreError
from agent.kinds.base import Done, Failed, Kind, NotOffered, Outcome, Running, Step, failed
from agent.kinds.journal import with_journal
from agent.kinds.on_datastore import datastore_of
from agent.kinds.stages import Staged
from agent.kinds.store import StopStore
from agent.models import Json
from agent.plan import Danger, Plan, Would, nothing, refuse
from agent.stop import Stop
from agent.supervisors.base import Status, SupervisorFailed
from agent.supervisors.unit_status import STAYS

WATCH = 1.0
"""Seconds that one step watches the service at most; the agent may be stopped between two."""
LOG_BEFORE = 0.5
"""Seconds before the request from which on the log of a failed unit is repeated."""


Proof = Callable[[], bool]


def _unproved() -> bool:
    return False


class OnService(Kind):
    """A kind that acts on the service of `[service]`."""

    resource_type = "Service"
    danger = Danger.DISRUPTS
    configuration = "``[service]``."
    privileges = "To start, stop and ``reset-failed`` that unit (``agentctl polkit``), or to run those commands."
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
    """Ask the supervisor once for what is wanted, unless it is so already, and watch the service until it is.

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

    def settles_in(self, status: Status, proved: Proof) -> float:
        """Seconds that the status must last until it counts as reached: 0 if it does now."""
        return 0.0 if self.reached(status) else math.inf

    def proof(self) -> Proof:
        """What proves after the request that it is reached; taken before it."""
        return _unproved

    def given_up(self, status: Status) -> bool:
        """Whether the supervisor has ended what it was asked for, otherwise than wanted."""
        return False

    def ask(self, step: Step) -> None:
        raise NotImplementedError

    def step(self, step: Step) -> Outcome:
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

    # What was asked for once is not asked for again when its payload tells so, and else it is harmless to.
    resume = step

    @classmethod
    def left(cls, payload: Json) -> str:
        return f"at the last look {payload['message']}"

    def _next(self, step: Step, attempt: int) -> tuple[Status, bool]:
        """The last look of this step, and whether that settles it. The first step asks, the last only looks."""
        proved = _unproved
        if not attempt:
            status = self._supervisor.status(step.stop, step.action.id)
            if not self.reached(status):
                proved = self.proof()
                self.ask(step)

        def left(status: Status) -> float:
            return 0.0 if self.given_up(status) else self.settles_in(status, proved)

        seconds = 0.0 if attempt >= self._service.attempts else min(self._service.interval, WATCH)
        status = self._supervisor.watch(left, seconds, step.stop, step.action.id)
        if not step.stop.requested and 0 < (stays := left(status)) < math.inf:
            # Its age alone is lacking, and that is no reason for one look more.
            status = self._supervisor.watch(left, stays, step.stop, step.action.id)
        return status, left(status) <= 0

    def _failed(self, attempt: int, status: Status, waited: float) -> Failed:
        subject, looked = self._supervisor.subject, attempt * self._service.interval
        if self.given_up(status):
            why = f"{subject} was asked to {self.verb}, but {self.otherwise}: {status.message}"
        else:
            why = (
                f"{subject} was asked to {self.verb}, but after {attempt} looks over {looked:g} s "
                f"{self.otherwise}: {status.message}"
            )
        log = self._supervisor.journal(looked + waited + LOG_BEFORE)
        return Failed(with_journal(self.settings, _payload(attempt, why, status.pid), log), why)


class StartService(Reach):
    """Start the datastore's service and wait until it is running. Done at once where it is."""

    name = "replicante.service.start"
    verb, wanted, otherwise = "start", "the service is running", "the service is not running"
    would = Would.CHANGE

    def reached(self, status: Status) -> bool:
        return status.running

    def ask(self, step: Step) -> None:
        self._supervisor.start(step.stop, step.action.id)

    def settles_in(self, status: Status, proved: Proof) -> float:
        """Its being up is proved by the supervisor, by an answer of the datastore, or by its age."""
        if not status.running:
            return math.inf
        if status.ready or (status.age or 0.0) >= STAYS or proved():
            return 0.0
        return STAYS - (status.age or 0.0)

    def proof(self) -> Proof:
        """An answer of the datastore, unless another server answers in its place already."""
        return _unproved if self._datastore_answers() else self._datastore_answers

    def given_up(self, status: Status) -> bool:
        return status.stopped and self._supervisor.stays_stopped

    def _datastore_answers(self) -> bool:
        with suppress(NotOffered, DatastoreError):
            return datastore_of(self.settings).is_up()
        return False


class StopService(Reach):
    """Stop the datastore's service and wait until it is not running. Done at once where it is not."""

    name = "replicante.service.stop"
    verb, wanted, otherwise = "stop", "the service is not running", "the service has not stopped"
    would = Would.DISRUPT

    def reached(self, status: Status) -> bool:
        return status.stopped

    def ask(self, step: Step) -> None:
        self._supervisor.stop(step.stop, step.action.id)


class StartsAgain(Staged, OnService):
    """Stages that stop the service and start it again: none begins before the start is known to be allowed."""

    def step(self, step: Step) -> Outcome:
        if step.payload is None:
            try:
                self._supervisor.allow_start(step.stop, step.action.id)
            except SupervisorFailed as error:
                return failed(str(error))
        return super().step(step)


class Restart(StartsAgain):
    """Stop the datastore's service, then start it."""

    name = "replicante.service.restart"
    stages = (StopService, StartService)


class GracefulStop(Staged, OnService):
    """Let the datastore shut itself down, then stop its service."""

    name = "replicante.service.gracefulstop"
    stages = (StopStore, StopService)


class GracefulRestart(StartsAgain):
    """Let the datastore shut itself down, stop its service, then start it."""

    name = "replicante.service.gracefulrestart"
    stages = (StopStore, StopService, StartService)


def _payload(attempt: int, message: str, pid: str | None) -> Json:
    return {"attempt": attempt, "message": message, "pid": pid}
