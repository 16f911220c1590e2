"""The data directory of a server and the directory beside it, where its successor is made and from where it comes back.

`NAME.resync/new` is the successor, `NAME.resync/old` the data that it replaced. While `old` is there the successor
is not proved yet.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.mysql_session import Session
from agent.hosts import files

OF_A_DATABASE = {
    ".frm", ".ibd", ".isl", ".cfg", ".cfp", ".myd", ".myi", ".mad", ".mai", ".csm", ".csv", ".mrg", ".trg", ".trn",
    ".par", ".sdi", ".arm", ".arz", ".opt", ".bak", ".tmd", ".sdb",
}  # fmt: skip
"""Endings of the files that the server itself keeps in the directory of a database."""
KEPT = {".pem", ".crt", ".key", ".cnf", ".flag", ".err"}
"""Endings of files in the data directory that belong to this server and not to its data."""
OF_REPLICATION = ("master*.info", "relay-log*.info", "multi-master.info", "*-relay-bin*")
OWN_UUID = "auto.cnf"
REMOVED_WITHIN = 10.0
"""Seconds in which a directory must be removable; what stays is removed by the next resync."""
PLACES = {
    "innodb_data_home_dir": True,
    "innodb_log_group_home_dir": True,
    "innodb_undo_directory": True,
    "log_bin_basename": False,
    "relay_log_basename": False,
    "relaylog_basename": False,
}
"""Settings that can put data outside the data directory, and whether they name a directory."""


class Place:
    """Where the data lies. `data` is the real path of the data directory."""

    def __init__(self, data: Path) -> None:
        self.data = Path(os.path.realpath(data))
        self.work = self.data.with_name(f"{self.data.name}.resync")
        self.new, self.old, self.dump = self.work / "new", self.work / "old", self.work / "dump.sql"

    @classmethod
    def of(cls, session: Session) -> Place:
        """The data directory that the server itself names."""
        return cls(Path(str(session.value("SELECT @@datadir"))))

    def why_fixed(self, session: Session) -> str | None:
        """Why the data directory cannot be exchanged for another; None where it can."""
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
        """Files in the directories of databases that the server did not put there; none where we may not look."""
        found = []
        for directory in (each for each in _entries(self.data) if each.is_dir() and not each.name.startswith("#")):
            if directory.name in ("mysql", "sys", "performance_schema"):
                continue
            found += [each for each in _entries(directory) if _is_foreign(each)]
        return sorted(found)

    def prepare(self) -> None:
        """An empty directory beside, which the server's user may write to. Raises `OSError`."""
        self.clear()
        owner = self.data.stat()
        self.work.mkdir(mode=0o700)
        os.chown(self.work, owner.st_uid, owner.st_gid)
        files.sync(self.work.parent)

    def clear(self) -> None:
        """Remove what is beside. Raises `DatastoreError` where the old data lies there."""
        if self.old.exists():
            raise DatastoreError(f"{self.old} holds the data of an earlier resync: it is not removed")
        _remove(self.work)

    def keep_own(self, logs: Sequence[str], *, uuid: bool) -> None:
        """Copy into the successor what belongs to this server: keys, certificates, settings and logs."""
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
        """Remove the files by which a MariaDB remembers whom it followed: those of the copy are of another server."""
        for pattern in OF_REPLICATION:
            for file in self.new.glob(pattern):
                file.unlink()

    def exchange(self) -> None:
        """The successor takes the place of the data of a server that is down."""
        os.rename(self.data, self.old)
        os.rename(self.new, self.data)
        self._sync()

    def is_exchanged(self) -> bool:
        """Whether the old data is beside: its successor, or nothing yet, is in its place."""
        return self.old.exists()

    def put_back(self) -> None:
        """The old data returns to its place, with the server down; what was there is removed."""
        if self.data.exists():
            _remove(self.new)
            os.rename(self.data, self.new)
        os.rename(self.old, self.data)
        self._sync()
        self.clear()

    def let_go(self) -> None:
        """The successor is proved: remove the old data, which is not put back any more from the first moment on."""
        os.rename(self.old, self.work / "gone")
        self._sync()
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
        files.sync(self.work)
        files.sync(self.data.parent)


def free_bytes(directory: Path) -> int:
    """Bytes that can be written on the file system of a directory."""
    room = os.statvfs(directory)
    return room.f_bavail * room.f_frsize


def _remove(directory: Path) -> None:
    """Remove a directory; again for `REMOVED_WITHIN` seconds where a process that ends still writes there."""
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
