"""The exchange of two data directories, interrupted between its renames: the old data is found and put back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.mysql.data_directory import MARK, DataDirectory


class Killed(BaseException):
    """Raised in place of a SIGKILL."""


@pytest.fixture
def place(tmp_path: Path) -> DataDirectory:
    """The old data in its place, the new data beside it."""
    place = DataDirectory(tmp_path / "data")
    place.data.mkdir()
    (place.data / "old").touch()
    place.prepare()
    place.new.mkdir()
    (place.new / "new").touch()
    return place


def killed_after(renames: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """End `act` after so many of its renames, as by SIGKILL."""
    real, done = os.rename, [0]

    def rename(source: Path, target: Path) -> None:
        if done[0] == renames:
            raise Killed
        done[0] += 1
        real(source, target)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "rename", rename)
        act()


def contents(place: DataDirectory) -> list[str]:
    return sorted(each.name for each in place.data.iterdir() if each.name != MARK)


@pytest.mark.parametrize("renames", [0, 1])
def test_kill_during_the_exchange_keeps_the_old_data(
    renames: int, place: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_after(renames, monkeypatch, place.exchange)
    again = DataDirectory(place.data)
    assert again.is_exchanged() is bool(renames)
    if renames:
        assert not again.data.exists()
        again.put_back()
    assert contents(again) == ["old"]


@pytest.mark.parametrize("renames", [0, 1])
def test_kill_while_putting_back_the_old_data_can_be_repeated(
    renames: int, place: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.exchange()
    assert contents(place) == ["new"]
    killed_after(renames, monkeypatch, place.put_back)
    again = DataDirectory(place.data)
    assert again.is_exchanged()
    again.put_back()
    assert contents(again) == ["old"] and not again.work.exists()


def test_kill_while_removing_the_old_data_can_be_repeated(
    place: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.exchange()
    killed_after(0, monkeypatch, place.drop_old)
    assert DataDirectory(place.data).is_exchanged()
    place.drop_old()
    assert not place.is_exchanged() and contents(place) == ["new"] and not place.work.exists()


def test_foreign_folder_in_place_of_the_data_is_not_removed(place: DataDirectory) -> None:
    place.exchange()
    place.data.rename(place.data.with_name("aside"))
    place.data.mkdir()
    (place.data / "restored").touch()
    with pytest.raises(DatastoreError, match=f"{place.data} is not the directory that a resync put there"):
        place.put_back()
    assert contents(place) == ["restored"] and (place.old / "old").exists()
    place.old.rename(place.data.with_name("kept"))
    place.clear()
    assert contents(place) == ["restored"] and not place.work.exists()


def test_proved_new_data_keeps_no_mark(place: DataDirectory) -> None:
    place.exchange()
    place.drop_old()
    assert contents(place) == ["new"] and not place.work.exists() and not (place.data / MARK).exists()


def test_fifty_killed_copies_leave_the_bytes_of_one_copy(place: DataDirectory) -> None:
    size = 50_000
    for _ in range(50):
        place.prepare()
        place.new.mkdir()
        for file in (place.new / "ibdata1", place.dump):
            file.write_bytes(bytes(size))  # and here it is killed
    assert sum(each.stat().st_size for each in place.work.rglob("*") if each.is_file()) == 2 * size
    assert sorted(each.name for each in place.data.parent.iterdir()) == [place.data.name, place.work.name]
    place.clear()
    assert not place.work.exists() and contents(place) == ["old"]
