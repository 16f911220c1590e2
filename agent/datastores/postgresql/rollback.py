"""Keep the old data directory of a resync until the new one follows, and restore it otherwise.

`NAME.resync` contains `new` while the new data is created, `old` from the switch to the proof, `replaced` after the
proof, and `state`. Each step is one rename: after any interruption `put_back` finds the old data and restores it. The
new data contains a mark: a directory in its place without the mark was put there by an operator and is not touched. The
removal begins with the `reserve` file, so that the server can start again if the disk became full meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.tablespaces import TablespaceLink, remove
from agent.util import atomic_files

MARK = "agent.resync"
"""Mark file in the new data, from the switch to the proof."""
OF_THE_DATA = frozenset((
    MARK, "PG_VERSION", "backup_label", "backup_label.old", "backup_manifest", "base", "current_logfiles", "global",
    "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_multixact", "pg_notify", "pg_replslot", "pg_serial",
    "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal", "pg_xact",
    "postgresql.auto.conf", "postmaster.opts", "postmaster.pid", "promote", "recovery.signal", "standby.signal",
    "tablespace_map", "tablespace_map.old",
))  # fmt: skip
"""Entries that are replaced by those of a copy. All other entries belong to this server and are kept."""

RESERVE = 16 * 1024 * 1024
"""Bytes that a server needs for its start: pid file, statistics, one WAL segment."""


class WorkFolder:
    """The working folder of a resync next to the data directory."""

    def __init__(self, data: DataDirectory) -> None:
        self.data, self.root = data, data.work
        self.new, self.old, self._replaced = (self.root / name for name in ("new", "old", "replaced"))

    @property
    def exists(self) -> bool:
        """Whether a resync began and was neither completed nor undone."""
        return self.root.exists()

    @property
    def proved(self) -> bool:
        """Whether the new data followed, so that the old data must not be restored."""
        return self._replaced.exists()

    @property
    def was_up(self) -> bool:
        """Whether the server ran when the resync began."""
        return bool(self._state().get("was_up"))

    @property
    def goal(self) -> str | None:
        """The LSN of the source at the switch, up to which the new data must be complete."""
        goal: str | None = self._state().get("goal")
        return goal

    def begin(self, was_up: bool) -> None:
        """Create the folder before the server is stopped, leaving the data alone. Raises `OSError` on a full disk."""
        draft = self.root.with_name(f"{self.root.name}.draft")
        with self.data.as_owner():
            shutil.rmtree(draft, ignore_errors=True)
            try:
                draft.mkdir(mode=0o700)
                atomic_files.replace(draft / "state", json.dumps({"was_up": was_up, "places": []}).encode())
                with (draft / "reserve").open("wb") as reserve:
                    os.posix_fallocate(reserve.fileno(), 0, RESERVE)
            except OSError:
                shutil.rmtree(draft, ignore_errors=True)
                raise
        self._rename(draft, self.root)

    def note(self, places: Sequence[TablespaceLink]) -> None:
        """Record the directories outside of the data directory before anything is created there."""
        self._add({"places": [each.as_json() for each in places]})

    def note_goal(self, goal: str | None) -> None:
        """Record the source's LSN before the switch."""
        self._add({"goal": goal})

    def check_what_is_in_place(self) -> None:
        """Raises `DatastoreError` if the old data is kept here and another directory is in its place."""
        if self.old.exists() and self.data.data.exists() and not (self.data.data / MARK).exists():
            raise DatastoreError(
                f"{self.data.data} is not the directory that a resync put there, and {self.old} contains the data from "
                "before that resync: move the directory that you do not need away, then run the action again"
            )

    def clear_new(self) -> Path:
        """Remove an unused new directory; returns its path."""
        with self.data.as_owner():
            shutil.rmtree(self.new, ignore_errors=True)
        self._remove_places("new")
        return self.new

    def drop_foreign(self) -> None:
        """Remove the copied server's own entries, such as its settings and keys, from the new directory."""
        with self.data.as_owner():
            for path in _of_the_server(self.new):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def switch(self) -> None:
        """Replace the old directory by the new one, keeping this server's own entries. The server must be down."""
        self._rename(self.data.data, self.old)
        self._move_own_entries(self.old, self.new)
        with self.data.as_owner():
            atomic_files.replace(self.new / MARK, b"")
        self._rename(self.new, self.data.data)

    def put_back(self) -> None:
        """Restore the old data from any state and remove the new data. The server must be down.

        Raises `DatastoreError` if something other than the new data is in its place.
        """
        if self.proved:
            return self.finish()
        self.check_what_is_in_place()
        if self.old.exists():
            if self.data.data.exists():
                self._rename(self.data.data, self.new)
            self._move_own_entries(self.new, self.old)
            self._rename(self.old, self.data.data)
        self._remove_places("new")
        self._remove()

    def finish(self) -> None:
        """The new data follows: remove the old data."""
        if self.old.exists():
            self._rename(self.old, self._replaced)
        with self.data.as_owner():
            (self.data.data / MARK).unlink(missing_ok=True)
        self._remove_places("now")
        self._remove()

    def _move_own_entries(self, source: Path, target: Path) -> None:
        """Move this server's own entries by rename: owner, mode and content are unchanged."""
        with self.data.as_owner():
            for path in _of_the_server(source) if source.exists() else ():
                if not os.path.lexists(target / path.name):
                    os.rename(path, target / path.name)
            atomic_files.sync(target)

    def _remove(self) -> None:
        gone = self.root.with_name(f"{self.root.name}.done")
        with self.data.as_owner():
            shutil.rmtree(gone, ignore_errors=True)
        self._rename(self.root, gone)  # at once: this folder marks an unfinished resync
        with self.data.as_owner():
            shutil.rmtree(gone, ignore_errors=True)

    def _remove_places(self, which: str) -> None:
        for place in self._state().get("places", []):
            if place[which]:
                remove(self.data, Path(place[which]))

    def _add(self, more: dict[str, Any]) -> None:
        with self.data.as_owner():
            atomic_files.replace(self.root / "state", json.dumps(self._state() | more).encode())

    def _state(self) -> dict[str, Any]:
        content = atomic_files.read(self.root / "state")
        return json.loads(content) if content else {}

    def _rename(self, old: Path, new: Path) -> None:
        with self.data.as_owner():
            os.rename(old, new)
            atomic_files.sync(old.parent)
            atomic_files.sync(new.parent)


def belongs_to_server(name: str) -> bool:
    """Whether an entry of a data directory belongs to the server: settings, keys, certificates, logs."""
    return name not in OF_THE_DATA


def _of_the_server(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.iterdir()) if belongs_to_server(path.name))
