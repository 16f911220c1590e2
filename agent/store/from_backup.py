"""Detects a database that is an older copy or from another machine. Its waiting actions fail instead of running."""

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from agent import clock
from agent.models import Outcome
from agent.store import Store, actions, audit_events, transitions
from agent.store.copies import A_COPY, LEFT_OUT

IDS: Mapping[str, Path] = {
    "machine_id": Path("/etc/machine-id"),
    # A machine made from a snapshot often keeps the machine id, and gets a new instance id from the cloud.
    "instance_id": Path("/run/cloud-init/.instance-id"),
}
STILL_USED = 300 * 1_000_000
"""Microseconds between two updates of the time of the last use."""

WITHOUT_SECRETS = "the copy has no secrets, and this action needs one"

HOST = "SELECT ids, boot, seen_ts FROM host"
NEWEST_EVENT = "SELECT id, hash FROM events ORDER BY id DESC LIMIT 1"
EVENT = "SELECT hash FROM events WHERE id = ?"
NOTE = """
    INSERT INTO host (only_row, ids, boot, seen_ts) VALUES (1, :ids, :boot, :now)
    ON CONFLICT (only_row) DO UPDATE SET ids = :ids, boot = :boot, seen_ts = :now
"""
SEEN = "UPDATE host SET seen_ts = :now"
PENDING = """
    SELECT seq, state, secrets IS NOT NULL AS has_secrets FROM actions
    WHERE finished_ts IS NULL AND seq <= :newest AND (:all OR secrets = :left_out) ORDER BY seq
"""


class Witness:
    """A file beside the database with its newest audit event. An older copy of the database lacks that event."""

    def __init__(self, db: Path) -> None:
        self.path = db.with_name(f"{db.name}.seen")
        self._written = ""

    def write(self, store: Store) -> None:
        """Record the newest event. Without fsync: an older event proves less, but nothing wrong."""
        event_id, digest = store.read(NEWEST_EVENT)[0]
        if (text := f"{event_id} {digest}\n") != self._written:
            fd = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, text.encode(), 0)
                os.ftruncate(fd, len(text))
            finally:
                os.close(fd)
            self._written = text

    def forget(self) -> None:
        """Remove the file, because another database replaces this one on purpose."""
        self.path.unlink(missing_ok=True)

    def contradicts(self, store: Store) -> bool:
        """Whether the trail lacks the recorded event, or has another event with its id."""
        event_id, digest = self._read()
        if event_id > int(store.read(NEWEST_EVENT)[0]["id"]):
            return True
        stored = store.read(EVENT, (event_id,))  # old events are pruned
        return bool(stored) and stored[0]["hash"] != digest

    def _read(self) -> tuple[int, str]:
        try:
            event_id, digest = self.path.read_text(encoding="ascii").split()
            return int(event_id), digest
        except (FileNotFoundError, ValueError):  # never written, or incomplete after a power cut
            return 0, ""


def reason(store: Store, witness: Witness, resume_within: float) -> str:
    """Why waiting actions must not run; empty if this database was the last one in use on this machine.

    `resume_within`: seconds without an agent after which a rebooted machine does not continue the queue; 0: no limit.
    """
    rows = store.read(HOST)
    if witness.contradicts(store):
        return "the database is an older copy of the one that was used here last"
    if not rows:
        return ""
    ids, boot, seen = rows[0]
    if boot == A_COPY:
        return "the database is a copy that was put in its place without agentctl db restore"
    before, now = json.loads(ids), machine_ids()
    if any(before[name] != now[name] for name in before.keys() & now.keys()):
        return "the database was last used on another machine, of which this one is a clone"
    if boot != clock.boot_id() and 0 < resume_within < (clock.now() - seen) / 1_000_000:
        unused = f"no agent has used the database since {clock.rfc3339(seen)}"
        return f"{unused}, and the machine has booted since: it may come from a snapshot (actions.resume_within)"
    return ""


def is_noted(store: Store) -> bool:
    """Whether the database names this machine and boot, and no waiting action lacks secrets that a copy left out."""
    rows = store.read(HOST)
    waiting = store.read(PENDING, {"newest": actions.LAST, "all": False, "left_out": LEFT_OUT})
    return (
        bool(rows)
        and not waiting
        and (json.loads(rows[0]["ids"]), rows[0]["boot"])
        == (
            machine_ids(),
            clock.boot_id(),
        )
    )


def fail_waiting(
    store: Store, why: str, newest: int = actions.LAST, *, keep: bool = False, user: str | None = None
) -> int:
    """Fail the NEW and RUNNING actions up to `newest`, and record this machine and boot; returns how many failed.

    With `keep`, or an empty `why`, only actions fail whose secrets the copy left out.
    """

    def work(connection: sqlite3.Connection) -> int:
        parameters = {"newest": newest, "all": bool(why) and not keep, "left_out": LEFT_OUT}
        waiting = connection.execute(PENDING, parameters).fetchall()
        for row in waiting:
            cause = WITHOUT_SECRETS if keep or not why else why
            transitions.fail(connection, row["seq"], *_ending(row["state"], cause))
            if row["has_secrets"]:
                store.secret_erased()
        if why or waiting:
            details = {"reason": why or WITHOUT_SECRETS, "failed": len(waiting)}
            audit_events.add(connection, "database.restored", details, user=user)
        connection.execute(NOTE, {"ids": json.dumps(machine_ids()), "boot": clock.boot_id(), "now": clock.now()})
        return len(waiting)

    return store.write(work)


def note_still_used(store: Store) -> None:
    """Update the time of the last use, at most once in `STILL_USED`."""
    if store.read(HOST)[0]["seen_ts"] < clock.now() - STILL_USED:
        store.write_one(SEEN, {"now": clock.now()})


def machine_ids() -> dict[str, str]:
    """The ids of this machine that can be read."""
    found = {}
    for name, path in IDS.items():
        with suppress(OSError, UnicodeDecodeError):
            if (text := path.read_text(encoding="ascii").strip()) and text != "uninitialized":
                found[name] = text
    return found


def _ending(state: str, why: str) -> tuple[Outcome, dict[str, object], str]:
    then = "it was running then: look at what it changed, and" if state == "RUNNING" else "it did not run:"
    message = f"from a backup: {why}; {then} schedule it again if it is still wanted"
    return Outcome.FAILED, {"from_backup": True, "message": message}, message
