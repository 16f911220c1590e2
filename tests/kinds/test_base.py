"""The base class of kinds: arguments, secrets, resources, and the default after an interruption."""

from typing import Any

import pytest
from marshmallow import fields, validate

from agent import clock
from agent.config import Agent, Settings
from agent.errors import InvalidArgs
from agent.kinds.base import MASK, Args, Done, Failed, Kind, Step, StepResult
from agent.kinds.base.arguments import Number, Whole
from agent.models import Action, State


class Inner(Args):
    size = fields.Integer(strict=True, required=True)


class PlainArgs(Args):
    name = fields.String(required=True, validate=validate.Length(1, 8))
    password = fields.String(metadata={"secret": True})
    limit = Number(load_default=1.5)
    count = Whole()
    inner = fields.Nested(Inner)
    parts = fields.List(fields.Nested(Inner))


class Plain(Kind):
    """Do nothing,
    in two lines.
    """

    name = "plain"
    args = PlainArgs

    def step(self, step: Step) -> StepResult:
        return Done()


class Bare(Kind):
    name = "bare"


@pytest.fixture
def kind() -> Plain:
    return Plain(Settings(agent=Agent(node="db-1")))


def step_of(payload: Any) -> Step:
    now = clock.now()
    return Step(Action(1, "id", "plain", {}, {}, "API", State.RUNNING, payload, now, now, None), {}, payload)


def wrong(kind: Kind, args: Any) -> dict[str, Any]:
    """The mistakes in the arguments, by member."""
    with pytest.raises(InvalidArgs) as caught:
        kind.load(args)
    assert caught.value.status == 400
    assert kind.name in caught.value.message
    assert caught.value.details
    return dict(caught.value.details)


def test_arguments_are_loaded_with_their_defaults(kind: Plain) -> None:
    assert kind.load({"name": "a"}) == {"name": "a", "limit": 1.5}


@pytest.mark.parametrize("count", [8, 8.0])
def test_whole_float_is_loaded_as_an_integer(kind: Plain, count: float) -> None:
    loaded = kind.load({"name": "a", "count": count})["count"]
    assert (loaded, type(loaded)) == (8, int)


@pytest.mark.parametrize(
    ("args", "members"),
    [
        ({}, {"name"}),
        ({"name": "a", "nmae": "b"}, {"nmae"}),
        ({"name": ""}, {"name"}),
        ({"name": None}, {"name"}),
        ({"name": 5}, {"name"}),
        ({"name": "a", "limit": "5"}, {"limit"}),
        ({"name": "a", "count": 1.5}, {"count"}),
        ({"name": "a", "count": "1"}, {"count"}),
        ({"name": "a", "count": True}, {"count"}),
        ({"name": "a", "inner": {}}, {"inner.size"}),
        ({"name": "a", "inner": {"size": 1, "more": 1}}, {"inner.more"}),
        ({"name": "a", "parts": [{"size": 1}, {"size": "2"}, {}]}, {"parts.1.size", "parts.2.size"}),
        ({"limit": [], "parts": {}}, {"name", "limit", "parts"}),
    ],
)
def test_every_wrong_argument_is_reported(kind: Plain, args: Any, members: set[str]) -> None:
    assert set(wrong(kind, args)) == members


@pytest.mark.parametrize("args", [[], "text", 1, 1.5, True, None, [{"name": "a"}]])
def test_arguments_that_are_not_an_object_are_refused(kind: Plain, args: Any) -> None:
    assert set(wrong(kind, args)) == {"_schema"}


@pytest.mark.parametrize("args", [{"a": 1}, [], None])
def test_a_kind_without_arguments_takes_none(args: Any) -> None:
    kind = Bare(Settings())
    assert kind.load({}) == {}
    wrong(kind, args)


def test_split_secrets_returns_masked_arguments_and_the_secrets(kind: Plain) -> None:
    args = {"name": "a", "password": "hunter22"}
    public, secrets = kind.split_secrets(args)
    assert public == {"name": "a", "password": MASK}
    assert secrets == {"password": "hunter22"}
    assert args["password"] == "hunter22", "the request itself is left alone"
    assert kind.load(public | secrets) == kind.load(args)


@pytest.mark.parametrize("args", [{"name": "a"}, {}])
def test_arguments_without_a_secret_are_not_masked(kind: Plain, args: dict[str, Any]) -> None:
    assert kind.split_secrets(args) == (args, {})


def test_the_default_resource_of_a_kind_is_this_node(kind: Plain) -> None:
    assert kind.resource({}) == ("Server", "db-1")


def test_the_docstring_of_a_kind_is_its_description(kind: Plain) -> None:
    assert kind.description == "Do nothing, in two lines."
    assert Bare(Settings()).description == ""


def test_interruption_is_a_failure_unless_a_kind_overrides_resume(kind: Plain) -> None:
    outcome = kind.resume(step_of({"half": 1}))
    assert isinstance(outcome, Failed)
    assert outcome.payload == {"interrupted": True, "payload": {"half": 1}}
    assert "may or may not" in outcome.message


def test_kind_is_cancellable_with_a_timeout_of_an_hour_by_default(kind: Plain) -> None:
    assert kind.cancellable
    assert kind.timeout == 3600
    kind.cancel(step_of(None))


def test_kind_without_a_step_raises() -> None:
    with pytest.raises(NotImplementedError):
        Bare(Settings()).step(step_of(None))
