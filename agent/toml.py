"""TOML as the agent reads it: what is nested too deeply is a mistake of the file like any other."""

import tomllib
from typing import Any

Mistake = tomllib.TOMLDecodeError


def loads(text: str) -> dict[str, Any]:
    """The document. Raises `Mistake`."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise Mistake("nested too deeply") from None
