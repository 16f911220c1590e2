"""What receivers are yet to be told of: put there by the commit that makes an action final, by nothing else."""

import sqlite3
import time

import pytest

from agent.models import State
from agent.store import Store, actions, outbox
from tests.store.scenes import claim, finish, schedule

HERE, THERE = "http://here/", "http://there/"


def waiting(store: Store) -> list[tuple[str, str]]:
    """URL and action of everything that is yet to be told, in its order."""
    sql = """SELECT url, actions.id FROM outbox JOIN receivers ON receivers.id = receiver_id
             JOIN actions USING (finished_order) ORDER BY receiver_id, finished_order"""
    return [tuple(row) for row in store.read(sql)]


def receivers(store: Store, *urls: str) -> dict[str, int]:
    return outbox.set_receivers(store, urls)[0]


def test_every_end_is_put_there_in_the_order_of_the_ends(store: Store) -> None:
    receivers(store, HERE, THERE)
    first, second, third = schedule(store), schedule(store), schedule(store)
    assert waiting(store) == []
    actions.cancel(store, third)
    finish(store, State.DONE)
    seq = claim(store).action.seq
    actions.record(store, seq, 1)
    assert waiting(store) == [(url, each) for url in (HERE, THERE) for each in (third, first)]
    actions.finish(store, seq, State.FAILED, None, "", claim_next=True)
    assert waiting(store) == [(url, each) for url in (HERE, THERE) for each in (third, first, second)]


def test_with_nobody_to_tell_nothing_is_put_there(store: Store) -> None:
    schedule(store)
    finish(store)
    receivers(store, HERE)
    assert waiting(store) == [], "and nobody is told of what was before"


def test_the_head_is_what_waits_longest_and_each_has_its_own(store: Store) -> None:
    ids = receivers(store, HERE, THERE)
    done = []
    for _ in range(3):
        schedule(store)
        done.append(finish(store))
    head = outbox.head(store, ids[HERE])
    assert head is not None
    assert head.action_id == done[0]
    outbox.strike(store, ids[HERE], head.finished_order, 0.0)
    assert waiting(store) == [(HERE, each) for each in done[1:]] + [(THERE, each) for each in done]


def test_receivers_follow_the_configuration(store: Store) -> None:
    before = receivers(store, HERE, THERE)
    schedule(store)
    action_id = finish(store)
    known, removed = outbox.set_receivers(store, [THERE, "http://new/", THERE])
    assert removed == {HERE: 1}
    assert known == {THERE: before[THERE], "http://new/": 3}
    assert waiting(store) == [(THERE, action_id)]
    assert outbox.set_receivers(store, [THERE, "http://new/"]) == (known, {})
    assert outbox.set_receivers(store, []) == ({}, {THERE: 1, "http://new/": 0})
    assert waiting(store) == []


def test_what_is_yet_to_be_told_is_not_pruned_nor_deleted_by_anybody(store: Store) -> None:
    ids = receivers(store, HERE, THERE)
    for _ in range(4):
        schedule(store)
        finish(store)
    for receiver, told in ((ids[HERE], 3), (ids[THERE], 2)):
        for _ in range(told):
            head = outbox.head(store, receiver)
            assert head is not None
            outbox.strike(store, receiver, head.finished_order, 0.0)
    assert actions.prune(store, 0, 100) == 2
    with pytest.raises(sqlite3.IntegrityError, match="yet to be told"):
        store.write_one("DELETE FROM actions", {})
    assert len(waiting(store)) == 3
    receivers(store)
    assert actions.prune(store, 0, 100) == 2


def test_time_goes_on_only_while_somebody_is_waited_for(store: Store) -> None:
    receiver = receivers(store, HERE)[HERE]
    schedule(store)
    finish(store)
    assert outbox.put_off(store, receiver, 5.0, 4.0, keep=10.0) == 0
    schedule(store)
    finish(store)  # in a pause of 4 seconds: its time begins after that
    assert outbox.put_off(store, receiver, 4.9, 8.0, keep=10.0) == 0
    assert outbox.put_off(store, receiver, 0.1, 8.0, keep=10.0) == 1
    assert len(waiting(store)) == 1
    assert outbox.put_off(store, receiver, 8.9, 16.0, keep=10.0) == 0
    assert outbox.put_off(store, receiver, 0.2, 16.0, keep=10.0) == 1
    assert waiting(store) == []


def test_what_ends_after_a_receiver_was_reached_again_waits_from_then(store: Store) -> None:
    receiver = receivers(store, HERE)[HERE]
    schedule(store)
    finish(store)
    outbox.put_off(store, receiver, 5.0, 4.0, keep=10.0)
    head = outbox.head(store, receiver)
    assert head is not None
    outbox.strike(store, receiver, head.finished_order, 4.1)
    schedule(store)
    finish(store)
    assert outbox.put_off(store, receiver, 9.9, 1.0, keep=10.0) == 0
    assert outbox.put_off(store, receiver, 0.2, 1.0, keep=10.0) == 1


def test_a_receiver_that_is_away_for_long_makes_a_prune_no_slower(store: Store) -> None:
    receivers(store, HERE, THERE)
    store.write_one("INSERT INTO resources (type, name) VALUES ('Server', 'here')", {})
    many = """
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
        INSERT INTO outbox (receiver_id, finished_order, since) SELECT 1 + n % 2, n, 0 FROM numbers
    """
    store.write_one(many, {})
    begin = time.perf_counter()
    assert actions.prune(store, 0, 50) == 0
    plan = " ".join(row["detail"] for row in store.read(f"EXPLAIN QUERY PLAN {actions.PRUNE}", {"keep": 0, "limit": 5}))
    assert "SCAN outbox" not in plan
    assert time.perf_counter() - begin < 0.1
