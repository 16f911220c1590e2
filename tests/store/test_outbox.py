"""Undelivered callbacks: written only by the commit of their event."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent import clock
from agent.config import callbacks
from agent.models import State
from agent.store import Store, actions, announced_holds, outbox, retention, transitions
from agent.store.audit_chain import chained
from agent.store.migrate import migrate, migrations
from tests.store.scenes import claim, finish, schedule

HERE, THERE = "http://here/", "http://there/"
FINAL = ("action.final",)
SUBSCRIPTIONS = 13
"""The migration that created the subscriptions."""


def waiting(store: Store) -> list[tuple[str, str]]:
    """URL and action of every pending callback, in order."""
    sql = """SELECT url, actions.id FROM outbox JOIN receivers ON receivers.id = receiver_id
             JOIN actions ON actions.seq = action_seq ORDER BY receiver_id, event_id"""
    return [tuple(row) for row in store.read(sql)]


def receivers(store: Store, *urls: str) -> dict[str, int]:
    return outbox.set_receivers(store, urls, FINAL)[0]


def events(store: Store, receiver: int) -> list[tuple[str, str, str | None]]:
    """Event, action and reason of every pending callback, delivered one by one."""
    found = []
    while (head := outbox.next_pending(store, receiver)) is not None:
        found.append((head.event, head.action_id, head.held))
        outbox.remove_delivered(store, receiver, head.event_id, None)
    return found


def test_outbox_has_every_end_of_an_action_in_order(store: Store) -> None:
    receivers(store, HERE, THERE)
    first, second, third = schedule(store), schedule(store), schedule(store)
    assert waiting(store) == []
    transitions.cancel(store, third)
    finish(store, State.DONE)
    seq = claim(store).action.seq
    transitions.record(store, seq, 1)
    assert waiting(store) == [(url, each) for url in (HERE, THERE) for each in (third, first)]
    transitions.finish(store, seq, State.FAILED, None, "", claim_next=True)
    assert waiting(store) == [(url, each) for url in (HERE, THERE) for each in (third, first, second)]


def test_without_receivers_the_outbox_stays_empty(store: Store) -> None:
    schedule(store)
    finish(store)
    receivers(store, HERE)
    assert waiting(store) == [], "earlier ends make no callbacks"


def test_each_receiver_gets_its_own_oldest_callback_first(store: Store) -> None:
    ids = receivers(store, HERE, THERE)
    done = []
    for _ in range(3):
        schedule(store)
        done.append(finish(store))
    head = outbox.next_pending(store, ids[HERE])
    assert head is not None
    assert head.action_id == done[0]
    outbox.remove_delivered(store, ids[HERE], head.event_id, None)
    assert waiting(store) == [(HERE, each) for each in done[1:]] + [(THERE, each) for each in done]


def test_receivers_follow_the_configuration(store: Store) -> None:
    before = receivers(store, HERE, THERE)
    schedule(store)
    action_id = finish(store)
    known, removed = outbox.set_receivers(store, [THERE, "http://new/", THERE], FINAL)
    assert removed == {HERE: 1}
    assert known == {THERE: before[THERE], "http://new/": 3}
    assert waiting(store) == [(THERE, action_id)]
    assert outbox.set_receivers(store, [THERE, "http://new/"], FINAL) == (known, {})
    assert outbox.set_receivers(store, [], FINAL) == ({}, {THERE: 1, "http://new/": 0})
    assert waiting(store) == []


def test_action_with_undelivered_callbacks_is_neither_pruned_nor_deleted(store: Store) -> None:
    ids = receivers(store, HERE, THERE)
    for _ in range(4):
        schedule(store)
        finish(store)
    for receiver, message in ((ids[HERE], 3), (ids[THERE], 2)):
        for _ in range(message):
            head = outbox.next_pending(store, receiver)
            assert head is not None
            outbox.remove_delivered(store, receiver, head.event_id, None)
    assert retention.prune(store, 0, 100) == 2
    with pytest.raises(sqlite3.IntegrityError, match="undelivered callback"):
        store.write_one("DELETE FROM actions", {})
    assert len(waiting(store)) == 3
    receivers(store)
    assert retention.prune(store, 0, 100) == 2


def test_time_of_a_callback_counts_from_its_first_attempt(store: Store) -> None:
    receiver = receivers(store, HERE)[HERE]
    schedule(store)
    finish(store)
    assert outbox.postpone(store, receiver, 5.0, 4.0, keep=10.0, failure="away") == 0
    schedule(store)
    finish(store)  # in a pause of 4 seconds: its time begins after that
    assert outbox.postpone(store, receiver, 4.9, 8.0, keep=10.0, failure="away") == 0
    assert outbox.postpone(store, receiver, 0.1, 8.0, keep=10.0, failure="away") == 1
    assert len(waiting(store)) == 1
    assert outbox.postpone(store, receiver, 8.9, 16.0, keep=10.0, failure="away") == 0
    assert outbox.postpone(store, receiver, 0.2, 16.0, keep=10.0, failure="away") == 1
    assert waiting(store) == []


def test_time_of_a_callback_counts_from_the_recovery_of_its_receiver(store: Store) -> None:
    receiver = receivers(store, HERE)[HERE]
    schedule(store)
    finish(store)
    outbox.postpone(store, receiver, 5.0, 4.0, keep=10.0, failure="away")
    head = outbox.next_pending(store, receiver)
    assert head is not None
    outbox.remove_delivered(store, receiver, head.event_id, 4.1)
    schedule(store)
    finish(store)
    assert outbox.postpone(store, receiver, 9.9, 1.0, keep=10.0, failure="away") == 0
    assert outbox.postpone(store, receiver, 0.2, 1.0, keep=10.0, failure="away") == 1


def test_prune_is_as_fast_with_many_undelivered_callbacks(store: Store) -> None:
    receivers(store, HERE, THERE)
    store.write_one("INSERT INTO resources (type, name) VALUES ('Server', 'here')", {})
    many = """
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
        INSERT INTO outbox (receiver_id, event_id, event, action_seq, since)
        SELECT 1 + n % 2, n, 'action.final', n, 0 FROM numbers
    """
    store.write_one(many, {})
    assert retention.prune(store, 0, 50) == 0
    assert "LIMIT :limit" in retention.PRUNE.partition("WHERE NOT EXISTS")[0], "so many are looked at"
    plan = " ".join(
        row["detail"] for row in store.read(f"EXPLAIN QUERY PLAN {retention.PRUNE}", {"keep": 0, "limit": 5})
    )
    assert "SCAN outbox" not in plan


def test_receiver_gets_its_subscribed_events_in_order(store: Store) -> None:
    ids, _ = outbox.set_receivers(store, [HERE, THERE], callbacks.EVENTS)
    ended, waits = schedule(store), schedule(store, needs_approval=True)
    finish(store)
    (held,) = announced_holds.waiting(store, 1)
    announced_holds.announce(store, [replace(held, reason="closed")])
    transitions.cancel(store, waits)
    expected = [
        ("action.scheduled", ended), ("action.scheduled", waits), ("action.started", ended), ("action.final", ended),
        ("action.held", waits), ("action.cancel_requested", waits), ("action.final", waits),
    ]  # fmt: skip
    for receiver in (ids[HERE], ids[THERE]):
        assert [(event, action) for event, action, _ in events(store, receiver)] == expected


def test_undelivered_lists_the_receivers_of_the_end_of_an_action(store: Store) -> None:
    ids = receivers(store, HERE, THERE)
    action_id = schedule(store)
    seq = actions.by_id(store, action_id)[0].seq
    assert outbox.undelivered(store, seq) == {}
    finish(store)
    events(store, ids[HERE])
    assert outbox.undelivered(store, seq) == {HERE: False, THERE: True}
    outbox.end(store, ids[HERE])
    assert outbox.undelivered(store, seq) == {THERE: True}


def test_a_changed_subscription_applies_to_later_events(store: Store) -> None:
    receiver = receivers(store, HERE)[HERE]
    first = schedule(store)
    assert outbox.set_receivers(store, [HERE], ("action.scheduled",)) == ({HERE: receiver}, {})
    finish(store)
    second = schedule(store)
    assert events(store, receiver) == [("action.scheduled", second, None)]
    assert first != second


def test_ended_subscription_stays_ended_until_resumed(store: Store) -> None:
    ids = receivers(store, HERE, THERE)
    schedule(store)
    finish(store)
    assert outbox.end(store, ids[HERE]) == 1
    receivers(store, HERE, THERE)
    schedule(store)
    finish(store)
    here, there = outbox.receivers(store)
    assert (here.ended, here.pending, there.ended, there.pending) == (True, 0, False, 2)
    outbox.resume(store, ids[HERE], FINAL)
    schedule(store)
    last = finish(store)
    assert events(store, ids[HERE]) == [("action.final", last, None)]


def test_receiver_has_its_last_failure_until_a_delivery(store: Store) -> None:
    receiver = receivers(store, HERE)[HERE]
    schedule(store)
    finish(store)
    outbox.postpone(store, receiver, 1.0, 1.0, keep=100.0, failure="it answered 500")
    assert outbox.receivers(store)[0].failure == "it answered 500"
    events(store, receiver)
    assert outbox.receivers(store)[0].failure == "it answered 500", "only a delivery after a failure writes more"
    outbox.remove_delivered(store, receiver, 0, 0.0)
    assert outbox.receivers(store)[0].failure is None


def test_events_since_a_time_are_replayed_once_and_in_order(store: Store) -> None:
    receiver = receivers(store, HERE)[HERE]
    schedule(store)
    finish(store)
    since = clock.now()
    later = []
    for _ in range(3):
        schedule(store)
        later.append(finish(store))
    before = [action for _, action, _ in events(store, receiver)]
    assert before[1:] == later
    assert outbox.replay(store, receiver, since) == 3
    assert outbox.replay(store, receiver, since) == 0, "they are pending already"
    assert [action for _, action, _ in events(store, receiver)] == later


def test_callbacks_pending_before_the_migration_come_first_and_in_order(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.create_function("chained", 9, chained, deterministic=True)
        migrate(connection, [step for step in migrations() if step.number < SUBSCRIPTIONS])
        connection.execute("INSERT INTO resources (type, name) VALUES ('Server', 'here')")
        connection.execute("INSERT INTO receivers (url) VALUES (?)", (HERE,))
        for number in (1, 2):
            connection.execute(
                "INSERT INTO actions (id, kind, args, headers, requester, user, resource_id, created_ts, scheduled_ts,"
                " state, state_ts) VALUES (?, 'k', '{}', '{}', 'API', 'a@b', 1, 1, 1, 'NEW', 1)",
                (f"old {number}",),
            )
            connection.execute(
                "UPDATE actions SET state = 'DONE', outcome = 'done', version = 2, finished_ts = 2, finished_order = ?"
                " WHERE seq = ?",
                (number, number),
            )
    with closing(Store(tmp_path / "agent.db")) as store:
        receiver = receivers(store, HERE)[HERE]
        schedule(store)
        new = finish(store)
        assert [action for _, action, _ in events(store, receiver)] == ["old 1", "old 2", new]
