"""What of a PostgreSQL lies outside of its data directory, a linked pg_wal and tablespaces, and room on the disks."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql_files import DataDirectory
from agent.models import Json

SUFFIXES = ("", ".resync", ".resync-2")
"""Of the names that a directory may have in turn."""


@dataclass(frozen=True, slots=True)
class Place:
    """A link in the data directory: where it leads `now` ("" for nowhere), and where the new data's leads.

    `source` is where the same lies on the server that is copied.
    """

    link: str
    now: str
    new: str
    source: str = ""

    def as_json(self) -> Json:
        """For the state of a resync."""
        return asdict(self)


def places_of(data: DataDirectory) -> list[Place]:
    """For a copy of the own data. Raises `DatastoreError` where one of them has no place beside it."""
    linked = [data.present / "pg_wal", *sorted((data.present / "pg_tblspc").iterdir())]
    found = []
    for path in linked:
        if path.is_symlink():
            now = path.resolve()
            link = str(path.relative_to(data.present))
            found.append(Place(link, str(now), str(_free(data, now)), str(now)))
    return found


def places_for(data: DataDirectory, tablespaces: Iterable[tuple[int, str]]) -> list[Place]:
    """For a copy of another server with these tablespaces, by OID."""
    own = {each.link: each for each in places_of(data)}
    found = [own["pg_wal"]] if "pg_wal" in own else []
    for oid, source in tablespaces:
        link = f"pg_tblspc/{oid}"
        now = own[link].now if link in own else ""
        found.append(Place(link, now, str(_free(data, Path(now or source))), source))
    gone = [each for link, each in own.items() if link not in {place.link for place in found}]
    return found + [Place(each.link, each.now, "", "") for each in gone]


def remove(data: DataDirectory, directory: Path) -> None:
    """Remove what this server's version has in such a directory, and the directory where it is empty then."""
    with data.as_owner():
        if not directory.is_dir():
            return
        tablespace = sorted(directory.glob(f"PG_{data.major}_*"))
        for each in tablespace or sorted(directory.iterdir()):
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        if not any(directory.iterdir()) and os.access(directory.parent, os.W_OK, effective_ids=True):
            directory.rmdir()


def size_of_tree(directory: Path) -> int:
    """The bytes of all files below a directory, links not followed."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # a running server removes files
                continue
    return total


def why_no_room(needed: Sequence[tuple[Path, int]]) -> str | None:
    """Which file system has not that many bytes left; each path exists or will be created in its parent."""
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
    """The first of its names that is free: what another server has beside is never touched."""
    base = path.with_name(re.sub(r"\.resync(-2)?$", "", path.name))
    for suffix in SUFFIXES:
        candidate = base.with_name(base.name + suffix)
        if not _used(candidate):
            return _checked(data, candidate)
    raise DatastoreError(f"there is no free directory beside {path}: remove one of its names with .resync")


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
