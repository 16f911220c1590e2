"""What the kinds that act on the datastore of `[datastore]` share."""

from collections.abc import Iterator
from typing import Any, ClassVar

from marshmallow import fields

from agent import datastores
from agent.config import Settings
from agent.datastores.base import Datastore, DatastoreError, DriverMissing
from agent.kinds import server
from agent.kinds.base import Kind, NotOffered, Outcome, Step, failed
from agent.kinds.server import OnServer

NAME_LENGTH = 255


class ServerArgs(server.ServerArgs):
    """The same, and which datastore it must run."""

    server_group = fields.String(metadata={"description": "The kind of this node's datastore."})


class OnDatastore(OnServer):
    """A kind that acts on the datastore; what that refuses fails the action with its own words."""

    resource_type = "Server"
    configuration = "``[datastore]``."
    privileges = "In the datastore: see the page of that datastore."
    interruption = "It asks the datastore how it stands, and goes on or is done; what is so already is not done again."
    needs: ClassVar[str | None] = None
    """The method of the contract without which a datastore does not offer this kind."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.datastore = datastore_of(settings)

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        datastore = datastore_of(settings)
        if (reason := cls.not_offered_by(datastore)) is not None:
            raise NotOffered(reason)
        yield cls(settings)

    @classmethod
    def not_offered_by(cls, datastore: Datastore) -> str | None:
        """Why this datastore cannot do it; None where it can."""
        if cls.needs is None or getattr(type(datastore), cls.needs) is not getattr(Datastore, cls.needs):
            return None
        return f"the agent cannot do this on {datastore.settings.kind}"

    @property
    def description(self) -> str:
        return " ".join(filter(None, (super().description, self.datastore.experimental)))

    def not_meant(self, loaded: dict[str, Any]) -> dict[str, list[str]]:
        details = super().not_meant(loaded)
        if "server_group" in loaded and loaded["server_group"] != self.datastore.settings.kind:
            details["server_group"] = [f"this node runs {self.datastore.settings.kind}"]
        return details

    def step(self, step: Step) -> Outcome:
        return self._told(lambda: self.act(step))

    def resume(self, step: Step) -> Outcome:
        return self._told(lambda: self.act_again(step))

    def act(self, step: Step) -> Outcome:
        raise NotImplementedError

    def act_again(self, step: Step) -> Outcome:
        """After an interruption; where the first step only looked, nothing had been done."""
        raise NotImplementedError

    def _told(self, act: Any) -> Outcome:
        try:
            outcome: Outcome = act()
        except DatastoreError as error:
            return failed(str(error))
        return outcome


def datastore_of(settings: Settings) -> Datastore:
    """The datastore of this node. Raises `NotOffered`, saying what to set or install."""
    if settings.datastore is None:
        raise NotOffered("set [datastore] in the configuration")
    try:
        return datastores.of(settings.datastore)
    except DriverMissing as error:
        raise NotOffered(str(error)) from None
