"""Roles, status, leaving and joining a set, shutdown: the members are scripted, not mongod."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import DatastoreDown, DatastoreRefused, Role
from agent.datastores.replication_requests import Lag, ResyncRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.mongodb_sets import data_directory, peers, replica_set, resync, store_of
from tests.datastores.scripted_mongod import BEGAN, Group, Service


@pytest.fixture
def group() -> Iterator[Group]:
    with replica_set() as group:
        yield group


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_directory(tmp_path)


def test_role_of_each_member_is_reported(group: Group) -> None:
    first, second, _ = group.members
    assert store_of(first).role() == Role("primary", writable=True)
    assert store_of(second).role() == Role("replica", first.address, streaming=True)
    first.stop()
    assert store_of(second).role() == Role("replica")
    second.state = "REMOVED"
    assert store_of(second).role() == Role("standalone")


def test_status_of_a_primary_has_replicas_and_write_concern(group: Group) -> None:
    first, second, third = group.members
    second.oplog = second.oplog[:8]
    third.stop()
    status = store_of(first).status()
    assert (status.role, status.writable, status.cluster_id) == ("primary", True, str(group.id))
    assert (status.version, status.position, status.timeline) == ("7.0.5", f"{BEGAN + 9}.1@1", 1)
    assert status.source is None and status.dirty is False
    behind, gone = status.replicas
    assert (behind["address"], behind["state"], behind["lag_seconds"]) == (second.address, "SECONDARY", 2)
    assert (gone["state"], gone["lag_seconds"]) == ("(not reachable/healthy)", None)
    assert status.synchronous == {"required": "majority", "satisfied": True, "standbys": [second.address]}
    group.write_concern = 3
    synchronous = store_of(first).status().synchronous
    assert synchronous is not None and synchronous["satisfied"] is False


def test_status_of_a_secondary_has_source_and_lag(group: Group) -> None:
    first, second, _ = group.members
    second.oplog = second.oplog[:6]
    status = store_of(second).status()
    assert status.role == "replica" and status.lag == Lag(seconds=4.0, transactions=4)
    assert status.source is not None
    assert (status.source["address"], status.source["state"]) == (first.address, "streaming")
    assert status.source["last_message_age"] == 1.0
    assert (store_of(first).status().streaming, status.streaming) == (None, True)
    first.stop()
    status = store_of(second).status()
    assert status.unknown["lag"] == "the set has no primary now" and status.lag == Lag()
    assert status.role == "replica" and status.streaming is False


def test_status_has_the_reason_of_a_missing_fact(group: Group) -> None:
    member = group.members[1]
    member.state = "ALONE"
    status = store_of(member).status()
    assert status.reachable and status.unknown["cluster_id"] == "this server is in no replica set"
    member.stop()
    status = store_of(member).status()
    assert not status.reachable and status.error is not None and "nothing listens" in status.error


def test_disable_replication_removes_the_member_on_the_primary(group: Group, data: Path) -> None:
    member = group.members[2]
    member.directory = data
    member.options["priority"] = 5
    store = store_of(member)
    result = store.disable_replication(Stop())
    assert isinstance(result, dict)
    assert (result["set"], result["removed"], result["member"]["priority"]) == ("rs", member.address, 5)
    assert store.role() == Role("standalone") and result["kept_in"] == str(data / "agent-member.json")
    assert group.members[0].received == ["replSetGetConfig", "replSetReconfig"]
    assert store.plan_disable_replication().would is Would.NOTHING


def test_a_configuration_that_changes_meanwhile_is_read_again(group: Group) -> None:
    """Row 30: concurrent changes are no failure."""
    group.busy = 2
    store_of(group.members[2]).disable_replication(Stop())
    assert group.members[0].received.count("replSetReconfig") == 3 and group.members[2].state == "REMOVED"


def test_plan_of_leaving_warns_about_lost_majority_and_copies(group: Group) -> None:
    """Row 17: the last other member with the data, and the majority of writes."""
    store = store_of(group.members[2])
    assert store.plan_disable_replication().warnings == []
    group.members[1].stop()
    warnings = store.plan_disable_replication().warnings
    assert f"{group.members[0].address} would be the only member of the set with the data" in warnings
    assert any("the set would have no majority" in each for each in warnings)


def test_removal_without_a_primary_is_refused(group: Group) -> None:
    group.members[0].stop()
    plan = store_of(group.members[2]).plan_disable_replication()
    assert plan.refusal is not None and "the set rs has no primary now" in plan.refusal.reason
    with pytest.raises(DatastoreRefused, match="the set rs has no primary now"):
        store_of(group.members[2]).disable_replication(Stop())
    primary = store_of(group.members[1])
    group.members[1].state = "PRIMARY"
    assert primary.plan_disable_replication().would is Would.REFUSE


def test_a_removed_member_joins_again_without_a_copy_and_without_force(group: Group, data: Path) -> None:
    """Row 4: it has no own writes, and the oplog reaches back to its position."""
    first, _, member = group.members
    member.directory = data
    member.options["priority"] = 5
    options = peers(a=first)
    store = store_of(member, **options)
    store.disable_replication(Stop())
    first.write(3)
    plan = store.plan_follow(None, "a")
    assert (plan.would, plan.facts["method"]) == (Would.CHANGE, "follow") and "add this server" in plan.steps[0]
    assert store.follow(None, "a", Stop())["method"] == "follow"
    assert store.role() == Role("replica", first.address, streaming=True)
    assert member.options["priority"] == 5 and member.options["votes"] == 1 and member.oplog == first.oplog


def test_a_removed_member_that_is_stale_is_copied(group: Group, data: Path) -> None:
    first, second, member = group.members
    member.directory = data
    store = store_of(member, **peers(a=first))
    store.disable_replication(Stop())
    for each in (first, second):
        each.oplog = first.oplog[:]
        each.write(9)
        each.oplog = each.oplog[-3:]
    refused = store.plan_follow(None, "a")
    assert refused.refusal is not None and "only a copy is possible" in refused.refusal.reason
    with pytest.raises(
        DatastoreRefused, match="it is unknown whether"
    ):  # a removed member no longer knows the majority's position
        resync(store, Service(member, data), primary="a")
    result, _ = resync(store, Service(member, data), primary="a", force=True)
    assert result["method"] == "copy" and (data / "WiredTiger").read_text() == "copied"
    assert store.role().streaming and member.options["votes"] == 1


def test_failed_copy_of_a_removed_member_keeps_it_removed(group: Group, data: Path) -> None:
    first, _, member = group.members
    member.directory = data
    store = store_of(member, timeout=1, **peers(a=first))
    store.disable_replication(Stop())
    with pytest.raises(DatastoreRefused, match="taken out of the set again; the old data is back in its place"):
        resync(store, Service(member, data, copies="ends"), primary="a", mode="copy", force=True)
    assert (data / "collection-0.wt").read_text() == "old" and not member.options


def test_removed_member_adopts_another_set_only_by_its_id(group: Group, data: Path) -> None:
    """Row 1: `adopt`, written out; `force` is not enough."""
    member = group.members[2]
    member.directory = data
    store_of(member).disable_replication(Stop())
    with replica_set("PRIMARY") as other:
        store = store_of(member, **peers(b=other.members[0]))
        service = Service(member, data)
        with pytest.raises(DatastoreRefused, match="belongs to another replica set"):
            resync(store, service, primary="b", force=True)
        with pytest.raises(DatastoreRefused, match=f"adopt names 1234, and .* has the id {other.id}"):
            resync(store, service, primary="b", adopt="1234")
        with pytest.raises(DatastoreRefused, match="has no member at the address of this server"):
            resync(store, service, primary="b", adopt=str(other.id))
        assert (data / "collection-0.wt").read_text() == "old"
        other.options[member.address] = {"_id": 9, "host": member.address, "priority": 0, "votes": 0}
        group.members.remove(member)
        other.members.append(member)
        plan = store.plan_resync(service, ResyncRequest(primary="b", adopt=str(other.id)))
        assert plan.would is Would.DESTROY and plan.discards[0].what == "the data of this server"
        member.group = other
        result, _ = resync(store, service, primary="b", adopt=str(other.id))
        assert result["method"] == "copy" and result["discarded"][0]["unit"] == "bytes"
        assert (data / "WiredTiger").read_text() == "copied" and store.status().cluster_id == str(other.id)


def test_member_of_one_set_is_refused_by_another(group: Group) -> None:
    with replica_set("PRIMARY") as other:
        store = store_of(group.members[1], **peers(b=other.members[0]))
        plan = store.plan_follow(None, "b")
        assert plan.refusal is not None and "belongs to another replica set" in plan.refusal.reason
    assert store_of(group.members[1], **peers(a=group.members[0])).plan_follow(None, "a").would is Would.NOTHING


def test_a_member_shuts_down_or_refuses_to(group: Group) -> None:
    first, second, third = group.members
    assert store_of(first).shut_down(5, Stop()) == f"MongoDB at mongodb://{first.address}/ has shut down"
    with pytest.raises(DatastoreDown):
        store_of(first).shut_down(5, Stop())
    second.state = "PRIMARY"
    third.stop()
    with pytest.raises(DatastoreRefused, match="No electable secondaries"):
        store_of(second).shut_down(5, Stop())
