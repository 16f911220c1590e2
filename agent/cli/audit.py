"""The audit trail in the database of this host's agent: prints it, checks its chain, and adds events of commands."""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from agent import config
from agent.errors import ConfigError
from agent.models import Json
from agent.store import audit_events
from agent.store.audit_chain import faults
from agent.store.audit_tail import Unseen
from agent.util import drop_privileges

SHORTEST, LONGEST = 0.05, 1.0
"""Seconds between two reads of the database while `follow` waits, growing from the shortest to the longest."""


def show(since: int, *, follow: bool) -> None:
    """Print the trail from the database, as the agent's user; the agent need not run.

    `since`: microseconds since the epoch. Raises `ConfigError` if another program has changed the trail.
    """
    db = config.load().agent.db
    drop_privileges.become(db)
    if not db.exists():
        raise ConfigError(f"agent.db: there is no database at {db}")
    try:
        with closing(_opened(db)) as connection:
            unseen = Unseen(connection)
            trail = unseen.among(_read(connection, since, follow=follow))
            count = 0
            for event, fault in faults(trail):
                _refuse(db, fault)
                print(json.dumps(event), flush=True)
                count += 1
            _refuse(db, unseen.fault())
        # On standard error: a program may parse the events on standard output.
        print(f"{count} {'event' if count == 1 else 'events'} of {db}: the chain is complete", file=sys.stderr)
    except sqlite3.Error as error:
        raise ConfigError(f"agent.db: {db} cannot be read: {error}") from None
    except KeyboardInterrupt:
        return


def fault_of(connection: sqlite3.Connection) -> str:
    """The first fault of the trail; empty if there is none."""
    unseen = Unseen(connection)
    for _, fault in faults(unseen.among(_read(connection, 0, follow=False))):
        if fault:
            return f"the audit trail was changed by another program: {fault}"
    return unseen.fault()


def _refuse(db: Path, fault: str) -> None:
    if fault:
        raise ConfigError(f"the audit trail of {db} was changed by another program: {fault}")


def _opened(db: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    connection.row_factory = sqlite3.Row
    return connection


def _read(connection: sqlite3.Connection, since: int, *, follow: bool) -> Iterator[Mapping[str, Json]]:
    last = int(connection.execute(audit_events.BEFORE, (since,)).fetchone()[0])
    pause = SHORTEST
    while True:
        rows = connection.execute(audit_events.AFTER, (last, audit_events.PIECE)).fetchall()
        for row in rows:
            yield audit_events.shown(row)
            last = row["id"]
        if rows:
            pause = SHORTEST
        elif not follow:
            return
        else:
            time.sleep(pause)
            pause = min(LONGEST, pause * 1.5)


def note(db: Path, event: str, user: str, details: dict[str, Any]) -> str:
    """Add a command's event as the agent's user; returns the reason if that failed, else an empty text."""
    from agent.errors import StoreUnavailable, StoreUnusable
    from agent.store import Store

    store = Store(db)
    try:
        drop_privileges.become(db)
        if db.exists():  # else the agent has never run and has no trail
            store.write(lambda connection: audit_events.add(connection, event, details, user=user, requester="CLI"))
    except (StoreUnavailable, StoreUnusable, ConfigError, OSError, sqlite3.Error) as error:
        return str(error)
    finally:
        store.close()
    return ""
