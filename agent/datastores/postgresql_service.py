"""The service of a PostgreSQL around a change of its data: stopped for sure, started, and seen to follow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql_connection import Target, one
from agent.datastores.postgresql_primary import Primary
from agent.stop import Stop
from agent.supervisors.base import SupervisorFailed

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.1
PATIENCE = 60.0
"""Seconds that a server may stand still on its way to follow, in its start or in what it receives."""
STOPPING = 600.0
"""Seconds that its service may take to stop."""
STARTING = 3.0
"""Seconds after which a service that is stopped has ended, and does not begin to start."""
# Received or replayed: a receiver that starts counts from the beginning of a segment, until something new comes.
ENDS = """
    SELECT CASE WHEN pg_is_in_recovery() THEN GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                ELSE pg_current_wal_flush_lsn() END::text
"""
RECEIVED = """
    SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'),
           COALESCE(GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= %s::pg_lsn, false),
           pg_last_wal_receive_lsn()::text, pg_last_wal_replay_lsn()::text, pg_is_in_recovery()
"""


class Service:
    """The service of `[service]`, which must be that of the server."""

    def __init__(self, supervisor: Supervisor, server: Target, stop: Stop | None = None) -> None:
        """`stop` ends the wait until the server follows, and nothing else."""
        self.supervisor, self.server = supervisor, server
        self._until = stop or Stop()

    def stop(self) -> None:
        """Raises `DatastoreError` where it is not down in the end."""
        if not self.supervisor.status(Stop()).stopped:
            self.supervisor.stop(Stop())
        deadline = time.monotonic() + STOPPING
        while not self.supervisor.status(Stop()).stopped:
            if time.monotonic() > deadline:
                raise DatastoreError(f"its service {self.supervisor.subject} has not stopped in {STOPPING:g} s")
            time.sleep(LOOK_EVERY)
        self.check_down()

    def check_down(self) -> None:
        """Raises `DatastoreError` where the server runs although its service is stopped."""
        if self.server.is_up():
            raise DatastoreError(
                f"PostgreSQL at {self.server.address} still runs, its service is stopped: [service] is not its service"
            )

    def check_is_its(self, up: bool) -> None:
        """Raises `DatastoreError` where the service says stopped of a server that runs."""
        if up and self.supervisor.status(Stop()).stopped:
            self.check_down()

    def start(self) -> None:
        """Raises `DatastoreError` where its supervisor refuses."""
        try:
            self.supervisor.start(Stop())
        except SupervisorFailed as error:
            raise DatastoreError(f"it does not start: {error}") from None

    def await_answer(self) -> None:
        """Until the server lets us in. Raises `DatastoreError`."""
        self._await(lambda: (None, self.server.lets_in()), "does not let anybody in")

    def await_following(self, primary: Primary) -> None:
        """Until it receives, and has received what the source had by now. Raises `DatastoreError`.

        What it has received it may replay later, as `recovery_min_apply_delay` or a pause says.
        """
        with primary.target.connect() as connection:
            goal = one(connection, ENDS)

        def look() -> tuple[Any, bool]:
            if self._until.requested:
                raise DatastoreError(f"ended on request: {self._until.reason}")
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
        while True:
            looked, enough = look()
            if enough and self.supervisor.status(Stop()).running:  # its supervisor may learn of the start later
                return
            if looked != seen:
                seen, changed = looked, time.monotonic()
            if time.monotonic() > changed + PATIENCE:
                at = f", and stands still at {seen[2] or seen[3]}" if seen else ""
                raise DatastoreError(f"PostgreSQL at {self.server.address} {otherwise}{at}")
            if looked is None and time.monotonic() > changed + STARTING and self._ended():
                raise DatastoreError(f"PostgreSQL at {self.server.address} starts and ends at once: see its log")
            time.sleep(LOOK_EVERY)

    def _ended(self) -> bool:
        return self.supervisor.status(Stop()).stopped
