"""Decisions and refusals of a resync of a member; the members are scripted, not mongod."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreRefused
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Discard, Plan, Would
from tests.datastores.mongodb_sets import data_directory, peers, replica_set, resync, store_of
from tests.datastores.scripted_mongod import BEGAN, Group, Member, Service


@pytest.fixture
def group() -> Iterator[Group]:
    """A primary and two secondaries."""
    with replica_set() as group:
        yield group


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_directory(tmp_path)


def planned(member: Member, data: Path | None = None, **more: Any) -> Plan:
    """The plan of a resync of this member; options of the datastore are `options`, the rest is the request."""
    options = more.pop("options", {})
    service = None if data is None else Service(member, data)
    if data is not None:
        member.directory = data
    return store_of(member, **options).plan_resync(service, ResyncRequest(**more))


def test_member_in_step_is_not_rebuilt(group: Group, data: Path) -> None:
    """Row 9: no command that changes anything is sent."""
    plan = planned(group.members[1], data)
    assert (plan.would, plan.facts["method"], plan.warnings) == (Would.NOTHING, "none", [])
    result, phases = resync(store_of(group.members[1]), Service(group.members[1], data))
    assert result == {"primary": group.members[0].address, "method": "none", "discarded": []} and phases == []
    reads = {"ping", "replSetGetStatus", "replSetGetConfig", "getCmdLineOpts", "find"}
    assert {word for each in group.members for word in each.received} <= reads
    assert planned(group.members[1], data, force=True).would is Would.NOTHING


def test_delayed_member_counts_as_in_step(group: Group) -> None:
    """Row 10: a delay is configured, not a fault."""
    member = group.members[1]
    member.options["secondaryDelaySecs"] = 3600
    member.oplog = member.oplog[:3]
    plan = planned(member)
    assert plan.would is Would.NOTHING and plan.warnings == ["this member is delayed by 3600 s, as configured"]


def test_member_in_maintenance_counts_as_in_step(group: Group) -> None:
    group.members[1].state = "RECOVERING"
    plan = planned(group.members[1])
    assert plan.would is Would.NOTHING and "RECOVERING" in plan.warnings[0]


@pytest.mark.parametrize("more", [{}, {"force": True}, {"mode": "copy", "force": True}])
def test_peer_of_another_set_is_refused_with_force_too(more: Any, group: Group, data: Path) -> None:
    """Row 1: a typing error in the address of the primary."""
    with replica_set("PRIMARY") as other:
        plan = planned(group.members[1], data, primary="b", options=peers(b=other.members[0]), **more)
        assert plan.refusal is not None and "belongs to another replica set" in plan.refusal.reason
        assert str(other.id) in plan.refusal.reason and str(group.id) in plan.refusal.reason
        configured = {"primary": f"mongodb://{other.members[0].address}/"}
        assert planned(group.members[1], data, options=configured, **more).would is Would.REFUSE
    assert (data / "collection-0.wt").read_text() == "old"


def test_replica_set_initiated_again_is_another_set(group: Group) -> None:
    """Row 27: the primary came back empty and was initiated again."""
    with replica_set("PRIMARY") as again:
        again.members[0].oplog = [(BEGAN + 500, 1, 1)]
        plan = planned(group.members[1], primary="a", force=True, options=peers(a=again.members[0]))
        assert plan.refusal is not None and "belongs to another replica set" in plan.refusal.reason


def test_member_that_is_down_is_refused_in_a_set_without_its_address(group: Group, data: Path) -> None:
    """Row 2: this server cannot be queried, and the other set does not list it."""
    group.members[1].stop()
    with replica_set("PRIMARY") as other:
        plan = planned(group.members[1], data, primary="b", force=True, options=peers(b=other.members[0]))
        assert plan.refusal is not None and "has no member at the address of this server" in plan.refusal.reason


def test_member_that_is_down_is_started_and_checked(group: Group, data: Path) -> None:
    """Rows 3 and 4: its data can be judged once it runs; nothing needs force before that."""
    group.members[1].stop()
    plan = planned(group.members[1], data)
    assert plan.would is Would.UNKNOWN and plan.steps[0] == "start MongoDB"
    result, phases = resync(store_of(group.members[1]), Service(group.members[1], data))
    assert result["method"] == "none" and phases == ["starting MongoDB"]
    assert (data / "collection-0.wt").read_text() == "old"


def test_member_without_a_source_that_can_catch_up_follows(group: Group) -> None:
    member = group.members[1]
    member.receives = False
    member.oplog = member.oplog[:5]
    plan = planned(member)
    assert (plan.would, plan.facts["method"], plan.discards) == (Would.CHANGE, "follow", ())
    member.receives = True  # as mongod does sooner or later
    member.follow()
    assert resync(store_of(member), None)[0]["method"] == "none"


def test_writes_that_the_primary_lacks_are_named_and_need_force(group: Group) -> None:
    """Row 3: three writes acknowledged by this server alone."""
    here, primary = group.members[1], group.members[0]
    here.committed = here.oplog[-1]
    here.write(3)
    group.term = 2
    primary.write(2)
    here.receives = False
    plan = planned(here)
    assert plan.refusal is not None
    parted = f"{BEGAN + 9}.1@1"
    assert plan.refusal.reason == f"this server has 3 writes that the primary lacks: the oplogs diverged at {parted}"
    assert plan.facts["parted_at"] == parted
    forced = planned(here, force=True)
    assert (forced.would, forced.facts["method"]) == (Would.DESTROY, "rewind")
    assert forced.discards == (Discard(f"writes of this server after {parted}", 3, "writes"),)


def test_same_time_in_another_term_is_another_write(group: Group) -> None:
    here, primary = group.members[1], group.members[0]
    here.committed = here.oplog[-1]
    here.write()
    group.term = 2
    primary.write()
    here.receives = False
    assert here.oplog[-1][:2] == primary.oplog[-1][:2]
    plan = planned(here)
    assert plan.refusal is not None and "1 writes that the primary lacks" in plan.refusal.reason


def stale(group: Group, member: Member) -> None:
    """No other member has the oplog that this one needs."""
    member.receives, member.state = False, "RECOVERING"
    for each in group.members:
        if each is not member:
            each.write(10)
            each.oplog = each.oplog[-5:]


def test_stale_member_whose_writes_a_majority_has_is_copied_without_force(group: Group, data: Path) -> None:
    stale(group, group.members[1])
    plan = planned(group.members[1], data)
    assert (plan.would, plan.facts["method"], plan.discards) == (Would.DESTROY, "copy", [])
    assert plan.needs.disk_bytes == 200 and plan.facts["keep_old"] is True
    refused = planned(group.members[1], data, mode="follow")
    assert refused.refusal is not None and "no member has the oplog" in refused.refusal.reason


def test_stale_member_with_possibly_unreplicated_writes_needs_force(group: Group, data: Path) -> None:
    stale(group, group.members[1])
    group.members[1].committed = group.members[1].oplog[2]
    plan = planned(group.members[1], data)
    assert plan.refusal is not None and "it is unknown whether" in plan.refusal.reason
    forced = planned(group.members[1], data, force=True)
    assert forced.would is Would.DESTROY and forced.discards[0].amount is None


def test_collections_in_the_database_local_count_as_data(group: Group, data: Path) -> None:
    """They are never replicated, and an initial sync would lose them."""
    stale(group, group.members[1])
    group.members[1].own_collections = ["queue", "notes"]
    plan = planned(group.members[1], data)
    assert plan.refusal is not None and "only on this server: notes, queue" in plan.refusal.reason
    assert planned(group.members[1], data, force=True).discards[0].what == "collections of local: notes, queue"


def test_primary_arbiter_and_server_of_no_set_are_refused_with_force_too(group: Group, data: Path) -> None:
    for state, words in (
        ("PRIMARY", "is the primary of the set rs"),
        ("ARBITER", "is an arbiter"),
        ("ALONE", "is a member of no replica set"),
        ("EMPTY", "has no configuration of a replica set yet"),
    ):
        group.members[0].state, group.members[1].state = "SECONDARY", state
        plan = planned(group.members[1], data, force=True)
        assert plan.refusal is not None and words in plan.refusal.reason, plan


def test_peer_that_is_not_primary_is_refused_with_the_primary(group: Group) -> None:
    plan = planned(group.members[1], primary="c", options=peers(c=group.members[2]))
    assert plan.refusal is not None
    assert f"the primary of its set is {group.members[0].address}" in plan.refusal.reason
    itself = planned(group.members[1], primary="b", options=peers(b=group.members[1]))
    assert itself.refusal is not None and "is this server itself" in itself.refusal.reason


def test_configured_primary_that_is_secondary_now_identifies_its_set(group: Group) -> None:
    """Row 14: datastore.primary names A, and B was promoted."""
    first, second, third = group.members
    first.state, second.state = "SECONDARY", "PRIMARY"
    plan = planned(third, options={"primary": f"mongodb://{first.address}/"})
    assert plan.would is Would.NOTHING and plan.facts["primary"] == second.address
    first.stop()
    plan = planned(third, options={"primary": f"mongodb://{first.address}/"})
    assert plan.would is Would.NOTHING and plan.facts["primary"] == second.address


def test_set_without_a_primary_is_refused(group: Group) -> None:
    group.members[0].state = "SECONDARY"
    plan = planned(group.members[1])
    assert plan.refusal is not None and "has no reachable primary now" in plan.refusal.reason


def test_running_initial_sync_is_awaited(group: Group, data: Path) -> None:
    group.members[1].state = "STARTUP2"
    plan = planned(group.members[1], data)
    assert (plan.would, plan.facts["method"]) == (Would.CHANGE, "copy") and "already" in plan.summary


def test_initial_sync_that_refuses_the_login_is_named(group: Group, data: Path) -> None:
    """A real mongod has no users until its initial sync ends: "Authentication failed" sends people to the passwords."""
    group.members[1].state, group.members[1].users_while_it_copies = "STARTUP2", False
    with pytest.raises(DatastoreRefused, match="is in its initial sync or recovers, and refuses the login"):
        planned(group.members[1], data)
    with pytest.raises(DatastoreRefused, match="Wait until it is a secondary"):
        resync(store_of(group.members[1]), Service(group.members[1], data))


def test_copy_that_would_cost_the_set_its_majority_needs_force(group: Group, data: Path) -> None:
    """The primary would step down as soon as this member is stopped."""
    group.members[2].stop()
    plan = planned(group.members[1], data, mode="copy")
    assert plan.refusal is not None and "the primary would step down" in plan.refusal.reason
    assert planned(group.members[1], data, mode="copy", force=True).would is Would.DESTROY
    group.members[1].options["votes"] = 0
    group.members[1].options["priority"] = 0
    group.members[2].start()
    assert planned(group.members[1], data, mode="copy").would is Would.DESTROY


def test_copy_that_would_fail_after_the_stop_is_refused_before_it(group: Group, data: Path, tmp_path: Path) -> None:
    here = group.members[1]
    here.version = "6.0.14"
    refused = [planned(here, data, mode="copy")]
    here.version = "7.0.5"
    group.members[0].total_size = 2**60
    refused.append(planned(here, data, mode="copy", force=True))
    group.members[0].total_size = 200
    (data / "journal").rename(tmp_path / "elsewhere")
    (data / "journal").symlink_to(tmp_path / "elsewhere")
    (data / "journal" / "0.wt").touch()
    with pytest.raises(DatastoreRefused, match="journal is a link or a mount"):
        planned(here, data, mode="copy")
    reasons = [str(plan.refusal) for plan in refused]
    assert "needs MongoDB" not in reasons[0] and "feature compatibility version 7.0" in reasons[0]
    assert "are free without the old data" in reasons[1]
    assert "replSetReconfig" not in here.received and (data / "collection-0.wt").read_text() == "old"


def test_copy_without_room_for_both_needs_force(group: Group, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "agent.datastores.mongodb.copy.os.statvfs", lambda _: type("Full", (), {"f_bavail": 0, "f_frsize": 1})
    )
    plan = planned(group.members[1], data, mode="copy")
    assert plan.refusal is not None and "does not hold the copy beside the old data" in plan.refusal.reason
    forced = planned(group.members[1], data, mode="copy", force=True)
    assert forced.facts["keep_old"] is False and "cannot be restored" in forced.warnings[0]


def test_missing_options_of_a_copy_are_named(group: Group, tmp_path: Path) -> None:
    here = group.members[1]
    for service, options, words in (
        (None, {}, r"set \[service\]"),
        (Service(here, tmp_path), {}, r"set datastore\.data_directory"),
        (Service(here, tmp_path), {"data_directory": str(tmp_path)}, "holds no data of MongoDB"),
        (Service(here, tmp_path), {"data_directory": str(tmp_path / "of-another")}, "and MongoDB has its data in"),
    ):
        here.directory = tmp_path if "another" in str(options) else None
        with pytest.raises(DatastoreRefused, match=words):
            resync(store_of(here, **options), service, mode="copy")
    plan = planned(here, mode="rewind")
    assert plan.refusal is not None and "rewinds a member by itself" in plan.refusal.reason
