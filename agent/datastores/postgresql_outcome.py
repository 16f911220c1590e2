"""The outcome of a change: it is repeated after a conflict, and looked at again after a lost connection."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from agent.datastores.base import DatastoreError, DatastoreRefused, OutcomeUnknown
from agent.datastores.postgresql_connection import Conflict, ConnectionLost

ATTEMPTS = 5
T = TypeVar("T")


def repeated(change: Callable[[], T]) -> T:
    """What `change` returns, which is called a few times where another session's change is in its way."""
    for attempt in range(1, ATTEMPTS):
        try:
            return change()
        except Conflict:
            time.sleep(random.uniform(0.5, 1.0) * 0.05 * 2**attempt)  # two agents must not meet again and again
    return change()


def settled(change: Callable[[], T], look: Callable[[], T | None]) -> T:
    """What `change` returns. Where its connection is lost: what `look` finds once the server has ended the statement.

    `look` returns None where the change did not take effect. Raises `OutcomeUnknown` where that cannot be known.
    """
    try:
        return repeated(change)
    except ConnectionLost as error:
        try:
            found = look()
        except DatastoreError as why:
            unknown = f"{error}; it is not known whether it took effect, and it may still do so: {why}"
            raise OutcomeUnknown(unknown, error.waits_for) from None
        if found is None:
            raise DatastoreRefused(f"{error}; it did not take effect") from None
        return found
