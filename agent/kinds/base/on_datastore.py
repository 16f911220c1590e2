"""The base of the kinds that act on the datastore of `[datastore]`."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar

from marshmallow import fields

from agent import datastores, supervisors
from agent.config import Settings
from agent.datastores.base import (
    Datastore,
    DatastoreDown,
    DatastoreError,
    DatastoreUnreachable,
    DriverMissing,
    OutcomeUnknown,
)
from agent.kinds.base import server_argument
from agent.kinds.base.kind import Kind, NotOffered, Step, StepResult, Unsupported, failed
from agent.kinds.base.planned import Planned
from agent.kinds.base.server_argument import OnServer
from agent.plan import Plan, refuse, unknown
from agent.supervisors.base import Supervisor, SupervisorFailed

NAME_LENGTH = 255
PREVIEW = 1.5
"""Timeout in seconds of each answer of a server to a plan that a caller waits for."""
CURE = "repair this and run the action again"


class DatastoreServerArgs(server_argument.ServerArgs):
    """The server and the kind of its datastore."""

    server_group = fields.String(metadata={"description": "The kind of this node's datastore."})


class OnDatastore(Planned, OnServer):
    """A kind that acts on the datastore; a refusal of the datastore fails the action with the datastore's message."""

    resource_type = "Server"
    configuration = "``[datastore]``."
    privileges = "In the datastore: see the page of that datastore."
    interruption = "It reads the datastore's state, then continues or is done. Work already done is not repeated."
    needs: ClassVar[str | None] = None
    """The method of `Datastore` that a datastore must implement to offer this kind."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.datastore = datastore_of(settings)

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        datastore = datastore_of(settings)
        if (reason := cls.not_offered_by(datastore)) is not None:
            raise Unsupported(reason)
        yield cls(settings)

    @classmethod
    def not_offered_by(cls, datastore: Datastore) -> str | None:
        """The reason why this datastore does not support the kind; None if it does."""
        if cls.needs is None or getattr(type(datastore), cls.needs) is not getattr(Datastore, cls.needs):
            return None
        return f"the agent cannot do this on {datastore.settings.kind}"

    @property
    def description(self) -> str:
        return " ".join(filter(None, (super().description, self.datastore.experimental)))

    def misdirected(self, loaded: dict[str, Any]) -> dict[str, list[str]]:
        details = super().misdirected(loaded)
        if "server_group" in loaded and loaded["server_group"] != self.datastore.settings.kind:
            details["server_group"] = [f"this node runs {self.datastore.settings.kind}"]
        return details

    def plan(self, args: Any) -> Plan:
        """The datastore's plan; a refusal if the state of the datastore cannot be read."""
        try:
            return self.plan_on_datastore(args)
        except (DatastoreError, SupervisorFailed) as error:
            return refuse(str(error), CURE)

    def preview(self, args: Any) -> Plan:
        """The plan with a shorter timeout: each answer of a server may take `PREVIEW` seconds."""
        settings = self.datastore.settings
        quick = copy(self)
        quick.datastore = datastores.of(replace(settings, timeout=min(PREVIEW, settings.timeout)))
        quick.datastore.node = self.datastore.node
        try:
            return quick.plan_on_datastore(args)
        except DatastoreDown as error:
            return refuse(str(error), CURE)
        except (DatastoreUnreachable, OutcomeUnknown) as error:
            return unknown(f"{self.name}: {error}")
        except (DatastoreError, SupervisorFailed) as error:
            return refuse(str(error), CURE)

    def plan_on_datastore(self, args: Any) -> Plan:
        """The datastore's plan. Raises `DatastoreError`, `SupervisorFailed`."""
        raise NotImplementedError

    def step(self, step: Step) -> StepResult:
        return _failing_with_message(super().step, step)

    def resume(self, step: Step) -> StepResult:
        return _failing_with_message(super().resume, step)

    def service(self) -> Supervisor | None:
        """The supervisor of the datastore's service; None if `[service]` is not configured."""
        return supervisors.of(self.settings.service) if self.settings.service else None

    def check_start(self, step: Step) -> None:
        """Before work that stops the service: raises `SupervisorFailed` if its next start would be refused."""
        if service := self.service():
            service.allow_start(step.stop, step.action.id)


def _failing_with_message(act: Callable[[Step], StepResult], step: Step) -> StepResult:
    try:
        return act(step)
    except OutcomeUnknown as error:
        return failed(str(error), outcome="unknown", waits_for=error.waits_for)
    except (DatastoreError, SupervisorFailed) as error:
        return failed(str(error))


def datastore_of(settings: Settings) -> Datastore:
    """The datastore of this node. Raises `NotOffered` with what to set or install."""
    if settings.datastore is None:
        raise NotOffered("set [datastore] in the configuration")
    try:
        datastore = datastores.of(settings.datastore)
    except DriverMissing as error:
        raise NotOffered(str(error)) from None
    datastore.node = settings.agent.node
    return datastore
