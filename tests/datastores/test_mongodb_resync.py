"""A copy of a member and its rollback; the members are scripted, not mongod, and the files are real."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreRefused
from agent.datastores.mongodb import files, sync
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import RESYNC
from agent.datastores.resync_report import Report
from agent.datastores.termination import Terminated
from tests.datastores.mongodb_sets import data_directory, peers, replica_set, resync, store_of
from tests.datastores.scripted_mongod import Group, Member, Service

KEPT = {"keyfile", "mongod.log"}
"""Files in the data directory that belong to the server."""


@pytest.fixture
def group() -> Iterator[Group]:
    with replica_set() as group:
        yield group


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_directory(tmp_path)


@pytest.fixture
def here(group: Group, data: Path) -> Member:
    """The second member, which has the data directory."""
    group.members[1].directory = data
    return group.members[1]


def names(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


def test_member_is_emptied_and_copies_the_data_again(group: Group, here: Member, data: Path) -> None:
    store = store_of(here)
    result, phases = resync(store, Service(here, data), mode="copy")
    assert result == {"primary": group.members[0].address, "method": "copy", "discarded": []}
    assert list(dict.fromkeys(phases)) == [
        "stopping MongoDB",
        "moving the old data aside",
        "starting MongoDB",
        "copying the data",
        "deleting the old data",
    ]
    assert names(data) == {"WiredTiger"} | KEPT and not store.is_dirty()
    assert (data / "WiredTiger").read_text() == "copied" and (data / "keyfile").read_text() == "old"


def test_files_of_the_server_are_kept_by_a_copy(data: Path) -> None:
    """Row 22: key files, certificates, logs, settings and what a rollback has set aside are no data."""
    for name in ("mongod.conf", "server.pem", "mongod.pid"):
        (data / name).touch()
    for name in ("rollback/app.things", "diagnostic.data", "shop/collection", "tls"):
        (data / name).mkdir(parents=True)
    (data / "rollback/app.things/removed.bson").touch()
    (data / "shop/collection/1.wt").touch()
    files.set_aside(data)
    server = {"mongod.conf", "server.pem", "mongod.pid", "rollback", "diagnostic.data", "tls"}
    assert names(data) == KEPT | server | {files.EMPTIED}
    assert names(data / files.EMPTIED) == {"WiredTiger", "collection-0.wt", "journal", "shop"}


@pytest.mark.parametrize("fault", ["mongod ends", "no set", "sources gone", "cancelled", "disk full", "not stopped"])
def test_old_data_serves_again_after_a_failed_copy(
    fault: str, group: Group, here: Member, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows 5, 6, 7 and 15: either the new data follows, or the old data serves as before."""
    service = Service(here, data, copies="ends" if fault == "mongod ends" else "stalls")
    words = spoil(fault, group, here, service, monkeypatch)
    store = store_of(here, timeout=1)
    with pytest.raises(DatastoreRefused, match=words) as raised:
        resync(store, service, mode="copy")
    touched = fault not in ("disk full", "not stopped")
    expected = "the old data is back in its place" if touched else "data was not touched|old data is back"
    assert re.search(expected, str(raised.value)), raised.value
    assert names(data) == {"WiredTiger", "collection-0.wt", "journal"} | KEPT
    assert (data / "WiredTiger").read_text() == "old" and (data / "journal/log.1").read_text() == "old"
    assert here.server is not None and here.state == "SECONDARY" and not store.is_dirty()


