"""A termination signal during the rollback: the rollback is completed, and its message is kept."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.swap import DirectorySwap
from agent.datastores.postgresql.resync import Resync
from agent.datastores.termination import Terminated, complete


def interrupted_once(act: Callable[[], Any]) -> Callable[[], Any]:
    calls: list[None] = []

    def call() -> Any:
        calls.append(None)
        if len(calls) == 1:
            raise Terminated
        return act()

    return call


def test_restoring_is_repeated_once_after_a_termination() -> None:
    assert complete(interrupted_once(lambda: "restored")) == "restored"
    with pytest.raises(Terminated):
        complete(interrupted_once(interrupted_once(lambda: "restored")))


def fails(*_: object) -> None:
    raise DatastoreError("the primary died")


def test_termination_during_the_rollback_of_mysql_keeps_its_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    switch = DirectorySwap(Address("root", socket=str(tmp_path)), None, None, 1.0)  # type: ignore[arg-type]
    monkeypatch.setattr(switch, "_exchange", fails)
    monkeypatch.setattr(switch, "undo", interrupted_once(lambda: "the old data is in its place"))
    with pytest.raises(DatastoreError, match=r"the primary died; the old data is in its place"):
        switch.to_copy(None, lambda _: None, nullcontext())  # type: ignore[arg-type]


def test_termination_during_the_rollback_of_postgresql_keeps_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    resync = Resync.__new__(Resync)
    monkeypatch.setattr(resync, "_put_back", interrupted_once(lambda: "the old data is in its place"), raising=False)
    with pytest.raises(DatastoreError, match=r"the primary died; the old data is in its place"):
        resync._or_put_back(fails)
