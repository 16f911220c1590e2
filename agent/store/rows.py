"""Rows as dataclasses: a member is the column of its name."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from agent.models import Outcome, State
from agent.store.encoding import loads

T = TypeVar("T")


FORMS: Mapping[str, Callable[[Any], Any]] = {
    "args": loads,
    "headers": loads,
    "needs_approval": bool,
    "outcome": lambda value: Outcome(value) if value else None,
    "state": State,
    "state_payload": loads,
}
"""Members that are not what SQLite returns."""


def row_as(cls: Callable[..., T], row: sqlite3.Row, **given: Any) -> T:
    """The row as an instance of the dataclass `cls`; the row needs no column for members that are `given`."""
    stored, formed = _members(cls, tuple(given))
    return cls(**{name: row[name] for name in stored}, **{name: FORMS[name](row[name]) for name in formed}, **given)


@cache
def _members(cls: Any, given: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The members to read from a row: those that are as stored, and those in `FORMS`."""
    names = [each.name for each in fields(cls) if each.name not in given]
    return [name for name in names if name not in FORMS], [name for name in names if name in FORMS]
