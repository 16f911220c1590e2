"""JSON as it is stored."""

import json

from agent.models import Json

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def dumps(value: Json) -> str:
    """The JSON that is stored: ASCII, so that a lone surrogate passes; raises ValueError for NaN."""
    return _encode(value) if value != {} else "{}"


def loads(text: str | None) -> Json:
    """The value of a text that `dumps` made; None for NULL."""
    return None if text is None else json.loads(text)
