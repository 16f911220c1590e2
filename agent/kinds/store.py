"""`replicante.store.*`: what the datastore itself is asked to do."""

from typing import Any

from agent import supervisors
from agent.config import Settings
from agent.datastores.base import DatastoreDown, DatastoreError
from agent.kinds.base import Done, Failed, Kind, Outcome, Running, Step, failed
from agent.kinds.on_datastore import datastore_of
from agent.plan import Danger, Plan, Would, nothing, refuse
from agent.supervisors.base import SupervisorFailed

LOOKS = 10
"""How many times to look, a second apart, whether what is down by the url and runs by its service comes or goes."""


class StopStore(Kind):
    """Let the datastore shut itself down, with its data safe, by its own means. Done at once where it is down."""

    name = "replicante.store.stop"
    danger = Danger.DISRUPTS
    configuration = "``[datastore]``."
    privileges = "In the datastore, to shut it down: see the page of that datastore."
    interruption = "It looks whether the datastore is down and asks again where it is not."

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
            return nothing(f"the store is down already: nothing listens at {address}")
        return Plan(Would.DISRUPT, f"the datastore at {address} would shut itself down", steps=[f"shut down {address}"])

    def step(self, step: Step) -> Outcome:
        try:
            message = self._datastore.shut_down(self._datastore.settings.timeout, step.stop)
        except DatastoreDown as error:
            return self._down(step, str(error))
        except DatastoreError as error:
            return failed(str(error))
        return Done({"message": message}, message)

    # Down is down, however often it is asked for.
    resume = step

    def _down(self, step: Step, why: str) -> Outcome:
        """Where its service runs it is on its way up or down, or listens elsewhere than the url says."""
        if not self._service_runs(step):
            message = f"the store is down already: {why}"
            return Done({"message": message}, message)
        looks = 1 + (step.payload or {}).get("looks", 0)
        message = f"{why}, but its service is running"
        if looks > LOOKS:
            return Failed({"message": message}, f"{message}: check datastore.url")
        return Running({"message": message, "looks": looks}, after=1.0)

    def _service_runs(self, step: Step) -> bool:
        if self.settings.service is None:
            return False
        try:
            return supervisors.of(self.settings.service).status(step.stop, step.action.id).running
        except SupervisorFailed:  # the stages that need it say so
            return False
