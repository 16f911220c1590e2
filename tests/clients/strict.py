"""Strict decoders: every member present and of its type, no unknown member, only known enum values."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

Decoder = Callable[[Any], Any]
Typed = TypeVar("Typed")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


class Undecodable(AssertionError):
    """An answer that a typed model cannot hold."""


def text(value: Any) -> str:
    return _typed(str, value)


def whole(value: Any) -> int:
    """An integer of 64 bits; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise Undecodable(f"no integer: {value!r}")
    return value


def truth(value: Any) -> bool:
    return _typed(bool, value)


def anything(value: Any) -> Any:
    return value


def table(value: Any) -> dict[str, Any]:
    """An object of any members."""
    return _typed(dict, value)


def texts_by_name(value: Any) -> dict[str, str]:
    return {name: text(each) for name, each in table(value).items()}


def time(value: Any) -> datetime:
    if not TIME.fullmatch(text(value)):
        raise Undecodable(f"no time of RFC 3339: {value!r}")
    return datetime.fromisoformat(value)


def identifier(value: Any) -> uuid.UUID:
    """A uuid, hyphenated and in lower case."""
    if str(found := uuid.UUID(text(value))) != value:
        raise Undecodable(f"no uuid in its usual form: {value!r}")
    return found


def one_of(*known: str) -> Decoder:
    def decode(value: Any) -> str:
        if value not in known or not isinstance(value, str):
            raise Undecodable(f"{value!r} is none of {known}")
        return value

    return decode


def maybe(inner: Decoder) -> Decoder:
    """The member is required and may be null."""
    return lambda value: None if value is None else inner(value)


def listed(inner: Decoder) -> Decoder:
    return lambda value: [inner(each) for each in _typed(list, value)]


def either(*decoders: Decoder) -> Decoder:
    """The result of the first decoder that accepts the value."""

    def decode(value: Any) -> Any:
        problems = []
        for each in decoders:
            try:
                return each(value)
            except (Undecodable, ValueError) as problem:
                problems.append(str(problem))
        raise Undecodable("; ".join(problems))

    return decode


def record(
    members: Mapping[str, Decoder], optional: Mapping[str, Decoder] | None = None, *, open: bool = False
) -> Decoder:
    """An object of exactly these members; the `optional` ones may be absent. An `open` one may have others."""
    known = dict(members) | dict(optional or {})

    def decode(value: Any) -> dict[str, Any]:
        found = table(value)
        if missing := set(members) - set(found):
            raise Undecodable(f"without {sorted(missing)}: {found!r}")
        if (more := set(found) - set(known)) and not open:
            raise Undecodable(f"unknown members {sorted(more)}: {found!r}")
        return {name: _member(name, known.get(name, anything), each) for name, each in found.items()}

    return decode


def _member(name: str, decoder: Decoder, value: Any) -> Any:
    try:
        return decoder(value)
    except (Undecodable, ValueError) as problem:
        raise Undecodable(f"{name}: {problem}") from None


def _typed(cls: type[Typed], value: Any) -> Typed:
    if type(value) is not cls:
        raise Undecodable(f"no {cls.__name__}: {value!r}")
    found: Typed = value
    return found
