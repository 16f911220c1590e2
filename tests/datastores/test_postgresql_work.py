"""Leftovers of interrupted copies of a PostgreSQL: one copy at most, and none once the old data is back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.rollback import RESERVE, WorkFolder

SIZE = 50_000
TIMES = 50
SMALL = 10_000
"""Bytes of the state and the marks."""


def copied(work: WorkFolder) -> None:
    """A pg_basebackup that is killed when it has copied everything."""
    new = work.clear_new()
    new.mkdir()
    (new / "PG_VERSION").write_text("15\n")
    (new / "base").write_bytes(bytes(SIZE))


def drafted(work: WorkFolder) -> None:
    """A resync that is killed while it creates its folder."""
    work.root.rename(work.root.with_name(f"{work.root.name}.draft"))


def switched(work: WorkFolder) -> None:
    """A resync that is killed once its copy is in place."""
    copied(work)
    work.switch()


def half_removed(work: WorkFolder) -> None:
    """A resync that is killed while it removes its folder."""
    copied(work)
    done = work.root.with_name(f"{work.root.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    work.root.rename(done)


@pytest.mark.parametrize("interrupted", [copied, drafted, switched, half_removed])
def test_fifty_interrupted_basebackups_leave_the_bytes_of_one_copy(
    tmp_path: Path, interrupted: Callable[[WorkFolder], None]
) -> None:
    data = DataDirectory(tmp_path / "data", None)
    data.data.mkdir()
    (data.data / "PG_VERSION").write_text("15\n")
    (data.data / "base").write_text("old")
    for _ in range(TIMES):
        if (work := WorkFolder(data)).exists:
            work.put_back()  # as each resync begins
        work.begin(was_up=True)
        interrupted(work)
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in files) < SIZE + RESERVE + SMALL
    if (work := WorkFolder(data)).exists:
        work.put_back()
    assert (data.data / "base").read_text() == "old"
    work.begin(was_up=True)
    work.put_back()
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
