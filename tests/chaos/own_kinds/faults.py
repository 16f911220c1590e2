"""No kind: kills the process that imports it right before or right after one of its commits.

The file `fault` in $WITNESS says which: `before 3` or `after 3`, counted from when it was put there, or by what is
written: `before prune`. It is taken away with the kill, whose commit is noted in the file `hits`.
"""

import os
import signal
import sqlite3
import threading
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(os.environ["WITNESS"])
ARMED, HITS = HERE / "fault", HERE / "hits"
LOCK = threading.RLock()
COUNTED = {"stamp": 0, "commits": 0}


class Connection(sqlite3.Connection):
    """A connection that recognises commits, and records the statements since the previous one."""

    _written = ""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        with LOCK:
            word = sql.split(maxsplit=1)[0]
            if word in ("INSERT", "UPDATE", "DELETE") and "INTO new_events" not in sql:
                self._written += f" {named(sql)}"
            commits = bool(self._written) and (word == "COMMIT" or not self.in_transaction)
            number = next_commit() if commits else None
            perhaps_die("before", number, self._written)
            cursor = super().execute(sql, *parameters)
            perhaps_die("after", number, self._written)
            if commits or word == "ROLLBACK":
                self._written = ""
            return cursor


def named(sql: str) -> str:
    """The name of a written statement."""
    text = " ".join(sql.split())
    names = {
        "INSERT INTO resources": "resource",
        "INSERT": "schedule",
        "running_boot": "claim",
        "SET handed_over": "hand_over",
        "cancel_requested = 1": "ask_to_cancel",
        "finished_order = 1": "finish",
        "DELETE": "prune",
        "UPDATE": "record",
    }
    return next(name for part, name in names.items() if part in text)


def next_commit() -> int | None:
    """The number of the next commit since the fault was armed; None if it is not armed."""
    try:
        stamp = ARMED.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    if COUNTED["stamp"] != stamp:
        COUNTED.update(stamp=stamp, commits=0)
    COUNTED["commits"] += 1
    return COUNTED["commits"]


def perhaps_die(moment: str, number: int | None, written: str) -> None:
    if number is None or armed() not in (f"{moment} {number}", f"{moment}{written}"):
        return
    ARMED.unlink()
    with HITS.open("a") as hits:
        hits.write(f"{moment}{written}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def armed() -> str | None:
    """The content of the file; None if the test removed it."""
    try:
        return ARMED.read_text()
    except FileNotFoundError:
        return None


sqlite3.connect = partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]
