"""`replicante.store.*`: what the datastore itself is asked to do."""

from agent import datastores
from agent.config import Settings
from agent.datastores.base import DatastoreDown, DatastoreError, DriverMissing
from agent.kinds.base import Done, Failed, Kind, NotOffered, Outcome, Step


class StopStore(Kind):
    """Let the datastore shut itself down, with its data safe, by its own means. Done at once where it is down."""

    name = "replicante.store.stop"
    configuration = "``[datastore]``."
    privileges = "In the datastore, to shut it down: see the page of that datastore."
    interruption = "It looks whether the datastore is down and asks again where it is not."

    def __init__(self, settings: Settings) -> None:
        if settings.datastore is None:
            raise NotOffered("set [datastore] in the configuration")
        super().__init__(settings)
        self._timeout = settings.datastore.timeout
        try:
            self._datastore = datastores.of(settings.datastore)
        except DriverMissing as error:
            raise NotOffered(str(error)) from None

    @property
    def description(self) -> str:
        return " ".join(filter(None, (super().description, self._datastore.experimental)))

    def step(self, step: Step) -> Outcome:
        try:
            message = self._datastore.shut_down(self._timeout, step.stop)
        except DatastoreDown as error:
            message = f"the store is down already: {error}"
        except DatastoreError as error:
            return Failed({"message": str(error)}, str(error))
        return Done({"message": message}, message)

    # Down is down, however often it is asked for.
    resume = step
