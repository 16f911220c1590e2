"""The status of a PostgreSQL for `GET /api/unstable/datastore`. Each fact is read separately."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from agent.datastores.base import DatastoreError, Role
from agent.datastores.postgresql import facts
from agent.datastores.postgresql.connection import Connection, Target, message_of
from agent.datastores.replication_requests import Lag
from agent.datastores.status import DatastoreStatus

T = TypeVar("T")


def status(server: Target, role: Callable[[], Role], is_dirty: Callable[[], bool]) -> DatastoreStatus:
    """The facts. An unavailable fact is None, with its error in `unknown`."""
    try:
        with server.connect() as connection:
            return _Facts(connection).all(role, is_dirty)
    except (DatastoreError, psycopg.Error) as error:
        return DatastoreStatus(reachable=False, error=str(error), dirty=_dirty(is_dirty))


def _dirty(is_dirty: Callable[[], bool]) -> bool | None:
    try:
        return is_dirty()
    except DatastoreError:
        return None


class _Facts:
    """Reads the facts and collects the errors."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unknown: dict[str, str] = {}

    def all(self, role: Callable[[], Role], is_dirty: Callable[[], bool]) -> DatastoreStatus:
        known = self._fact("role", lambda _: role())
        replica = known is not None and known.name == "replica"
        source = self._fact("source", lambda c: _source(c, known)) if replica else None
        return DatastoreStatus(
            reachable=True,
            version=self._fact("version", facts.version),
            cluster_id=self._fact("cluster_id", facts.cluster_id),
            role=known.name if known else None,
            writable=known.writable if known else None,
            streaming=self._fact("streaming", facts.streams) if replica else None,
            source=source,
            lag=(self._fact("lag", _lag) if replica else None) or Lag(),
            position=self._fact("position", facts.position),
            timeline=self._fact("timeline", facts.timeline),
            replicas=self._fact("replicas", facts.replicas) or (),
            slots=self._fact("slots", facts.slots) or (),
            synchronous=self._fact("synchronous", facts.synchronous) if not replica else None,
            dirty=self._fact("dirty", lambda _: is_dirty()),
            unknown=self._unknown,
        )

    def _fact(self, name: str, read: Callable[[Connection], T]) -> T | None:
        try:
            return read(self._connection)
        except psycopg.Error as error:
            if self._connection.broken:
                raise
            self._unknown[name] = message_of(error)
        except DatastoreError as error:
            self._unknown[name] = str(error)
        return None


def _source(connection: Connection, role: Role | None) -> dict[str, Any]:
    """The source of a replica. The state is `connecting` while the receiver waits for its source."""
    receiver = facts.receiver(connection)
    address = role.primary if role else None
    if receiver is None:
        state = "connecting" if address else "stopped"  # without an address it only replays an archive
    else:
        state = "streaming" if receiver[0] == "streaming" else "connecting"
    return {
        "address": address,
        "state": state,
        "last_message_age": None if receiver is None or receiver[1] is None else round(max(0.0, receiver[1]), 3),
        "error": None,
    }


def _lag(connection: Connection) -> Lag:
    """The lag of the visible data behind the last position that the source announced."""
    receiver = facts.receiver(connection)
    missing = None if receiver is None or receiver[2] is None else max(0, receiver[2])
    return Lag(bytes=missing, seconds=facts.seconds_behind(connection))
