"""Rows as dataclasses: each member has the value of the column of the same name."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from operator import itemgetter
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
"""Conversions of members that SQLite returns in another form."""


def row_as(cls: Callable[..., T], row: sqlite3.Row, **given: Any) -> T:
    """The row as an instance of the dataclass `cls`; the row needs no column for members that are `given`."""
    names, columns, formed = _members(cls, tuple(given))
    members = dict(zip(names, columns(row), strict=True))
    for name, form in formed:
        members[name] = form(members[name])
    return cls(**members, **given)


@cache
def _members(
    cls: Any, given: tuple[str, ...]
) -> tuple[list[str], Callable[[sqlite3.Row], Any], list[tuple[str, Callable[[Any], Any]]]]:
    """The members to read from a row, a function that reads them all, and the members with their `FORMS`."""
    names = [each.name for each in fields(cls) if each.name not in given]
    return names, itemgetter(*names), [(name, FORMS[name]) for name in names if name in FORMS]
