"""The JSON of stored values."""

import json

from agent.models import Json

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def dumps(value: Json) -> str:
    """The JSON of a value, in ASCII, as SQLite stores no lone surrogate; raises ValueError for NaN."""
    return _encode(value) if value != {} else "{}"


def loads(text: str | None) -> Json:
    """The value of a text that `dumps` made; None for NULL."""
    return None if text is None else json.loads(text)
