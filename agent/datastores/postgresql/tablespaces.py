"""The directories outside of a PostgreSQL's data directory (linked pg_wal, tablespaces), and free disk space."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.files import DataDirectory
from agent.models import Json

SUFFIXES = ("", ".resync", ".resync-2")
"""Suffixes of the names that successive copies of a directory use in turn."""


@dataclass(frozen=True, slots=True)
class TablespaceLink:
    """A link in the data directory: its target `now` ("" for none), and the target in the new data.

    `source` is the target on the server that is copied.
    """

    link: str
    now: str
    new: str
    source: str = ""

    def as_json(self) -> Json:
        """The members for the state file of a resync."""
        return asdict(self)


def places_of(data: DataDirectory) -> list[TablespaceLink]:
    """The links for a copy of this server's data. Raises `DatastoreError` if a target cannot have a sibling."""
    linked = [data.present / "pg_wal", *sorted((data.present / "pg_tblspc").iterdir())]
    found = []
    for path in linked:
        if path.is_symlink():
            now = path.resolve()
            link = str(path.relative_to(data.present))
            found.append(TablespaceLink(link, str(now), str(_free(data, now)), str(now)))
    return found


def places_for(data: DataDirectory, tablespaces: Iterable[tuple[int, str]]) -> list[TablespaceLink]:
    """The links for a copy of another server with these tablespaces, by OID."""
    own = {each.link: each for each in places_of(data)}
    found = [own["pg_wal"]] if "pg_wal" in own else []
    for oid, source in tablespaces:
        link = f"pg_tblspc/{oid}"
        now = own[link].now if link in own else ""
        found.append(TablespaceLink(link, now, str(_free(data, Path(now or source))), source))
    gone = [each for link, each in own.items() if link not in {place.link for place in found}]
    return found + [TablespaceLink(each.link, each.now, "", "") for each in gone]


def remove(data: DataDirectory, directory: Path) -> None:
    """Remove this server version's files in a tablespace, and the directory if it is then empty."""
    with data.as_owner():
        if not directory.is_dir():
            return
        tablespace = sorted(directory.glob(f"PG_{data.major}_*"))
        for each in tablespace or sorted(directory.iterdir()):
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        if not any(directory.iterdir()) and os.access(directory.parent, os.W_OK, effective_ids=True):
            directory.rmdir()


def size_of_tree(directory: Path) -> int:
    """Size in bytes of all files below a directory, without following links."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # a running server removes files
                continue
    return total


def why_no_room(needed: Sequence[tuple[Path, int]]) -> str | None:
    """A sentence about a file system with too few free bytes, or None. Each path or its parent exists."""
    wanted: dict[int, tuple[Path, int]] = {}
    for path, amount in needed:
        there = path if path.exists() else path.parent
        device = os.stat(there).st_dev
        wanted[device] = (there, wanted.get(device, (there, 0))[1] + amount)
    for there, amount in wanted.values():
        left = os.statvfs(there)
        free = left.f_bavail * left.f_frsize
        if free < amount:
            return f"the file system of {there} has {_megabytes(free)} free and {_megabytes(amount)} are needed"
    return None


def _megabytes(amount: int) -> str:
    return f"{amount / 1e6:.0f} MB"


def _free(data: DataDirectory, path: Path) -> Path:
    """The first free name: directories of another server are never touched."""
    base = path.with_name(re.sub(r"\.resync(-2)?$", "", path.name))
    for suffix in SUFFIXES:
        candidate = base.with_name(base.name + suffix)
        if not _used(candidate):
            return _checked(data, candidate)
    raise DatastoreError(f"there is no free directory name next to {path}: remove an unused one that ends with .resync")


def _used(path: Path) -> bool:
    try:
        return any(path.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _checked(data: DataDirectory, path: Path) -> Path:
    if not path.parent.is_dir():
        raise DatastoreError(f"there is no directory {path.parent} for {path}")
    data.check_writable(path.parent)
    return path
