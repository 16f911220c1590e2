"""Exchange the data directory of a server for a copy made next to it, and restore it.

`NAME.resync/new` is the copy (successor), `NAME.resync/old` the replaced data. While `old` exists, the successor
is not proved yet.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.mysql.session import Session
from agent.util import atomic_files

OF_A_DATABASE = {
    ".frm", ".ibd", ".isl", ".cfg", ".cfp", ".myd", ".myi", ".mad", ".mai", ".csm", ".csv", ".mrg", ".trg", ".trn",
    ".par", ".sdi", ".arm", ".arz", ".opt", ".bak", ".tmd", ".sdb",
}  # fmt: skip
"""Extensions of the server's own files in the directory of a database."""
KEPT = {".pem", ".crt", ".key", ".cnf", ".flag", ".err"}
"""Extensions of files in the data directory that belong to this server, not to its data."""
OF_REPLICATION = ("master*.info", "relay-log*.info", "multi-master.info", "*-relay-bin*")
OWN_UUID = "auto.cnf"
MARK = "agent.resync"
"""Mark file in the successor, from the exchange to the proof. An operator put a directory without it in its place."""
REMOVED_WITHIN = 10.0
"""Seconds of attempts to remove a directory; the next resync removes the rest."""
PLACES = {
    "innodb_data_home_dir": True,
    "innodb_log_group_home_dir": True,
    "innodb_undo_directory": True,
    "log_bin_basename": False,
    "relay_log_basename": False,
    "relaylog_basename": False,
}
"""Settings that can place data outside the data directory, and whether they name a directory."""


class DataDirectory:
    """The location of the data. `data` is the real path of the data directory."""

    def __init__(self, data: Path) -> None:
        self.data = Path(os.path.realpath(data))
        self.work = self.data.with_name(f"{self.data.name}.resync")
        self.new, self.old, self.dump = self.work / "new", self.work / "old", self.work / "dump.sql"
        self._goal = self.work / "goal"

    @classmethod
    def of(cls, session: Session) -> DataDirectory:
        """The data directory that the server reports."""
        return cls(Path(str(session.value("SELECT @@datadir"))))

    def why_fixed(self, session: Session) -> str | None:
        """The reason why the data directory cannot be exchanged, or None."""
        if not self.data.is_dir():
            return f"the agent cannot see the data directory {self.data}"
        if os.path.ismount(self.data):
            return f"the data directory {self.data} is a mount point and cannot be renamed"
        owner = self.data.stat().st_uid
        if os.geteuid() not in (0, owner):
            return f"the data directory {self.data} belongs to another user than the agent"
        if not os.access(self.data.parent, os.W_OK):
            return f"the agent cannot write to {self.data.parent}"
        if outside := self._outside(session):
            return f"{outside} lies outside the data directory"
        return None

    def foreign_files(self) -> list[Path]:
        """Foreign files in the directories of databases; empty without permission to list them."""
        found = []
        for directory in (each for each in _entries(self.data) if each.is_dir() and not each.name.startswith("#")):
            if directory.name in ("mysql", "sys", "performance_schema"):
                continue
            found += [each for each in _entries(directory) if _is_foreign(each)]
        return sorted(found)

    def prepare(self) -> None:
        """Create the working folder, writable for the server's user. Raises `OSError`."""
        self.clear()
        owner = self.data.stat()
        self.work.mkdir(mode=0o700)
        os.chown(self.work, owner.st_uid, owner.st_gid)
        atomic_files.sync(self.work.parent)

    def clear(self) -> None:
        """Remove the working folder. Raises `DatastoreError` if it contains the old data."""
        if self.old.exists():
            raise DatastoreError(f"{self.old} holds the data of an earlier resync: it is not removed")
        _remove(self.work)

    def keep_own(self, logs: Sequence[str], *, uuid: bool) -> None:
        """Copy this server's own files into the successor: keys, certificates, settings and logs."""
        named = {Path(each).name for each in logs if each}
        for file in _entries(self.data):
            wanted = file.suffix in KEPT or file.name in named
            if not wanted or not file.is_file() or (file.name == OWN_UUID and not uuid):
                continue
            copy = self.new / file.name
            shutil.copy2(file, copy)
            stat = file.stat()
            os.chown(copy, stat.st_uid, stat.st_gid)

    def forget_sources(self) -> None:
        """Remove MariaDB's replication state files from the copy: they belong to another server."""
        for pattern in OF_REPLICATION:
            for file in self.new.glob(pattern):
                file.unlink()

    @property
    def goal(self) -> str | None:
        """The GTIDs of the primary when the old data was replaced; None if they were not stored."""
        content = atomic_files.read(self._goal)
        return None if content is None else content.decode()

    def note_goal(self, gtids: str) -> None:
        """Store, before the exchange, the GTIDs that the successor must have to replace the old data without a loss."""
        atomic_files.replace(self._goal, gtids.encode())

    def exchange(self) -> None:
        """Replace the data of a stopped server by the successor."""
        (self.new / MARK).touch()
        os.rename(self.data, self.old)
        os.rename(self.new, self.data)
        self._sync()

    def check_what_is_in_place(self) -> None:
        """Raises `DatastoreError` if the old data is kept here and an operator put another directory in its place."""
        if self.old.exists() and self.data.exists() and not (self.data / MARK).exists():
            raise DatastoreError(
                f"{self.data} is not the directory that a resync put there, and {self.old} contains the data from "
                "before that resync: move the directory that you do not need away, then run the action again"
            )

    def is_exchanged(self) -> bool:
        """Whether the old data is kept in the working folder."""
        return self.old.exists()

    def put_back(self) -> None:
        """Restore the old data of a stopped server and remove the successor. Raises `DatastoreError`."""
        self.check_what_is_in_place()
        if self.data.exists():
            _remove(self.new)
            os.rename(self.data, self.new)
        os.rename(self.old, self.data)
        self._sync()
        self.clear()

    def drop_old(self) -> None:
        """Remove the old data after the successor is proved; `put_back` is impossible from then on. Idempotent."""
        if self.old.exists():
            os.rename(self.old, self.work / "gone")
            atomic_files.sync(self.work)
        (self.data / MARK).unlink(missing_ok=True)
        atomic_files.sync(self.data.parent)
        _remove(self.work)

    def _outside(self, session: Session) -> str | None:
        for row in session.run("SHOW GLOBAL VARIABLES"):
            name, value = str(row["Variable_name"]), str(row["Value"] or "")
            if name not in PLACES or not value or not os.path.isabs(value):
                continue
            real = Path(os.path.realpath(value if PLACES[name] else os.path.dirname(value)))
            if real != self.data and self.data not in real.parents:
                return f"{name} ({value})"
        return None

    def _sync(self) -> None:
        atomic_files.sync(self.work)
        atomic_files.sync(self.data.parent)


def free_bytes(directory: Path) -> int:
    """Free bytes on the file system of a directory."""
    room = os.statvfs(directory)
    return room.f_bavail * room.f_frsize


def _remove(directory: Path) -> None:
    """Remove a directory; retry for `REMOVED_WITHIN` seconds while an ending process still writes there."""
    deadline, pause = time.monotonic() + REMOVED_WITHIN, 0.01
    shutil.rmtree(directory, ignore_errors=True)
    while directory.exists() and time.monotonic() < deadline:
        time.sleep(pause)
        pause *= 1.5
        shutil.rmtree(directory, ignore_errors=True)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _is_foreign(file: Path) -> bool:
    return not file.is_file() or not ({each.lower() for each in file.suffixes} & OF_A_DATABASE or file.name == "db.opt")
