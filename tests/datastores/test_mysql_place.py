"""The exchange of two data directories, ended between its two renames: the old data is found and comes back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.mysql_place import Place


class Killed(BaseException):
    """Nothing of ours runs after it."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """The old data in its place, its successor beside."""
    place = Place(tmp_path / "data")
    place.data.mkdir()
    (place.data / "old").touch()
    place.prepare()
    place.new.mkdir()
    (place.new / "new").touch()
    return place


def killed_after(renames: int, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Let the act end after so many of its renames, as by SIGKILL."""
    real, done = os.rename, [0]

    def rename(source: Path, target: Path) -> None:
        if done[0] == renames:
            raise Killed
        done[0] += 1
        real(source, target)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "rename", rename)
        act()


def contents(place: Place) -> list[str]:
    return sorted(each.name for each in place.data.iterdir())


@pytest.mark.parametrize("renames", [0, 1])
def test_killed_within_the_exchange(renames: int, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_after(renames, monkeypatch, place.exchange)
    again = Place(place.data)
    assert again.is_exchanged() is bool(renames)
    if renames:
        assert not again.data.exists()
        again.put_back()
    assert contents(again) == ["old"]


@pytest.mark.parametrize("renames", [0, 1])
def test_killed_while_the_old_data_is_put_back(renames: int, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.exchange()
    assert contents(place) == ["new"]
    killed_after(renames, monkeypatch, place.put_back)
    again = Place(place.data)
    assert again.is_exchanged()
    again.put_back()
    assert contents(again) == ["old"] and not again.work.exists()


def test_killed_while_the_proved_old_data_goes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.exchange()
    killed_after(0, monkeypatch, place.let_go)
    assert Place(place.data).is_exchanged()
    place.let_go()
    assert not place.is_exchanged() and contents(place) == ["new"] and not place.work.exists()
