"""Strict JSON parser: refuses NaN and Infinity, numbers too large for a float, and duplicate member names."""

import json
from typing import Any, NoReturn

from agent.models import Json


def loads(text: str) -> Json:
    """The parsed text. Raises `ValueError` with a message for the caller, and `RecursionError`."""
    return _decoder.decode(text)


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member name comes twice in one object")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder: Any = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_refuse_constant)
