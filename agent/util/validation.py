"""Validation by a marshmallow schema, with its nested messages flattened to one level."""

from typing import Any

from marshmallow import Schema, ValidationError

from agent.errors import NO_MEMBER, InvalidArgs


def load(schema: Schema, given: Any, refusal: str) -> Any:
    """`given`, loaded by the schema. Raises `InvalidArgs` with the message `refusal` and the errors by member."""
    try:
        return schema.load(given)
    except ValidationError as error:
        raise InvalidArgs(refusal, details=by_path(error.messages)) from None


def by_path(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    """The messages by the path of their member: `{"a.0.b": [...]}`."""
    if not isinstance(messages, dict):
        texts = messages if isinstance(messages, list) else [messages]
        return {prefix or NO_MEMBER: [str(text) for text in texts]}
    flat: dict[str, list[str]] = {}
    for name, inner in messages.items():
        flat |= by_path(inner, f"{prefix}.{name}" if prefix else str(name))
    return flat
