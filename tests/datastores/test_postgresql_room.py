"""A resync of PostgreSQL on a disk that seems too small: refused, tried with `force`, and undone if it fills."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Would
from tests.datastores.postgresql_pairs import (
    FORCED,
    SUM,
    Pair,
    assert_follows,
    copy_of,
    diverged_pair,
    on_a_mount,
    plan,
    resync,
)

MB = 1 << 20


@pytest.fixture
def pair(module_dir: Path) -> Iterator[Pair]:
    """The old primary, on a small disk, and the new one; both run."""
    with (
        diverged_pair(module_dir / "pair") as (old, new),
        on_a_mount(module_dir / "mount") as place,
        new,
        copy_of(old, place / "a") as small,
    ):
        yield small, new


def leave_free(server_dir: Path, amount: int) -> Path:
    """Fill the file system up to that many bytes."""
    filler = server_dir / "filler"
    left = os.statvfs(server_dir)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize - amount)
    return filler


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_forced_rewind_without_estimated_room_is_tried_and_rolled_back(pair: Pair) -> None:
    old, new = pair
    filler = leave_free(old.dir, 24 * MB)
    without = plan(old, new, ResyncRequest())
    assert without.would is Would.REFUSE and "force is needed to discard this" in str(without.refusal)
    decided = plan(old, new, FORCED)
    assert decided.would is Would.DESTROY and decided.facts["method"] == "rewind"
    assert any("MB free and" in each and "the old data is put back" in each for each in decided.warnings), decided
    with pytest.raises(DatastoreError, match="the server runs as before"):
        resync(old, new, FORCED)
    assert old.psql(SUM) == "101" and not old.data.with_name("data.resync").exists()
    filler.unlink()
    filler = leave_free(old.dir, size_of(old.data) + 56 * MB)
    assert any("MB free and" in each for each in plan(old, new, FORCED).warnings)
    result, _ = resync(old, new, FORCED)
    assert result["method"] == "rewind"
    filler.unlink()
    assert_follows(old, new)
