"""What the agent asks a replica set for and how it takes the answers; the members are scripted, not mongod."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.datastores import mongodb_resync
from agent.datastores.base import Datastore, DatastoreDown, DatastoreRefused, DatastoreUnreachable, Role
from agent.kinds import resync as resync_kind
from agent.kinds.base import Failed
from agent.stop import Stop
from tests.datastores.reports import into
from tests.datastores.scripted_mongod import Member, Service
from tests.datastores.test_mongodb import at
from tests.kinds.performing import step_of


@pytest.fixture
def members() -> Iterator[list[Member]]:
    """A primary and two secondaries."""
    members: list[Member] = []
    for state in ("PRIMARY", "SECONDARY", "SECONDARY"):
        Member(members, state).start()
    yield members
    ends = [threading.Thread(target=each.stop) for each in members]  # each takes its time
    for end in ends:
        end.start()
    for end in ends:
        end.join()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with files in it."""
    (tmp_path / "data/journal").mkdir(parents=True)
    for name in ("WiredTiger", "collection-0.wt", "journal/log.1"):
        (tmp_path / "data" / name).write_text("old")
    return tmp_path / "data"


def store_of(member: Member, **options: Any) -> Datastore:
    return at(f"mongodb://{member.address}/", timeout=1, **options)


def test_each_tells_its_part(members: list[Member]) -> None:
    first, second, _ = members
    assert store_of(first).role() == Role("primary", writable=True)
    assert store_of(second).role() == Role("replica", first.address, streaming=True)
    first.stop()
    assert store_of(second).role() == Role("replica")
    second.state = "REMOVED"
    assert store_of(second).role() == Role("standalone")


def test_a_secondary_is_elected(members: list[Member]) -> None:
    assert store_of(members[1]).promote(Stop()) == {"set": "rs"}
    assert [each.state for each in members] == ["SECONDARY", "PRIMARY", "SECONDARY"]


def test_an_election_that_is_lost_is_told(members: list[Member]) -> None:
    members[1].elected = False
    with pytest.raises(DatastoreRefused, match=r"refuses: Election failed\."):
        store_of(members[1]).promote(Stop())


def test_the_primary_is_asked_to_remove_a_member(members: list[Member]) -> None:
    store = store_of(members[2])
    assert store.disable_replication(Stop()) == {"set": "rs", "removed": members[2].address}
    assert store.role() == Role("standalone") and members[0].asked == ["replSetGetConfig", "replSetReconfig"]


def test_without_a_primary_no_member_is_removed(members: list[Member]) -> None:
    members[0].stop()
    with pytest.raises(DatastoreRefused, match="the set rs has no primary now"):
        store_of(members[2]).disable_replication(Stop())


def test_it_is_shut_down_or_refuses(members: list[Member]) -> None:
    assert store_of(members[0]).shut_down(5, Stop()) == f"MongoDB at mongodb://{members[0].address}/ has shut down"
    with pytest.raises(DatastoreDown):
        store_of(members[0]).shut_down(5, Stop())
    members[1].state = "PRIMARY"
    members[2].stop()
    with pytest.raises(DatastoreRefused, match="No electable secondaries"):
        store_of(members[1]).shut_down(5, Stop())


def resync(store: Datastore, service: Service | None) -> tuple[Any, list[str]]:
    phases: list[str] = []
    return store.resync(service, into(phases)), phases


def test_a_member_is_emptied_and_copies_anew(members: list[Member], data: Path) -> None:
    members[1].directory = data
    store = store_of(members[1])
    result, phases = resync(store, Service(members[1], data))
    assert result == {"primary": members[0].address}
    assert phases == [
        "stopping MongoDB",
        "emptying the data directory",
        "starting MongoDB",
        "copying the data: 40 % of 200 bytes",
        "deleting the old data",
    ]
    assert [each.name for each in data.iterdir()] == ["WiredTiger"]
    assert (data / "WiredTiger").read_text() == "copied" and not store.is_dirty()


def test_one_that_ends_half_way_is_dirty_keeps_the_old_data_and_can_begin_anew(
    members: list[Member], data: Path
) -> None:
    store = store_of(members[1], data_directory=str(data))
    with pytest.raises(DatastoreRefused, match="has ended in the middle of its initial sync"):
        resync(store, Service(members[1], data, ends_copying=True))
    assert store.is_dirty() and (data / "agent-resync-old/journal/log.1").read_text() == "old"
    (data / "half-copied.wt").touch()
    resync(store, Service(members[1], data))
    assert not store.is_dirty() and [each.name for each in data.iterdir()] == ["WiredTiger"]


