"""The way back of a resync: the old data directory stays beside the new one until the new one follows.

`NAME.resync` holds `new` while it is made, `old` from the switch to the proof, `replaced` after that, and `state`. Each
step is one rename, so that whatever ends the resync half way, `put_back` finds the old data and brings it back. A
`reserve` of disk space, freed first, lets the server start again where the disk filled up meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agent.datastores.postgresql_files import DataDirectory
from agent.datastores.postgresql_places import Place, remove
from agent.hosts import files

OF_THE_DATA = frozenset((
    "PG_VERSION", "backup_label", "backup_label.old", "backup_manifest", "base", "current_logfiles", "global",
    "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify", "pg_replslot", "pg_serial",
    "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact",
    "postgresql.auto.conf", "postmaster.opts", "postmaster.pid", "promote", "recovery.signal", "standby.signal",
    "tablespace_map", "tablespace_map.old",
))  # fmt: skip
"""What a copy of another server brings. Everything else in the directory belongs to this server and survives."""

RESERVE = 16 * 1024 * 1024
"""Bytes that a server needs to start: its pid file, statistics, a segment of WAL."""


class Work:
    """The directory of a resync beside the data directory."""

    def __init__(self, data: DataDirectory) -> None:
        self.data, self.root = data, data.work
        self.new, self.old, self._replaced = (self.root / name for name in ("new", "old", "replaced"))

    @property
    def exists(self) -> bool:
        """Whether a resync began and neither ended nor was undone."""
        return self.root.exists()

    @property
    def proved(self) -> bool:
        """Whether the new data followed, so that the old data is not to be put back."""
        return self._replaced.exists()

    @property
    def was_up(self) -> bool:
        """Whether the server ran when the resync began."""
        return bool(self._state().get("was_up"))

    def begin(self, was_up: bool) -> None:
        """Create it, before the server is stopped. Nothing of the data is touched. Raises `OSError` on a full disk."""
        draft = self.root.with_name(f"{self.root.name}.draft")
        with self.data.as_owner():
            shutil.rmtree(draft, ignore_errors=True)
            try:
                draft.mkdir(mode=0o700)
                files.replace(draft / "state", json.dumps({"was_up": was_up, "places": []}).encode())
                with (draft / "reserve").open("wb") as reserve:
                    os.posix_fallocate(reserve.fileno(), 0, RESERVE)
            except OSError:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        self._rename(draft, self.root)

    def note(self, places: Sequence[Place]) -> None:
        """Note what lies outside of the data directory, before anything is created there."""
        state = self._state() | {"places": [each.as_json() for each in places]}
        with self.data.as_owner():
            files.replace(self.root / "state", json.dumps(state).encode())

    def clear_new(self) -> Path:
        """Remove a new directory that is not to be used; its path."""
        with self.data.as_owner():
            shutil.rmtree(self.new, ignore_errors=True)
        self._remove_places("new")
        return self.new

    def drop_foreign(self) -> None:
        """Remove from the new directory what belongs to the server that it was copied from."""
        with self.data.as_owner():
            for path in _of_the_server(self.new):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def switch(self) -> None:
        """Put the new directory in the place of the old one, with what belongs to this server. It must be down."""
        self._rename(self.data.data, self.old)
        self._move_what_is_the_servers(self.old, self.new)
        self._rename(self.new, self.data.data)

    def put_back(self) -> None:
        """Bring the old data back to its place, whatever the state; the new data is removed. It must be down."""
        if self.proved:
            return self.finish()
        if self.old.exists():
            if self.data.data.exists():
                self._rename(self.data.data, self.new)
            self._move_what_is_the_servers(self.new, self.old)
            self._rename(self.old, self.data.data)
        self._remove_places("new")
        self._remove()

    def finish(self) -> None:
        """The new data follows: the old one is removed."""
        if self.old.exists():
            self._rename(self.old, self._replaced)
        self._remove_places("now")
        self._remove()

    def _move_what_is_the_servers(self, source: Path, target: Path) -> None:
        """By rename: its owner, mode and content stay, whatever its owner."""
        with self.data.as_owner():
            for path in _of_the_server(source) if source.exists() else ():
                if not os.path.lexists(target / path.name):
                    os.rename(path, target / path.name)
            files.sync(target)

    def _remove(self) -> None:
        gone = self.root.with_name(f"{self.root.name}.done")
        with self.data.as_owner():
            shutil.rmtree(gone, ignore_errors=True)
        self._rename(self.root, gone)  # at once, for it is the mark
        with self.data.as_owner():
            shutil.rmtree(gone, ignore_errors=True)

    def _remove_places(self, which: str) -> None:
        for place in self._state().get("places", []):
            if place[which]:
                remove(self.data, Path(place[which]))

    def _state(self) -> dict[str, Any]:
        content = files.read(self.root / "state")
        return json.loads(content) if content else {}

    def _rename(self, old: Path, new: Path) -> None:
        with self.data.as_owner():
            os.rename(old, new)
            files.sync(old.parent)
            files.sync(new.parent)


def belongs_to_server(name: str) -> bool:
    """Whether an entry of a data directory is the server's own: settings, keys, certificates, logs."""
    return name not in OF_THE_DATA


def _of_the_server(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.iterdir()) if belongs_to_server(path.name))
