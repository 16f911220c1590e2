"""`replicante.store.*`: requests to the datastore itself."""

from typing import Any

from agent import clock, supervisors
from agent.config import Settings
from agent.datastores.base import DatastoreDown, DatastoreError
from agent.kinds.base import Done, Failed, Kind, Running, Step, StepResult, failed
from agent.kinds.base.on_datastore import datastore_of
from agent.plan import Danger, Plan, Would, nothing, refuse
from agent.supervisors.base import SupervisorFailed
from agent.util.poll import pause_after

LOOKS_FOR = 10.0
"""Seconds to wait for a server that is down at its URL while its service runs: it may be starting or ending."""


class StopStore(Kind):
    """Shut the datastore down cleanly by its own command. Done at once if it is down."""

    name = "replicante.store.stop"
    danger = Danger.DISRUPTS
    configuration = "``[datastore]``."
    privileges = "In the datastore, to shut it down: see the page of that datastore."
    interruption = "It checks whether the datastore is down, and repeats the request if not."

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._datastore = datastore_of(settings)

    @property
    def description(self) -> str:
        return " ".join(filter(None, (super().description, self._datastore.experimental)))

    def plan(self, args: Any) -> Plan:
        address = self._datastore.address
        try:
            up = self._datastore.is_up()
        except DatastoreError as error:
            return refuse(str(error), "check datastore.url")
        if not up:
            return nothing(f"the datastore is down already: nothing listens at {address}")
        return Plan(Would.DISRUPT, f"the datastore at {address} would shut down", steps=[f"shut down {address}"])

    def step(self, step: Step) -> StepResult:
        try:
            message = self._datastore.shut_down(self._datastore.settings.timeout, step.stop)
        except DatastoreDown as error:
            return self._down(step, str(error))
        except DatastoreError as error:
            return failed(str(error))
        return Done({"message": message}, message)

    # A repeated shutdown request is harmless.
    resume = step

    def _down(self, step: Step, why: str) -> StepResult:
        """While its service runs, the server is starting or ending, or listens at another address than the URL's."""
        if not self._service_runs(step):
            message = f"the datastore is down already: {why}"
            return Done({"message": message}, message)
        now = clock.monotonic()
        # A time in the future was recorded before a reboot.
        since = min(now, (step.payload or {}).get("since", now))
        message = f"{why}, but its service is running"
        if now - since > LOOKS_FOR:
            return Failed({"message": message}, f"{message}: check datastore.url")
        return Running({"message": message, "since": since}, after=pause_after(now - since))

    def _service_runs(self, step: Step) -> bool:
        if self.settings.service is None:
            return False
        try:
            return supervisors.of(self.settings.service).status(step.stop, step.action.id).running
        except SupervisorFailed:  # the stages that need the service report the error
            return False
