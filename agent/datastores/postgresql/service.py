"""Stop and start the service of a PostgreSQL around a change of its data, and wait until it follows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.connection import Target, one
from agent.datastores.postgresql.primary import Primary
from agent.supervisors.base import SupervisorFailed
from agent.util.pauses import Pauses
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Status, Supervisor

PATIENCE = 60.0
"""Maximum seconds without progress of a server that starts or receives."""
STOPPING = 600.0
"""Timeout in seconds of the service's stop."""
STARTING = 3.0
"""Seconds after a start until a service that is stopped counts as failed: before, it may not have started yet."""
# The greater of received and replayed: a new receiver reports the start of a segment until data arrives.
ENDS = """
    SELECT CASE WHEN pg_is_in_recovery() THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_flush_lsn() END::text
"""
RECEIVED = """
    SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
           COALESCE(GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= %s::pg_lsn, false),
           pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text, pg_is_in_recovery()
"""


def end_of(primary: Primary) -> str | None:
    """The present end of WAL of a source. Raises `DatastoreError`."""
    with primary.target.connect() as connection:
        end: str | None = one(connection, ENDS)
        return end


class PostgresqlService:
    """The service of `[service]`, which must be the service of this server."""

    def __init__(self, supervisor: Supervisor, server: Target, stop: Stop | None = None) -> None:
        """`stop` ends only the wait until the server follows."""
        self.supervisor, self.server = supervisor, server
        self._until = stop or Stop()

    def stop(self) -> None:
        """Stop the server. Raises `DatastoreError` if it is not down afterwards."""
        if not self.supervisor.status(Stop()).stopped:
            self.supervisor.stop(Stop())
        if not poll(lambda: self.supervisor.status(Stop()).stopped, STOPPING):
            raise DatastoreError(f"its service {self.supervisor.subject} has not stopped in {STOPPING:g} s")
        self.check_down()

    def check_down(self) -> None:
        """Raises `DatastoreError` if the server runs although its service is stopped."""
        if self.server.is_up():
            raise DatastoreError(
                f"PostgreSQL at {self.server.address} still runs, its service is stopped: [service] is not its service"
            )

    def check_is_its(self, up: bool) -> None:
        """Raises `DatastoreError` if the service reports stopped while the server runs."""
        if up and self.supervisor.status(Stop()).stopped:
            self.check_down()

    def start(self) -> None:
        """Start the service. Raises `DatastoreError` if the supervisor refuses."""
        try:
            self.supervisor.start(Stop())
        except SupervisorFailed as error:
            raise DatastoreError(f"it does not start: {error}") from None

    def await_answer(self) -> None:
        """Wait until the server accepts connections. Raises `DatastoreError`."""
        self._await(lambda: (None, self.server.accepts_connections()), "does not accept connections")

    def await_following(self, primary: Primary) -> None:
        """Wait until the server receives, and has received the source's present WAL. Raises `DatastoreError`.

        The WAL may be replayed later, because of `recovery_min_apply_delay` or a pause.
        """
        goal = end_of(primary)

        def look() -> tuple[Any, bool]:
            if self._until.requested:
                raise DatastoreError(f"cancelled: {self._until.reason}")
            try:
                with self.server.connect() as connection:
                    row: Any = connection.execute(RECEIVED, (goal or "0/0",)).fetchone()
            except DatastoreError:
                return None, False
            return row, bool(row[0] and (row[1] or goal is None))

        self._await(look, f"does not follow {primary.target.address}")

    def _await(self, look: Any, otherwise: str) -> None:
        seen: Any = None
        changed = time.monotonic()
        pauses = Pauses()
        while True:
            looked, enough = look()
            if enough and self.supervisor.watch(_starting, PATIENCE, self._until).running:
                return
            if looked != seen:
                seen, changed = looked, time.monotonic()
            if time.monotonic() > changed + PATIENCE:
                at = f" and makes no progress at {seen[2] or seen[3]}" if seen else ""
                raise DatastoreError(f"PostgreSQL at {self.server.address} {otherwise}{at}")
            if looked is None and time.monotonic() > changed + STARTING and self._ended():
                raise DatastoreError(
                    f"PostgreSQL at {self.server.address} exits immediately after its start: see its log"
                )
            time.sleep(pauses.next())

    def _ended(self) -> bool:
        return self.supervisor.status(Stop()).stopped


def _starting(status: Status) -> float:
    """Seconds to wait for the supervisor: it may notice later than the server's clients that the server is up."""
    return 0.0 if status.running or status.stopped else PATIENCE
