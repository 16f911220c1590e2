"""Retry a change after a conflict, and determine its outcome after a lost connection."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown
from agent.datastores.postgresql.connection import Conflict, ConnectionLost

ATTEMPTS = 5
T = TypeVar("T")


def repeated(change: Callable[[], T]) -> T:
    """The result of `change`, which is retried a few times on `Conflict`."""
    for attempt in range(1, ATTEMPTS):
        try:
            return change()
        except Conflict:
            time.sleep(random.uniform(0.5, 1.0) * 0.05 * 2**attempt)  # random: two agents must not collide repeatedly
    return change()


def settled(change: Callable[[], T], look: Callable[[], T | None]) -> T:
    """The result of `change`; after a lost connection, the result of `look` once the statement has ended.

    `look` returns None if the change did not take effect. Raises `OutcomeUnknown` if the outcome stays unknown.
    """
    try:
        return repeated(change)
    except ConnectionLost as error:
        try:
            found = look()
        except DatastoreError as why:
            unknown = f"{error}; it is unknown whether it took effect, and it may still do so: {why}"
            raise OutcomeUnknown(unknown, error.waits_for) from None
        if found is None:
            raise DatastoreRefused(f"{error}; it did not take effect") from None
        return found
