"""agentctl events: print the audit trail of this host, and check its chain."""

import argparse
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from agent import clock, config, owner
from agent.errors import ConfigError
from agent.models import Json
from agent.store import events
from agent.store.chain import faults
from agent.store.unseen import Unseen

SHORTEST, LONGEST = 0.05, 1.0
"""Seconds between two looks at the database while `--follow` waits: growing from one to the other."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Let agentctl know of `events`."""
    found = commands.add_parser("events", help="print the audit trail as JSON lines, and check its chain")
    found.add_argument("--follow", action="store_true", help="continue with events as they are added")
    found.add_argument(
        "--since", type=_moment, default=0, help="a time such as 2026-11-26T10:00:00Z, or an age such as 24h"
    )
    found.set_defaults(run=_events)


def _events(arguments: argparse.Namespace) -> None:
    """As the agent's user, from the database itself: also while the agent does not run."""
    db = config.load().agent.db
    owner.become(db)
    if not db.exists():
        raise ConfigError(f"agent.db: there is no database at {db}")
    try:
        with closing(_opened(db)) as connection:
            unseen = Unseen(connection)
            trail = unseen.among(_read(connection, arguments.since, follow=arguments.follow))
            for event, fault in faults(trail):
                _refuse(db, fault)
                print(json.dumps(event), flush=True)
            _refuse(db, unseen.fault())
    except sqlite3.Error as error:
        raise ConfigError(f"agent.db: {db} cannot be read: {error}") from None
    except KeyboardInterrupt:
        return


def _refuse(db: Path, fault: str) -> None:
    if fault:
        raise ConfigError(f"the audit trail of {db} was changed by another program: {fault}")


def _opened(db: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    connection.row_factory = sqlite3.Row
    return connection


def _read(connection: sqlite3.Connection, since: int, *, follow: bool) -> Iterator[Mapping[str, Json]]:
    last = int(connection.execute(events.BEFORE, (since,)).fetchone()[0])
    pause = SHORTEST
    while True:
        rows = connection.execute(events.AFTER, (last, events.PIECE)).fetchall()
        for row in rows:
            yield events.shown(row)
            last = row["id"]
        if rows:
            pause = SHORTEST
        elif not follow:
            return
        else:
            time.sleep(pause)
            pause = min(LONGEST, pause * 1.5)


def _moment(text: str) -> int:
    """Microseconds since the epoch."""
    from agent.checks import duration_seconds

    try:
        return clock.now() - round(duration_seconds(text) * 1_000_000)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time with a zone, or an age such as 24h, got {text!r}") from None
    return round(moment.timestamp() * 1_000_000)


def note(db: Path, event: str, user: str, details: dict[str, Any]) -> str:
    """Add an event of a command, as the agent's user; returns why the trail could not take it, else nothing."""
    from agent.errors import StoreUnavailable, StoreUnusable
    from agent.store import Store

    store = Store(db)
    try:
        owner.become(db)
        if db.exists():  # an agent that has never run has no trail yet
            store.write(lambda connection: events.add(connection, event, details, user=user, requester="CLI"))
    except (StoreUnavailable, StoreUnusable, ConfigError, OSError, sqlite3.Error) as error:
        return str(error)
    finally:
        store.close()
    return ""