def spoil(fault: str, group: Group, here: Member, service: Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """Arrange the fault; returns a part of the expected message."""
    if fault == "no set":
        service.after_start = lambda empty: setattr(here, "state", "EMPTY" if empty else "SECONDARY")
        return "no member of the set has contacted MongoDB"
    if fault == "sources gone":
        others = [each for each in group.members if each is not here]
        service.after_start = lambda empty: empty and _recovering(others)
        return "no other member of the set with the data is reachable any more"
    if fault == "cancelled":
        monkeypatch.setattr(sync.InitialSync, "await_following", _terminate)
        return "^cancelled; "
    if fault == "disk full":
        monkeypatch.setattr(files, "set_aside", _no_space)
        return "No space left"
    if fault == "not stopped":
        service.stop = lambda *_: None  # type: ignore[method-assign]
        return "the service does not stop"
    return "MongoDB exited before it followed its set"


def _recovering(members: list[Member]) -> bool:
    for each in members:
        each.state = "RECOVERING"
    return True


def _terminate(_: Any) -> None:
    raise Terminated


def _no_space(_: Path) -> None:
    raise OSError(28, "No space left on device")


def test_old_data_that_cannot_be_put_back_is_named(here: Member, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "put_back", _no_space)
    with pytest.raises(DatastoreRefused) as raised:
        resync(store_of(here, timeout=1), Service(here, data, copies="ends"), mode="copy")
    assert f"it lies in {data / files.EMPTIED}; run resync_slave_db again" in str(raised.value)
    assert store_of(here).is_dirty()


def test_a_job_that_was_killed_leaves_the_old_data_to_be_put_back(here: Member, data: Path) -> None:
    """The agent calls `recover` after the job has ended."""
    service = Service(here, data, copies="stalls")
    store = store_of(here)
    service.stop(None)  # type: ignore[arg-type]
    files.set_aside(data)
    service.start(None)  # type: ignore[arg-type]
    assert store.is_dirty()
    assert store.recover(service) == "the old data is back in its place, and MongoDB runs on it"
    assert (data / "collection-0.wt").read_text() == "old" and not store.is_dirty() and here.state == "SECONDARY"
    assert store.recover(service) is None


def test_new_data_that_follows_is_kept_after_a_kill(here: Member, data: Path) -> None:
    service = Service(here, data)
    store = store_of(here)
    files.set_aside(data)
    (data / "WiredTiger").write_text("copied")
    message = store.recover(service)
    assert message is not None and "the initial sync had succeeded meanwhile" in message
    assert names(data) == {"WiredTiger"} | KEPT


def test_the_next_resync_puts_the_old_data_back_first(here: Member, data: Path) -> None:
    """The host went down during a copy: the old data may be sufficient."""
    service = Service(here, data)
    service.stop(None)  # type: ignore[arg-type]
    files.set_aside(data)
    (data / "half-copied.wt").touch()
    store = store_of(here)
    assert "old data" in " ".join(store.plan_resync(service, RESYNC).steps)
    result, phases = resync(store, service)
    assert result["method"] == "none" and phases[0] == "putting the old data back"
    assert (data / "collection-0.wt").read_text() == "old" and not (data / "half-copied.wt").exists()


def test_leftovers_of_an_ended_resync_are_deleted_on_a_member_in_step(here: Member, data: Path) -> None:
    for left in (files.EMPTIED, files.DROPPING):
        (data / left).mkdir()
        (data / left / "collection-9.wt").touch()
        store = store_of(here)
        plan = store.plan_resync(Service(here, data), RESYNC)
        assert plan.would.value == "change" and "earlier resync" in plan.summary
        result, phases = resync(store, Service(here, data))
        assert result["method"] == "none" and phases == ["deleting the old data"]
        assert not (data / left).exists() and (data / "collection-0.wt").read_text() == "old"


def test_force_without_room_deletes_the_old_data_first(
    here: Member, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Full", (), {"f_bavail": 0, "f_frsize": 1})
    monkeypatch.setattr("agent.datastores.mongodb.copy.os.statvfs", lambda _: full)
    service = Service(here, data, copies="ends")
    store = store_of(here, timeout=1)
    with pytest.raises(DatastoreRefused, match="force has deleted the old data"):
        resync(store, service, mode="copy", force=True)
    assert store.is_dirty() and not (data / "collection-0.wt").exists()
    service.copies = "well"
    monkeypatch.undo()
    assert resync(store, service)[0]["method"] in ("copy", "none")
    assert names(data) == {"WiredTiger"} | KEPT and not store.is_dirty()


def test_a_server_that_does_not_come_up_needs_force(group: Group, here: Member, data: Path) -> None:
    """Its data cannot be judged; the primary lists it as a member."""
    here.stop()
    service = Service(here, data, comes_up=False)
    store = store_of(here, timeout=1, **peers(a=group.members[0]))
    with pytest.raises(DatastoreRefused, match="so its data cannot be inspected; force discards this"):
        resync(store, service, primary="a")
    assert (data / "collection-0.wt").read_text() == "old"
    result, _ = resync(store, service, primary="a", force=True)
    assert result["method"] == "copy" and result["discarded"][0]["what"] == "the data of this server"
    assert (data / "WiredTiger").read_text() == "copied"
    with pytest.raises(DatastoreRefused, match=r"set datastore\.primary"):
        here.stop()
        (data / "WiredTiger").write_text("old")
        resync(store_of(here, timeout=1), service, force=True)


def test_forced_resync_reports_the_discarded_data(group: Group, here: Member, data: Path) -> None:
    here.committed = here.oplog[-1]
    here.write(4)
    here.receives = False
    for each in group.members:
        if each is not here:
            group.term = 2
            each.write(20)
            each.oplog = each.oplog[-10:]
    result, _ = resync(store_of(here), Service(here, data), force=True)
    assert result["method"] == "copy" and result["discarded"][0]["amount"] is None


def test_member_that_can_catch_up_is_awaited_without_a_copy(group: Group, here: Member) -> None:
    """Rows 4 and 14: no copy, no stop; MongoDB is waited for."""
    here.receives = False
    here.oplog = here.oplog[:5]
    phases: list[str] = []

    def report(report: Report) -> None:
        phases.append(report.phase)
        here.receives = True

    result = store_of(here).resync(None, ResyncProgress(report), RESYNC)
    assert result["method"] == "follow" and phases == ["catching up"]


def test_member_that_receives_nothing_fails_with_the_message_of_mongod(here: Member) -> None:
    here.receives = False
    here.oplog = here.oplog[:5]
    words = "receives nothing: could not find member to sync from; nothing was stopped or deleted"
    with pytest.raises(DatastoreRefused, match=words):
        resync(store_of(here, timeout=1), None)


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_old_data_is_put_back_after_an_interruption_at_any_move(moved: int, data: Path) -> None:
    (data / files.EMPTYING).mkdir()
    for entry in files.data_of(data)[:moved]:
        entry.rename(data / files.EMPTYING / entry.name)
    assert files.is_in_progress(data)
    files.put_back(data)
    assert names(data) == {"WiredTiger", "collection-0.wt", "journal"} | KEPT
    assert (data / "journal/log.1").read_text() == "old"


def test_old_data_is_put_back_completely_after_an_interrupted_rollback(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each file that was moved back: restored files are never deleted."""
    files.set_aside(data)
    (data / "WiredTiger").write_text("copied")
    rename, left = Path.rename, [2]

    def killed(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return rename(self, target)

    for _ in range(4):
        left[0] = 2
        monkeypatch.setattr(Path, "rename", killed)
        try:
            files.put_back(data)
        except KeyboardInterrupt:
            continue
        finally:
            monkeypatch.setattr(Path, "rename", rename)
        break
    assert names(data) == {"WiredTiger", "collection-0.wt", "journal"} | KEPT
    assert (data / "WiredTiger").read_text() == "old"


def test_a_deletion_of_old_data_that_was_interrupted_is_never_put_back(data: Path) -> None:
    (data / files.DROPPING).mkdir()
    (data / files.DROPPING / "collection-0.wt").write_text("half of the old data")
    assert not files.is_in_progress(data) and files.has_leftovers(data)
    assert files.put_back(data) is False
    files.drop_old(data)
    assert (data / "collection-0.wt").read_text() == "old" and not files.has_leftovers(data)
