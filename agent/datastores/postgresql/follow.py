"""Point a PostgreSQL to another source: by a reload if it is a standby, otherwise by a restart as a standby."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.connection import Connection, Target, one
from agent.datastores.postgresql.files import AUTO, DataDirectory
from agent.datastores.postgresql.primary import Primary
from agent.datastores.postgresql.service import PostgresqlService
from agent.datastores.termination import Terminated
from agent.supervisors.base import SupervisorFailed
from agent.util import atomic_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.datastores.postgresql.plan import Comparison


def follow_by_reload(
    server: Target, primary: Primary, service: PostgresqlService, progress: Callable[[str], None]
) -> None:
    """Point a running standby to the primary. After a `DatastoreError` it follows the previous source."""
    with server.connect() as connection:
        before = {name: one(connection, f"SHOW {name}") for name in primary.settings()}
    try:
        progress("setting the new source")
        _set(server, primary.settings())
        progress("waiting until it follows")
        service.await_following(primary)
    except (DatastoreError, Terminated) as error:
        _set(server, before)
        why = "cancelled" if isinstance(error, Terminated) else str(error)
        raise DatastoreError(f"{why}; it follows its previous source") from None


def follow_by_restart(
    data: DataDirectory, outlook: Comparison, service: PostgresqlService, progress: Callable[[str], None]
) -> None:
    """Start a server without diverged data as a standby. After a `DatastoreError` it is in its previous state."""
    before = _Before(data)
    up = outlook.mine.up
    try:
        if up:
            progress("stopping the server")
        service.stop()
        data.make_standby(data.data, outlook.primary.settings())
        progress("starting the server")
        service.start()
        progress("waiting until it follows")
        service.await_following(outlook.primary)
    except (DatastoreError, SupervisorFailed, OSError, Terminated) as error:
        why = "cancelled" if isinstance(error, Terminated) else str(error)
        raise DatastoreError(f"{why}; {_undone(before, service, up, progress)}") from None


def _undone(before: _Before, service: PostgresqlService, up: bool, progress: Callable[[str], None]) -> str:
    progress("putting the old settings back")
    try:
        service.stop()
        before.restore()
        if not up:
            return "its old settings are back and the server is down as before"
        service.start()
        service.await_answer()
    except (DatastoreError, SupervisorFailed, OSError) as error:
        return f"the server is not in use: {error}"
    return "its old settings are back and the server runs as before"


class _Before:
    """A backup of the settings file and signal files of a data directory."""

    def __init__(self, data: DataDirectory) -> None:
        self.data = data
        self._auto = atomic_files.read(data.data / AUTO)
        self._signals = {name: (data.data / name).exists() for name in ("standby.signal", "recovery.signal")}

    def restore(self) -> None:
        """Restore the files."""
        with self.data.as_owner():
            atomic_files.replace(self.data.data / AUTO, self._auto or b"")
            for name, was_there in self._signals.items():
                if was_there:
                    atomic_files.replace(self.data.data / name, b"")
                else:
                    (self.data.data / name).unlink(missing_ok=True)


def _set(server: Target, settings: dict[str, str]) -> None:
    """Store the settings with ALTER SYSTEM and reload."""
    with server.connect() as connection:
        for name, value in settings.items():
            _alter(connection, name, value)
        connection.execute("SELECT pg_reload_conf()")


def _alter(connection: Connection, name: str, value: str) -> None:
    statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
    connection.execute(statement)
