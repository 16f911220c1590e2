"""Elections and handovers: the agent's requests and its reading of the answers; the members are scripted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agent.datastores.base import DatastoreRefused
from agent.datastores.replication_requests import Lag, PromoteRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.mongodb_sets import peers, replica_set, store_of
from tests.datastores.scripted_mongod import Group, Member


@pytest.fixture
def group() -> Iterator[Group]:
    with replica_set() as group:
        yield group


def promote(member: Member, *, options: Any = None, **request: Any) -> Any:
    return store_of(member, **(options or {})).promote(Stop(), PromoteRequest(**request))


def refusal(member: Member, *, options: Any = None, **request: Any) -> str:
    plan = store_of(member, **(options or {})).plan_promote(PromoteRequest(**request))
    assert plan.refusal is not None, plan
    with pytest.raises(DatastoreRefused):
        promote(member, options=options, **request)
    return plan.refusal.reason


def states(group: Group) -> list[str]:
    return [each.state for each in group.members]


def test_secondary_is_elected_if_the_primary_is_gone(group: Group) -> None:
    first, second, _ = group.members
    first.stop()
    options = {"primary": f"mongodb://{first.address}/"}
    result = promote(second, options=options)
    assert second.state == "PRIMARY" and second.received.count("replSetStepUp") == 1
    assert result["old_primary"] == "unreachable" and result["old_primary_address"] == first.address
    assert result["held_by"] is None and result["discarded"] == []
    assert result["lag"] == {"bytes": None, "seconds": 91.0, "transactions": None}, "how old the newest write here is"


def test_writable_primary_needs_force_and_steps_down(group: Group) -> None:
    """Row 13: an election makes no second primary, but replaces one that serves."""
    first, second, _ = group.members
    first.write(5)
    assert f"the old primary {first.address} still accepts writes" in refusal(second)
    assert states(group)[0] == "PRIMARY"
    plan = store_of(second).plan_promote(PromoteRequest(force=True))
    assert plan.would is Would.DISRUPT and plan.discards[0].amount == 5
    result = promote(second, force=True)
    assert result["old_primary"] == "read_only" and result["lag"]["transactions"] == 5
    assert states(group) == ["SECONDARY", "PRIMARY", "SECONDARY"]


def test_max_lag_and_wait_are_respected(group: Group) -> None:
    first, second, _ = group.members
    first.state = "SECONDARY"
    first.stop()
    assert "91.0 seconds behind, and max_lag is 10 seconds" in refusal(second, max_lag=Lag(seconds=10))
    assert "the lag in bytes is unknown" in refusal(second, max_lag=Lag(bytes=1))
    first.start()
    first.state = "PRIMARY"
    first.write(3)
    assert "still accepts writes" in refusal(second, max_lag=Lag(seconds=1))
    catching_up = threading.Timer(0.5, second.follow)
    catching_up.start()
    result = promote(second, wait=30.0, force=True)
    catching_up.join()
    assert result["lag"] == {"bytes": None, "seconds": 0.0, "transactions": 0} and result["discarded"] == []


def test_a_member_that_cannot_win_is_refused_with_force_too(group: Group) -> None:
    first, second, third = group.members
    first.state = "SECONDARY"
    second.options["priority"] = 0
    assert "the priority of this member is 0" in refusal(second, force=True)
    second.options["priority"] = 1
    second.state = "RECOVERING"
    assert "in the state RECOVERING, and only a secondary can be elected" in refusal(second, force=True)
    second.state = "SECONDARY"
    first.stop()
    third.stop()
    assert "1 of the 3 votes of the set are reachable, and 2 win an election" in refusal(second, force=True)
    second.state = "REMOVED"
    second.last_config = group.config
    assert "is in no replica set" in refusal(second, force=True)
    assert "replSetStepUp" not in second.received


def test_an_election_that_is_lost_is_reported(group: Group) -> None:
    group.members[0].stop()
    group.members[1].elected = False
    with pytest.raises(DatastoreRefused, match=r"refuses: Election failed\."):
        promote(group.members[1])


def test_a_write_without_acknowledgement_is_part_of_the_result(group: Group) -> None:
    """Rows 12 and 29: the default write concern asks for members that are gone."""
    first, second, _ = group.members
    first.stop()
    second.held = "waiting for replication timed out"
    group.write_concern = 3
    held = promote(second)["held_by"]
    assert held.startswith("the write concern w: 3 is not met within") and held.endswith(
        "waiting for replication timed out"
    )


def test_newer_writes_of_another_member_are_reported(group: Group) -> None:
    first, second, third = group.members
    first.stop()
    third.write(2)
    plan = store_of(second).plan_promote(PromoteRequest())
    assert any(f"{third.address} has newer writes" in each for each in plan.warnings)


def test_promotion_of_a_primary_does_nothing(group: Group) -> None:
    assert store_of(group.members[0]).plan_promote(PromoteRequest()).would is Would.NOTHING


# The hand-over


def demote(group: Group, **options: Any) -> Any:
    store = store_of(group.members[0], **peers(b=group.members[1]) | options)
    return store.demote(None, "b", Stop())


def test_primary_hands_over_to_exactly_the_named_member(group: Group) -> None:
    first, second, third = group.members
    first.write(7)
    written = list(first.oplog)
    store = store_of(first, **peers(b=second))
    plan = store.plan_demote(None, "b")
    assert plan.would is Would.DISRUPT and plan.facts["lag"]["transactions"] == 7
    result = demote(group)
    assert result["handed_over_to"] == second.address
    assert states(group) == ["SECONDARY", "PRIMARY", "SECONDARY"]
    assert second.oplog[: len(written)] == written, "no acknowledged write is lost"
    assert third.received.count("replSetFreeze") == 2 and not third.frozen
    assert store.plan_demote(None, "b").would is Would.NOTHING
    assert store.role().primary == second.address


def test_handover_interrupted_after_the_step_down_continues(group: Group) -> None:
    group.members[0].state = "SECONDARY"
    assert demote(group)["handed_over_to"] == group.members[1].address
    assert states(group) == ["SECONDARY", "PRIMARY", "SECONDARY"]


def test_other_elected_member_hands_over_again(group: Group) -> None:
    group.members[0].state, group.members[2].state = "SECONDARY", "PRIMARY"
    demote(group)
    assert states(group) == ["SECONDARY", "PRIMARY", "SECONDARY"]


def test_the_primary_stays_if_no_member_catches_up(group: Group) -> None:
    group.catches_up = False
    with pytest.raises(DatastoreRefused, match="No electable secondaries caught up; this server still accepts writes"):
        demote(group)
    assert states(group)[0] == "PRIMARY" and not group.members[2].frozen


def test_failed_election_of_the_peer_restores_this_primary(group: Group) -> None:
    group.members[1].elected = False
    with pytest.raises(
        DatastoreRefused, match=r"was not elected: .*Election failed.*; this server accepts writes again"
    ):
        demote(group, timeout=1)
    assert states(group)[0] == "PRIMARY"


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda group: group.members[1].options.update(priority=0), "can never be elected"),
        (lambda group: group.members[1].options.update(secondaryDelaySecs=60), "is delayed by 60 s"),
        (lambda group: setattr(group.members[1], "state", "RECOVERING"), "in the state RECOVERING"),
        (lambda group: setattr(group.members[0], "state", "SECONDARY"), "this server is no primary"),
        (lambda group: group.members[0].write(60), "is 60 s behind"),
    ],
)
def test_handover_that_would_fail_is_refused(spoil: Any, words: str, group: Group) -> None:
    spoil(group)
    plan = store_of(group.members[0], **peers(b=group.members[1])).plan_demote(None, "b")
    assert plan.refusal is not None and words in plan.refusal.reason
    assert "replSetStepDown" not in group.members[0].received


def test_handover_to_another_set_is_refused(group: Group) -> None:
    with replica_set("PRIMARY") as other:
        plan = store_of(group.members[0], **peers(b=other.members[0])).plan_demote(None, "b")
        assert plan.refusal is not None and "is in another replica set" in plan.refusal.reason


def test_three_members_fail_over_and_switch_back_by_the_kinds_alone(group: Group) -> None:
    """Row 14: A dies, B is promoted, C follows B, A comes back, and B hands over to A."""
    first, second, third = group.members
    stores = [store_of(each, **peers(a=first, b=second, c=third)) for each in group.members]
    first.stop()
    stores[1].promote(Stop())
    third.follow()
    assert stores[2].plan_follow(None, "b").would is Would.NOTHING
    first.state = "SECONDARY"
    first.follow()
    first.start()
    assert stores[0].plan_follow(None, "b").would is Would.NOTHING
    stores[1].demote(None, "a", Stop())
    assert states(group) == ["PRIMARY", "SECONDARY", "SECONDARY"]
    assert stores[0].plan_promote(PromoteRequest()).would is Would.NOTHING
