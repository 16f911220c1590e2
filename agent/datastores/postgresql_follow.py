"""A PostgreSQL is pointed at another source: by a reload where it is a standby, else by a restart as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from agent.datastores.base import DatastoreError, Terminated
from agent.datastores.postgresql_connection import Connection, Target, one
from agent.datastores.postgresql_files import AUTO, DataDirectory
from agent.datastores.postgresql_primary import Primary
from agent.datastores.postgresql_service import Service
from agent.hosts import files
from agent.supervisors.base import SupervisorFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.datastores.postgresql_plan import Outlook


def follow_by_reload(server: Target, primary: Primary, service: Service, progress: Callable[[str], None]) -> None:
    """Point a running standby at its source. Raises `DatastoreError`, and then it points where it did before."""
    with server.connect() as connection:
        before = {name: one(connection, f"SHOW {name}") for name in primary.settings()}
    try:
        progress("pointing at the primary")
        _set(server, primary.settings())
        progress("waiting until it follows")
        service.await_following(primary)
    except (DatastoreError, Terminated) as error:
        _set(server, before)
        why = "ended on request" if isinstance(error, Terminated) else str(error)
        raise DatastoreError(f"{why}; it points where it did before") from None


def follow_by_restart(data: DataDirectory, outlook: Outlook, service: Service, progress: Callable[[str], None]) -> None:
    """Start a server whose data has not diverged as a standby. Raises `DatastoreError`, and then it is as before."""
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
        why = "ended on request" if isinstance(error, Terminated) else str(error)
        raise DatastoreError(f"{why}; {_back(before, service, up, progress)}") from None


def _back(before: _Before, service: Service, up: bool, progress: Callable[[str], None]) -> str:
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
    """The settings file and signal files of a data directory, to be put back."""

    def __init__(self, data: DataDirectory) -> None:
        self.data = data
        self._auto = files.read(data.data / AUTO)
        self._signals = {name: (data.data / name).exists() for name in ("standby.signal", "recovery.signal")}

    def restore(self) -> None:
        """As they were."""
        with self.data.as_owner():
            files.replace(self.data.data / AUTO, self._auto or b"")
            for name, was_there in self._signals.items():
                if was_there:
                    files.replace(self.data.data / name, b"")
                else:
                    (self.data.data / name).unlink(missing_ok=True)


def _set(server: Target, settings: dict[str, str]) -> None:
    """Set them for good, and let the server read them."""
    with server.connect() as connection:
        for name, value in settings.items():
            _alter(connection, name, value)
        connection.execute("SELECT pg_reload_conf()")


def _alter(connection: Connection, name: str, value: str) -> None:
    statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
    connection.execute(statement)
