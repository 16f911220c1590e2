"""Limits of bytes: waiting actions in the queue, and payloads in the history of an action."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.errors import IdempotencyKeyReused, QueueFull
from agent.models import Accepted, State
from agent.store import Store, encoding, retention, transitions
from agent.store.enqueue import RESERVED_BYTES, Enqueuer
from agent.store.idempotency import Owner
from agent.store.key_limit import COUNTED_AGAIN, KeyLimit
from agent.store.migrate import migrate, migrations
from tests.store.scenes import claim, finish, info, request

LIMIT = 1000


def ask(store: Store, size: int, **options: Any) -> Accepted:
    """Schedule an action of that many bytes."""
    args = {"x": "a" * (size - len('{"x":""}') - len("{}"))}
    return Enqueuer(store, 1_000_000, LIMIT).schedule(request(args=args, **options))


def waiting(store: Store) -> int:
    [row] = store.read("SELECT bytes FROM waiting")
    return int(row["bytes"])


def test_waiting_bytes_are_counted_by_schedule_claim_and_cancel(store: Store) -> None:
    sizes = (100, 250, 17)
    ids = [ask(store, size).action_id for size in sizes]
    assert waiting(store) == sum(sizes)
    claimed = claim(store)
    assert waiting(store) == 267
    transitions.finish(store, claimed.action.seq, State.DONE, None, "", claim_next=True)
    assert waiting(store) == 17
    transitions.cancel(store, ids[2])
    assert waiting(store) == 0
    retention.prune(store, 0, 10)
    assert waiting(store) == 0


def test_secrets_and_headers_count_towards_the_bytes(store: Store) -> None:
    Enqueuer(store, 10, 10_000).schedule(request(secrets={"password": "x" * 500}))
    assert waiting(store) == len("{}{}") + len(json.dumps({"password": "x" * 500}, separators=(",", ":")))


def test_a_refused_action_leaves_no_row_of_a_new_resource(store: Store) -> None:
    """Otherwise a caller could fill the disk with resources, which are never deleted."""
    ask(store, LIMIT)
    before = store.read("SELECT * FROM resources")
    with pytest.raises(QueueFull):
        ask(store, 100, resource=("Service", "new"))
    assert store.read("SELECT * FROM resources") == before
    finish(store)
    for _ in range(2):
        ask(store, 100, resource=("Service", "new"))
    rows = store.read("SELECT resource_id FROM actions ORDER BY seq DESC LIMIT 2")
    [added] = store.read("SELECT id FROM resources WHERE type = 'Service' AND name = 'new'")
    assert [row["resource_id"] for row in rows] == [added["id"]] * 2


def test_byte_limit_is_exact_and_names_its_option(store: Store) -> None:
    ask(store, LIMIT - 20)
    with pytest.raises(QueueFull, match=f"{LIMIT - 20} bytes are waiting already: actions.queue_bytes allows {LIMIT}"):
        ask(store, 21)
    ask(store, 20)
    with pytest.raises(QueueFull):
        ask(store, 10)
    claim(store)
    ask(store, LIMIT - 20)


def test_action_that_may_end_a_hold_uses_the_reserved_bytes(store: Store) -> None:
    ask(store, LIMIT)
    assert ask(store, 100, ends_hold=True)
    with pytest.raises(QueueFull):
        ask(store, RESERVED_BYTES, ends_hold=True)


def test_replayed_key_needs_no_free_bytes(store: Store) -> None:
    first = ask(store, LIMIT, key="k")
    assert ask(store, LIMIT, key="k").action_id == first.action_id


def test_history_beyond_its_limit_has_the_number_of_bytes_left_out(store: Store) -> None:
    action_id = ask(store, 50).action_id
    seq = claim(store).action.seq
    payloads = [{"n": number, "x": "a" * 100} for number in range(5)]
    size = len(encoding.dumps(payloads[0]))
    for payload in payloads[:-1]:
        transitions.record(store, seq, payload, history_bytes=2 * size)
        action, history = info(store, action_id)
        assert (action.state_payload, history[0].state_payload) == (payload, payload), "the newest is always whole"
    transitions.finish(store, seq, State.DONE, payloads[-1], "", claim_next=False, history_bytes=2 * size)
    left_out = {"left_out": {"bytes": size, "option": "actions.history_bytes"}}
    action, history = info(store, action_id)
    assert action.state_payload == payloads[-1]
    message = [line.state_payload for line in history]
    assert message == [payloads[-1], left_out, left_out, payloads[1], payloads[0], None, None]
    [kept] = store.read("SELECT sum(length(state_payload)) FROM history")
    assert kept[0] < 2 * size + 3 * 100


def test_migration_counts_the_bytes_of_an_older_file(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as old:
        migrate(old, migrations()[:4])
        old.execute("INSERT INTO resources (type, name) VALUES ('Server', 'here')")
        insert = """
            INSERT INTO actions (id, kind, args, secrets, headers, requester, user, resource_id, created_ts,
                                 scheduled_ts, state, state_ts)
            VALUES (?, 'test', '{"a":"\u00e4"}', '{}', '{}', 'API', 'a@b', 1, 1, 1, 'NEW', 1)
        """
        for name in "abc":
            old.execute(insert, (name,))
        old.execute("UPDATE actions SET state = 'RUNNING', version = 2 WHERE id = 'a'")
    with closing(Store(tmp_path / "agent.db")) as store:
        store.open()
        assert waiting(store) == 2 * len('{"a":"\u00e4"}{}{}'.encode())
        running = transitions.running(store)
        assert running is not None
        transitions.finish(store, running.action.seq, State.DONE, {"a": 1}, "", claim_next=True)
        assert waiting(store) == len('{"a":"\u00e4"}{}{}'.encode())


# Idempotency keys


@pytest.fixture
def few_keys(store: Store, monkeypatch: pytest.MonkeyPatch) -> Enqueuer:
    """Limits: three keys for each user, five for all."""
    enqueuer = Enqueuer(store, 1_000_000)
    monkeypatch.setattr(enqueuer, "_keys", KeyLimit(store, 3, 5))
    return enqueuer


def with_key(enqueuer: Enqueuer, key: str | None, user: str = "a@b") -> Accepted:
    return enqueuer.schedule(replace(request(key=key), user=user))


def test_limit_of_keys_counts_for_each_caller(few_keys: Enqueuer) -> None:
    ids = [with_key(few_keys, f"k{number}").action_id for number in range(3)]
    why = "3 Idempotency-Keys of a@b are kept, each for 24 hours: call without an Idempotency-Key, or try again later"
    with pytest.raises(QueueFull, match=why):
        with_key(few_keys, "k3")
    assert with_key(few_keys, "k1") == Accepted(ids[1], replayed=True)
    assert with_key(few_keys, None).action_id
    assert with_key(few_keys, "k3", "c@d").action_id
    with pytest.raises(IdempotencyKeyReused):
        few_keys.schedule(request("another", key="k1"))


def test_limit_of_keys_counts_for_all_callers_together(few_keys: Enqueuer) -> None:
    for number in range(5):
        with_key(few_keys, "k", f"{number}@b")
    with pytest.raises(QueueFull, match="5 Idempotency-Keys are kept"):
        with_key(few_keys, "k", "5@b")


def test_pruned_keys_make_room_for_new_ones(few_keys: Enqueuer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        with_key(few_keys, f"k{number}")
    with pytest.raises(QueueFull):
        with_key(few_keys, "k3")
    store.write(lambda connection: connection.execute("DELETE FROM idempotency_keys"))
    later = clock.monotonic() + COUNTED_AGAIN
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    assert with_key(few_keys, "k3").action_id


def test_keys_of_an_earlier_start_are_counted(few_keys: Enqueuer, store: Store) -> None:
    for number in range(3):
        with_key(few_keys, f"k{number}")
    restarted = KeyLimit(store, 3, 5)
    assert restarted.reason(Owner("caller", "a@b")) and not restarted.reason(Owner("caller", "c@d"))