def test_a_mark_that_was_left_lets_nobody_empty_a_primary(members: list[Member], data: Path, tmp_path: Path) -> None:
    """The host went down in a resync; the member made its initial sync alone and was elected since."""
    here, *others = members
    (data / mongodb_resync.EMPTIED).mkdir()
    options = {"kind": "mongodb", "url": f"mongodb://{here.address}/", "data_directory": str(data), "timeout": 1}
    document = {"agent": {"db": str(tmp_path / "agent.db")}, "datastore": options, "service": {"unit": "m.service"}}
    kind = resync_kind.Resync(config.parse(document))
    outcome = kind.step(step_of(kind))
    assert isinstance(outcome, Failed) and "force is needed" in outcome.message
    for each in others:
        each.state = "RECOVERING"
    for state in ("PRIMARY", "SECONDARY"):
        here.state = state
        with pytest.raises(DatastoreRefused, match="no other member of the set has the data"):
            resync(store_of(here, data_directory=str(data)), Service(here, data))
    assert (data / "collection-0.wt").read_text() == "old"


@pytest.mark.parametrize(
    ("state", "dirty"),
    [("PRIMARY", False), ("SECONDARY", False), ("STARTUP2", True), ("EMPTY", True), ("REMOVED", True)],
)
def test_one_that_has_the_data_is_not_dirty_by_a_mark_that_was_left(
    state: str, dirty: bool, members: list[Member], data: Path
) -> None:
    (data / mongodb_resync.EMPTIED).mkdir()
    members[1].state = state
    assert store_of(members[1], data_directory=str(data)).is_dirty() is dirty


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_emptying_goes_on_wherever_it_was_interrupted(moved: int, data: Path) -> None:
    (data / mongodb_resync.EMPTYING).mkdir()
    for entry in sorted(data.iterdir())[:moved]:
        if entry.name != mongodb_resync.EMPTYING:
            entry.rename(data / mongodb_resync.EMPTYING / entry.name)
    assert mongodb_resync.is_under_way(data)
    mongodb_resync.empty(data)
    assert [each.name for each in data.iterdir()] == [mongodb_resync.EMPTIED]
    assert sorted(each.name for each in (data / mongodb_resync.EMPTIED).iterdir()) == [
        "WiredTiger",
        "collection-0.wt",
        "journal",
    ]


def test_emptying_goes_on_though_a_server_was_started_on_what_was_left(data: Path) -> None:
    emptying = data / mongodb_resync.EMPTYING
    emptying.mkdir()
    kept = (data / "WiredTiger").read_bytes()
    for name in ("WiredTiger", "journal"):
        (data / name).rename(emptying / name)
    (data / "WiredTiger").write_text("of a server with next to no data")
    (data / "journal").mkdir()
    (data / "journal" / "new").touch()
    mongodb_resync.empty(data)
    assert [each.name for each in data.iterdir()] == [mongodb_resync.EMPTIED]
    emptied = data / mongodb_resync.EMPTIED
    assert (emptied / "WiredTiger").read_bytes() == kept
    assert (emptied / "collection-0.wt").exists() and not (emptied / "journal" / "new").exists()


def test_nothing_is_touched_where_nobody_else_has_the_data(members: list[Member], data: Path) -> None:
    members[0].state = members[2].state = "RECOVERING"
    service = Service(members[1], data)
    store = store_of(members[1], data_directory=str(data))
    with pytest.raises(DatastoreRefused, match="no other member of the set has the data"):
        resync(store, service)
    members[1].stop()
    with pytest.raises(DatastoreRefused, match="no other member of the set has the data"):
        resync(store, service)
    members[1].stop()
    service.comes_up = False
    with pytest.raises(DatastoreRefused, match=r"set datastore\.primary"):
        resync(store, service)
    with pytest.raises(DatastoreRefused, match="is no primary"):
        resync(store_of(members[1], data_directory=str(data), primary=f"mongodb://{members[0].address}/"), service)
    assert (data / "collection-0.wt").read_text() == "old" and not store.is_dirty()


def test_one_that_does_not_come_up_is_rebuilt_where_the_primary_is_there(members: list[Member], data: Path) -> None:
    members[1].stop()
    store = store_of(members[1], data_directory=str(data), primary=f"mongodb://{members[0].address}/")
    assert resync(store, Service(members[1], data, comes_up=False))[0] == {"primary": members[0].address}


def test_what_is_missing_for_a_resync_is_named(members: list[Member], tmp_path: Path) -> None:
    for service, options, words in (
        (None, {}, r"set \[service\]"),
        (Service(members[1], tmp_path), {}, r"set datastore\.data_directory"),
        (Service(members[1], tmp_path), {"data_directory": str(tmp_path)}, "holds no data of MongoDB"),
    ):
        with pytest.raises(DatastoreRefused, match=words):
            resync(store_of(members[1], **options), service)


def test_a_member_that_no_set_comes_in_touch_with_is_told(members: list[Member], data: Path) -> None:
    service = Service(members[1], data)
    service.start = lambda *_: (setattr(members[1], "state", "EMPTY"), members[1].start())  # type: ignore
    store = store_of(members[1], data_directory=str(data))
    with pytest.raises(DatastoreUnreachable, match="no member of a set has come in touch"):
        resync(store, service)
    assert store.is_dirty()
