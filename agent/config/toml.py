"""Parse TOML; too deep nesting is reported as a mistake of the file."""

import tomllib
from typing import Any

Mistake = tomllib.TOMLDecodeError


def loads(text: str) -> dict[str, Any]:
    """The document. Raises `Mistake`."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise Mistake("nested too deeply") from None
