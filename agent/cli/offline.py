"""Reads the database of a stopped agent without changing it; returns lists and actions in the format of the API."""

import fcntl
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from agent.cli.exits import Missing, Usage
from agent.client import ACTIONS, Answer, Client, Refused


class Offline(Client):
    """A client that reads from a private copy of the database, removed at the end of the process.

    A copy, because SQLite writes beside the file even for reading. Raises `Usage` if an agent runs on the database.
    """

    def __init__(self, file: str) -> None:
        super().__init__(f"file:{file}")
        db = Path(file)
        _refuse_running(db)
        # Imported here: a call to a running agent does not need it.
        from agent.store import Store

        self._folder = TemporaryDirectory(prefix="agentctl-")
        copy = Path(self._folder.name) / "agent.db"
        self._store = Store(copy)
        try:
            _copy(db, copy)
            _refuse_other_schema(db, copy)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._store.close()
        self._folder.cleanup()

    def get(self, path: str, tag: str = "", wait: float = 0, **query: Any) -> Answer:
        """Raises `Usage` for a path that only a running agent supports."""
        name, _, rest = path.removeprefix(f"{ACTIONS}/").partition("/")
        if name == "list" and not tag:
            return Answer(200, {}, self._list(**query))
        if name == "info" and not wait:
            return Answer(200, {}, self._info(rest))
        raise Usage("--db supports only queue, finished, list and info: the agent does not run")

    def post(self, verb: str, name: str, body: Any = None, headers: Any = None) -> NoReturn:
        raise Usage("--db changes nothing: the agent does not run")

    def _list(
        self,
        limit: int = 100,
        state: str | None = None,
        kind: str | None = None,
        user: str | None = None,
        resource: str | None = None,
        since: str | None = None,
        until: str | None = None,
        cursor: int | None = None,
    ) -> dict[str, Any]:
        from agent.models import State
        from agent.store import action_list, actions
        from agent.wire.rows import item_fields

        type_, _, name = (resource or "").partition("/")
        wanted = action_list.Filter(
            states=tuple(map(State, state.split(","))) if state else None,
            kind=kind,
            user=user,
            resource_type=type_ or None,
            resource_name=name or None,
            since=_microseconds(since),
            until=_microseconds(until),
            before=actions.LAST if cursor is None else cursor,
        )
        items = action_list.page(self._store, wanted, limit)
        following = items[-1].seq if len(items) == limit else None
        return {"items": [item_fields(item, None) for item in items], "next": following}

    def _info(self, action_id: str) -> Any:
        from agent.errors import ActionNotFound
        from agent.store import actions
        from agent.wire.rows import action_fields, transition_fields

        try:
            action, version = actions.by_id(self._store, action_id)
        except ActionNotFound as error:
            raise Refused(404, {"error": str(error)}) from None
        history = [transition_fields(action, each) for each in actions.history(self._store, action, version)]
        return {"action": action_fields(action, None, actions.started(self._store, action)), "history": history}


def _refuse_running(db: Path) -> None:
    with suppress(FileNotFoundError), db.with_name(f"{db.name}.lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Usage(f"an agent runs on {db}: run the command without --db") from None


def _copy(db: Path, copy: Path) -> None:
    try:
        shutil.copyfile(db, copy)
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{db}-wal", f"{copy}-wal")
    except FileNotFoundError:
        raise Missing(f"there is no database at {db}") from None


def _refuse_other_schema(db: Path, copy: Path) -> None:
    from agent.store.migrate import migrations

    expected = len(migrations())
    try:
        connection = sqlite3.connect(copy)
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise Usage(f"{db} is no database of an agent: {error}") from None
    if found != expected:
        raise Usage(f"{db} has schema {found}, and this agentctl reads {expected}: use the agentctl of that agent")


def _microseconds(moment: str | None) -> int | None:
    from datetime import datetime

    return None if moment is None else round(datetime.fromisoformat(moment).timestamp() * 1_000_000)
