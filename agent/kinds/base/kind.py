"""The base class `Kind`: it validates arguments and runs an action in short steps, each with an outcome."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from marshmallow import Schema

from agent.config import Settings
from agent.kinds.base.json_schema import json_schema
from agent.models import Action, Json
from agent.plan import Danger, Plan, unknown
from agent.util.stop import Stop
from agent.util.validation import load

MASK = "********"
"""Shown in place of a secret."""


@dataclass(frozen=True, slots=True)
class Running:
    """The action continues: the next step is due `after` seconds.

    `measured`: the payload differs from the previous one only by a measurement of progress. Of consecutive
    measurements the history keeps the newest.
    """

    payload: Json = None
    after: float = 0.0
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The action succeeded. `message` describes the result for people."""

    payload: Json = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The action failed. `message` gives the reason for people."""

    payload: Json = None
    message: str = ""


StepResult = Running | Done | Failed


def failed(message: str, **more: Json) -> Failed:
    """A failure whose payload contains the message for programs, and the members of `more`."""
    return Failed({"message": message, **more}, message)


@dataclass(frozen=True, slots=True)
class Step:
    """The input of one step of a running action.

    `args` are the loaded arguments, secrets included. `payload` is the payload that the previous step
    returned, None in the first step. Strings in the payload of a kind with secrets may be masked when they
    are read back: such a kind stores its state in member names, numbers and booleans. `stop` is set when
    the action must end now. `version` is the version of the previous transition: a step and the `resume`
    after it have the same version; the next step that records a transition has another one.
    """

    action: Action
    args: Any
    payload: Json = None
    stop: Stop = field(default_factory=Stop)
    version: int = 0


class NotOffered(Exception):
    """This node does not offer the kind. The message says what to configure or install."""


class Unsupported(NotOffered):
    """The datastore of this node does not support the kind: no option and no package can change that."""


class Args(Schema):
    """The arguments of a kind: only the declared members are accepted; without declared members only `{}`.

    The value of a field with `metadata={"secret": True}` is stored until the action is final and is never
    shown. `available` shows `metadata={"description": …}`.
    """


class Kind:
    """A kind of action. Subclasses define `name`, `args` and `step`; the docstring is the description."""

    name: str
    args: ClassVar[type[Schema]] = Args
    result: ClassVar[type[Schema] | None] = None
    """Schema of the payload of DONE, which is the AsyncAction's `finished_result`; None: see the docstring."""
    danger: ClassVar[Danger] = Danger.NONE
    """The worst effect that an action of this kind can have."""
    timeout: ClassVar[float] = 3600.0
    """Seconds that an action may run; `actions.timeouts` overrides it."""
    cancellable: ClassVar[bool] = True
    """Whether an action may be stopped between two steps, or by ending the command of a step."""
    can_be_held: ClassVar[bool] = True
    """Whether `maintenance.holds` may hold an action of this kind in the queue."""
    resource_type: ClassVar[str] = "Server"
    configuration: ClassVar[str] = "None."
    """For people: the options that make the node offer the kind, and the options that change its effect."""
    privileges: ClassVar[str] = "None."
    """For people: the permissions that the agent's user needs."""
    interruption: ClassVar[str] = "The action fails; its message says that it may or may not have taken effect."
    """For people: the outcome of an action whose executor died in the middle of a step."""

    def __init__(self, settings: Settings, schema: Schema | None = None) -> None:
        """`schema` replaces `args` if the arguments depend on the configuration."""
        self.settings = settings
        self.schema = schema or self.args()
        self.secret_fields = frozenset(
            name for name, field in self.schema.fields.items() if field.metadata.get("secret")
        )

    @classmethod
    def offered(cls, settings: Settings) -> "Iterator[Kind]":
        """The kinds of this class that the node offers, usually one. Raises `NotOffered`."""
        yield cls(settings)

    @property
    def description(self) -> str:
        """The docstring of the class in one line."""
        return " ".join((type(self).__doc__ or "").split())

    def args_schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return json_schema(self.schema)

    def load(self, args: Json) -> Any:
        """Validate the arguments and return them as `Step.args`. Raises `InvalidArgs` with the errors by member."""
        if args == {} and not self.schema.fields:
            return {}
        return load(self.schema, args, f"{self.name} does not accept these arguments")

    def load_resumed(self, args: Json, payload: Json) -> Any:
        """Load the arguments of an action that has begun; the configuration may have changed since.

        `payload` is the newest payload of the action. Raises `InvalidArgs` if the arguments are no longer valid.
        """
        return self.load(args)

    def split_secrets(self, args: Json) -> tuple[Json, dict[str, Json]]:
        """The arguments with their secrets masked, and the secrets."""
        if not self.secret_fields or not isinstance(args, dict):
            return args, {}
        secrets = {name: value for name, value in args.items() if name in self.secret_fields}
        return args | dict.fromkeys(secrets, MASK), secrets

    def resource(self, args: Any) -> tuple[str, str]:
        """Type and name of the resource that an action with these loaded arguments acts on."""
        return self.resource_type, self.settings.agent.node

    def plan(self, args: Any) -> Plan:
        """The plan: the effect of an action with these loaded arguments now. Only reads; changes nothing."""
        return unknown(f"{self.name} would run; the agent cannot tell what it would change")

    def preview(self, args: Any) -> Plan:
        """The plan for a waiting caller: `unknown` if a server does not answer soon."""
        return self.plan(args)

    def step(self, step: Step) -> StepResult:
        """Do the next short piece of work. An exception fails the action with the exception's message."""
        raise NotImplementedError

    def resume(self, step: Step) -> StepResult:
        """The first step after an executor died in the middle of a step, whose effect is therefore unknown.

        Read the present state, then continue, finish or fail. This default is for kinds that cannot read it: it fails.
        """
        return Failed(
            {"interrupted": True, "payload": step.payload},
            "interrupted by a stop of the agent in the middle of a step; it may or may not have taken effect",
        )

    @classmethod
    def describe_leftovers(cls, payload: Any) -> str:
        """For people: the completed and the missing work of an action that cannot continue.

        Uses only the payload, because the kind and its resource may no longer be configured.
        """
        return "the action ended before it was complete; `payload` shows its progress"

    def cancel(self, step: Step) -> str | None:
        """Undo or end the work of the steps after a cancel or a timeout. The step's command has ended already.

        Returns a sentence about the resulting state for the action's message, or None.
        """
        return None
