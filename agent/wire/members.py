"""Members of answers, as marshmallow fields with the descriptions of the OpenAPI document."""

from typing import Any

from marshmallow import fields, validate

from agent.clock import rfc3339
from agent.models import Outcome, State


class Time(fields.String):
    """Microseconds since the epoch, serialized as an RFC 3339 time."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return rfc3339(value)


def text(about: str, **more: Any) -> fields.String:
    return fields.String(required=True, metadata={"description": about}, **more)


def anything(about: str, **more: Any) -> fields.Raw:
    return fields.Raw(required=True, allow_none=True, metadata={"description": about}, **more)


def timestamp(about: str, **more: Any) -> Time:
    return Time(required=True, metadata={"description": about, "format": "date-time"}, **more)


def number(about: str, **more: Any) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": about}, **more)


def flag(about: str, **more: Any) -> fields.Boolean:
    return fields.Boolean(required=True, metadata={"description": about}, **more)


def texts(about: str) -> "fields.List[str]":
    return fields.List(fields.String(), required=True, metadata={"description": about})


def mapping(about: str, **more: Any) -> fields.Dict:
    """An object; `values`: the field of its members, any by default."""
    return fields.Dict(required=True, metadata={"description": about}, **more)


def state_field() -> fields.String:
    about = "NEW waits, RUNNING is being executed, DONE and FAILED are final."
    return text(about, validate=validate.OneOf(list(State)))


def outcome_field() -> fields.String:
    return text(
        "The reason of the end; null until the action is final.",
        allow_none=True,
        validate=validate.OneOf(list(Outcome)),
    )
