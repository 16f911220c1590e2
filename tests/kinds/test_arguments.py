"""Argument fields accept only their JSON type, and their JSON Schema describes every constraint."""

from typing import Any

import pytest
from marshmallow import ValidationError, fields, validate

from agent.datastores.replication_requests import Lag
from agent.kinds.base import Args
from agent.kinds.base.arguments import Flag, LagLimit, Listed, Names, Number, spelled_as_declared
from agent.kinds.base.json_schema import json_schema


class NumberArgs(Args):
    value = Number(validate=validate.Range(0, 10))


class FlagArgs(Args):
    value = Flag(load_default=False)


class Item(Args):
    size = fields.Integer(strict=True, required=True)


class FullArgs(Args):
    name = fields.String(required=True, validate=validate.Length(1, 63), metadata={"description": "Whose."})
    password = fields.String(required=True, metadata={"secret": True})
    mode = fields.String(load_default="soft", validate=validate.OneOf(["soft", "hard"]))
    code = fields.String(validate=validate.Regexp(r"^[a-z]+$"))
    count = fields.Integer(strict=True, load_default=1, validate=validate.Range(1, 100), allow_none=True)
    ratio = Number(validate=validate.Range(min=0))
    force = Flag(load_default=False)
    tags = fields.List(fields.String(), load_default=list)
    items = fields.List(fields.Nested(Item))
    whole = fields.Nested(Item)
    free = fields.Dict()
    anything = fields.Raw()
    shown = fields.String(dump_only=True)


@pytest.mark.parametrize("value", [0, 1, 2.5, 10, 1e-9])
def test_a_number_is_a_number(value: float) -> None:
    assert NumberArgs().load({"value": value}) == {"value": float(value)}


@pytest.mark.parametrize("value", ["1", "", None, True, False, [], {}, -1, 11, float("nan"), float("inf"), 10**400])
def test_value_that_is_not_a_number_within_the_limits_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        NumberArgs().load({"value": value})


@pytest.mark.parametrize("value", [True, False])
def test_boolean_is_true_or_false(value: bool) -> None:
    assert FlagArgs().load({"value": value}) == {"value": value}


@pytest.mark.parametrize("value", [0, 1, "true", "false", "", None, [], {}])
def test_value_that_is_not_a_boolean_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        FlagArgs().load({"value": value})


@pytest.mark.parametrize("member", ["names", "listed"])
def test_hundred_names_are_accepted_and_one_more_is_refused_at_once(member: str) -> None:
    class Many(Args):
        names = Names()
        listed = Listed(fields.String(), validate=validate.Length(max=100))

    assert len(Many().load({member: ["a"] * 100})[member]) == 100
    assert json_schema(Many())["properties"][member]["maxItems"] == 100
    for wrong in ("a", 1):
        with pytest.raises(ValidationError) as refused:
            Many().load({member: [wrong] * 101})
        assert len(str(refused.value.messages)) < 100


def test_json_schema_has_every_constraint_of_the_arguments() -> None:
    size = {
        "type": "object",
        "properties": {"size": {"type": "integer"}},
        "additionalProperties": False,
        "required": ["size"],
    }
    assert json_schema(FullArgs()) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "password"],
        "properties": {
            "name": {"type": "string", "description": "Whose.", "minLength": 1, "maxLength": 63},
            "password": {"type": "string", "writeOnly": True},
            "mode": {"type": "string", "default": "soft", "enum": ["soft", "hard"]},
            "code": {"type": "string", "pattern": "^[a-z]+$"},
            "count": {"type": ["integer", "null"], "default": 1, "minimum": 1, "maximum": 100},
            "ratio": {"type": "number", "minimum": 0},
            "force": {"type": "boolean", "default": False},
            "tags": {"type": "array", "items": {"type": "string"}},
            "items": {"type": "array", "items": size},
            "whole": size,
            "free": {"type": "object"},
            "anything": {},
        },
    }


def test_no_arguments_are_an_empty_object() -> None:
    assert json_schema(Args()) == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("args", "spelled"),
    [
        ({"container": 1}, {"container_id": 1}),
        ({"container_id": 1}, {"container_id": 1}),
        ({"container": 1, "container_id": 2}, {"container": 1, "container_id": 2}),
        ({"process_name": 1}, {"process_name": 1}),
        ({"other": 1}, {"other": 1}),
        ({}, {}),
    ],
)
def test_argument_may_be_spelled_with_or_without_its_suffix(args: dict[str, Any], spelled: dict[str, Any]) -> None:
    class Declared(Args):
        container_id = fields.Raw()

    assert spelled_as_declared(Declared(), args) == spelled


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (0, Lag(bytes=0)),
        (1024, Lag(bytes=1024)),
        ("16MB", Lag(bytes=16 << 20)),
        ("1.5 kB", Lag(bytes=1536)),
        ("5s", Lag(seconds=5)),
        ("2min", Lag(seconds=120)),
    ],
)
def test_a_limit_of_lag_is_bytes_or_a_text_with_a_unit(given: object, limit: Lag) -> None:
    assert LagLimit().deserialize(given) == limit


@pytest.mark.parametrize("given", [-1, True, 1.5, "5", "5 h", "MB", "\u0665s", [], None])
def test_invalid_limit_of_lag_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        LagLimit().deserialize(given)
