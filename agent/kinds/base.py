"""What a kind of action is: it checks arguments, and does its work in short steps that tell what became of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError

from agent.config import Settings
from agent.errors import InvalidArgs
from agent.kinds.arguments import json_schema
from agent.models import Action, Json
from agent.plan import Danger, Plan, unknown
from agent.stop import Stop

MASK = "********"
"""What a secret looks like wherever it is shown."""


@dataclass(frozen=True, slots=True)
class Running:
    """The action continues: the next step is due `after` seconds.

    `measured`: the payload differs from the one before by a measurement of progress alone. The history keeps the
    newest of such measurements in a row.
    """

    payload: Json = None
    after: float = 0.0
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The action has reached what it was asked for; `message` says so to a person."""

    payload: Json = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The action ended without; `message` says why to a person."""

    payload: Json = None
    message: str = ""


Outcome = Running | Done | Failed


def failed(message: str, **more: Json) -> Failed:
    """A failure whose payload says the same to programs, and `more` that is worth knowing."""
    return Failed({"message": message, **more}, message)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a running action, as its kind sees it.

    `args` are the loaded arguments, secrets included. `payload` is what the step before returned,
    None in the first; of a kind with secrets its texts may come back masked, so that such a kind
    keeps what it must know again in members, numbers and truths. `stop` tells that the action is
    to end now. `version` is that of the transition before: the same for a step and for the
    `resume` after it, another one for the next step that has something new to tell.
    """

    action: Action
    args: Any
    payload: Json = None
    stop: Stop = field(default_factory=Stop)
    version: int = 0


class NotOffered(Exception):
    """This node cannot do it; the message says what to configure or install."""


class Args(Schema):
    """The arguments of a kind: exactly the members declared, `{}` where none are.

    A field with `metadata={"secret": True}` is kept until the action is final and never shown;
    `metadata={"description": …}` is shown by `available`.
    """


class Kind:
    """A kind of action. Subclasses say `name`, `args`, and what a `step` does; the docstring is its description."""

    name: str
    args: ClassVar[type[Schema]] = Args
    result: ClassVar[type[Schema] | None] = None
    """The payload of the final DONE, and so the AsyncAction's `finished_result`; None: as the docstring says."""
    danger: ClassVar[Danger] = Danger.NONE
    """The worst that an action of this kind can do."""
    timeout: ClassVar[float] = 3600.0
    """Seconds it may run, unless `actions.timeouts` says otherwise."""
    cancellable: ClassVar[bool] = True
    """Whether it may be stopped between two steps, or by ending the command of one."""
    holdable: ClassVar[bool] = True
    """Whether `maintenance.holds` may keep it in the queue."""
    resource_type: ClassVar[str] = "Server"
    configuration: ClassVar[str] = "None."
    """For people: the options that make the node offer it, and that change what it does."""
    privileges: ClassVar[str] = "None."
    """For people: what the agent's own user must be allowed."""
    interruption: ClassVar[str] = "It fails and says that it may or may not have taken effect."
    """For people: what becomes of an action whose executor died in the middle of a step."""

    def __init__(self, settings: Settings, schema: Schema | None = None) -> None:
        """`schema` stands for `args` where the arguments depend on the configuration."""
        self.settings = settings
        self.schema = schema or self.args()
        self.secret_fields = frozenset(
            name for name, field in self.schema.fields.items() if field.metadata.get("secret")
        )

    @classmethod
    def offered(cls, settings: Settings) -> "Iterator[Kind]":
        """The kinds of this class that the node offers, most often the one. Raises `NotOffered`."""
        yield cls(settings)

    @property
    def description(self) -> str:
        """What it does, in a sentence or two."""
        return " ".join((type(self).__doc__ or "").split())

    def args_schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return json_schema(self.schema)

    def load(self, args: Json) -> Any:
        """The arguments as the steps get them. Raises `InvalidArgs` with what is wrong by member."""
        if args == {} and not self.schema.fields:
            return {}
        try:
            return self.schema.load(args)
        except ValidationError as error:
            raise InvalidArgs(f"{self.name} does not accept these arguments", details=_flat(error.messages)) from None

    def load_again(self, args: Json, payload: Json) -> Any:
        """The arguments of an action that has come to this payload, under a configuration that may be another by now.

        Raises `InvalidArgs` where they mean nothing any more.
        """
        return self.load(args)

    def conceal(self, args: Json) -> tuple[Json, dict[str, Json]]:
        """The arguments with their secrets masked, and the secrets."""
        if not self.secret_fields or not isinstance(args, dict):
            return args, {}
        secrets = {name: value for name, value in args.items() if name in self.secret_fields}
        return args | dict.fromkeys(secrets, MASK), secrets

    def resource(self, args: Any) -> tuple[str, str]:
        """Type and name of what these (loaded) arguments act on."""
        return self.resource_type, self.settings.agent.node

    def plan(self, args: Any) -> Plan:
        """What an action with these (loaded) arguments would do now. Reads the world and changes nothing."""
        return unknown(f"{self.name} would run; the agent cannot tell what it would change")

    def preview(self, args: Any) -> Plan:
        """The plan for a caller who waits for it: a server that does not answer soon makes it `unknown`."""
        return self.plan(args)

    def step(self, step: Step) -> Outcome:
        """Do the next short piece of work. An exception is a failure with its message."""
        raise NotImplementedError

    def resume(self, step: Step) -> Outcome:
        """The first step after an executor died in the middle of one, so that what that one did is not known.

        Look at the world, then go on, finish or fail honestly. A kind that cannot look says so here.
        """
        return Failed(
            {"interrupted": True, "payload": step.payload},
            "interrupted by a stop of the agent in the middle of a step; it may or may not have taken effect",
        )

    @classmethod
    def left(cls, payload: Any) -> str:
        """What was done and what is left of an action that cannot go on, for people.

        By the payload alone: neither the kind nor what it acts on need be configured any more.
        """
        return "it was left in the middle, and `payload` tells how far it came"

    def cancel(self, step: Step) -> str | None:
        """Undo or end what the steps began, after a cancel or a timeout; the command of the step has been ended.

        Returns a sentence about the state that is left, for the action's message.
        """
        return None


def _flat(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    """marshmallow's messages, nested as the fields are, as `{"a.0.b": [...]}`."""
    if not isinstance(messages, dict):
        texts = messages if isinstance(messages, list) else [messages]
        return {prefix or "_schema": [str(text) for text in texts]}
    flat: dict[str, list[str]] = {}
    for name, inner in messages.items():
        flat |= _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    return flat
