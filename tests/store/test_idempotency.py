"""Idempotency keys: stored with their action, owned by its user, kept longer than the action."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.errors import ActionAlreadyExists, IdempotencyKeyReused
from agent.models import Accepted, Requester
from agent.store import Store, actions, idempotency, retention
from agent.store.audit_chain import chained
from agent.store.enqueue import Enqueuer
from agent.store.migrate import migrate, migrations
from tests.store.scenes import claim, finish, request

DELIVERY = idempotency.delivery_key("shop", b"{}")
OLD_DELIVERY = f"hook\n{DELIVERY}"
"""The same key as schemas before the tenth stored it."""
DAY = 24 * 3600


def ask(store: Store, key: str | None = "k1", *, user: str = "a@b", **options: Any) -> Accepted:
    return Enqueuer(store, 10_000_000).schedule(replace(request(key=key, **options), user=user))


def deliver(store: Store, key: str | None = DELIVERY) -> Accepted:
    return Enqueuer(store, 10_000_000).schedule(replace(request("deploy", key=key), requester=Requester.HOOK))


def known(store: Store) -> list[tuple[str, str, str, str]]:
    return [tuple(row) for row in store.read("SELECT source, owner, key, action_id FROM idempotency_keys ORDER BY seq")]


def files_holding(folder: Path, text: str) -> list[str]:
    return [each.name for each in folder.iterdir() if text.encode() in each.read_bytes()]


# Owners of keys


def test_key_is_stored_with_its_action_and_its_user(store: Store) -> None:
    first = ask(store)
    assert known(store) == [("caller", "a@b", "k1", first.action_id)]
    assert ask(store) == replace(first, replayed=True)
    other = ask(store, user="other@b")
    assert not other.replayed and other.action_id != first.action_id
    assert not ask(store, user="third@b", kind="another kind").replayed
    assert len(known(store)) == 3


def test_delivery_of_a_hook_shares_no_key_with_a_caller(store: Store) -> None:
    delivered = deliver(store)
    assert known(store) == [("hook", "", DELIVERY, delivered.action_id)]
    assert deliver(store) == replace(delivered, replayed=True)
    assert not ask(store, key=DELIVERY).replayed, "a caller who knows the key of a delivery has a key of the same text"


def test_the_key_of_a_delivery_is_of_the_application_and_of_every_byte() -> None:
    each = (("shop", b"{}"), ("shop2", b"{}"), ("shop", b"{} "), ("shop{", b"}"))
    keys = [idempotency.delivery_key(*one) for one in each]
    assert len(set(keys)) == 4


def test_request_of_a_hook_without_a_key_is_refused(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        deliver(store, None)
    assert actions.queue(store) == []


# Secrets


@pytest.mark.parametrize("state", ["NEW", "RUNNING", "DONE"])
def test_key_with_another_secret_is_refused_in_every_state(store: Store, state: str) -> None:
    first = ask(store, secrets={"password": "correct horse"})
    if state == "RUNNING":
        claim(store)
    elif state == "DONE":
        finish(store)
    with pytest.raises(IdempotencyKeyReused):
        ask(store, secrets={"password": "battery staple"})
    assert ask(store, secrets={"password": "correct horse"}).action_id == first.action_id


def test_fingerprint_needs_a_hash_key_outside_of_the_database(store: Store, tmp_path: Path) -> None:
    ask(store, secrets={"password": "correct horse"})
    finish(store)
    assert store.wipe_secrets()
    key = tmp_path / "agent.db.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    assert files_holding(tmp_path, "correct horse") == []
    with closing(sqlite3.connect(store.path)) as connection:
        assert key.read_bytes() not in "".join(connection.iterdump()).encode()
    assert sorted(each.name for each in tmp_path.iterdir() if "key" in each.name) == ["agent.db.key"]


def test_two_agents_of_one_database_share_the_hash_key(store: Store) -> None:
    first = ask(store, secrets={"password": "correct horse"})
    assert Enqueuer(store, 10).schedule(request(key="k1", secrets={"password": "correct horse"})).replayed
    assert first.action_id


def test_with_another_hash_key_a_repeat_is_refused_and_not_run_again(store: Store, tmp_path: Path) -> None:
    ask(store)
    (tmp_path / "agent.db.key").unlink()
    with pytest.raises(IdempotencyKeyReused):
        ask(store)


# Retention


def test_key_is_known_after_its_action_was_pruned(store: Store) -> None:
    first = ask(store)
    finish(store)
    assert retention.prune(store, 0, 10) == 1
    assert ask(store) == replace(first, replayed=True)
    with pytest.raises(IdempotencyKeyReused):
        ask(store, args={"a": 1})
    assert actions.queue(store) == []


def test_the_ids_of_pruned_actions_are_kept_where_callers_name_actions(store: Store) -> None:
    named, keyed = ask(store, key=None), ask(store)
    finish(store)
    finish(store)
    assert retention.prune(store, 0, 10, remember_ids=True) == 2
    for each in (named, keyed):
        with pytest.raises(ActionAlreadyExists):
            ask(store, key=None, action_id=each.action_id)
    assert len(known(store)) == 2


def test_the_id_of_an_action_that_is_pruned_after_a_day_is_not_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, key=None)
    finish(store)
    later = clock.now() + (DAY + 60) * 1_000_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert retention.prune(store, 0, 10, remember_ids=True) == 1
    assert known(store) == []


def fill(store: Store, count: int, created_ts: int) -> None:
    """Add that many keys of pruned actions."""
    many = """
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
        INSERT INTO idempotency_keys (source, owner, key, action_id, created_ts)
        SELECT 'caller', 'many', n, n, :created FROM numbers
    """
    store.write_one(many, {"count": count, "created": created_ts})


def test_keys_older_than_a_day_and_beyond_ten_thousand_are_removed(store: Store) -> None:
    now = clock.now()
    fill(store, idempotency.NEWEST + 700, now - (DAY + 60) * 1_000_000)
    assert [idempotency.prune(store) for _ in range(3)] == [500, 200, 0]
    assert len(known(store)) == idempotency.NEWEST


def test_every_key_is_kept_for_a_day(store: Store) -> None:
    fill(store, idempotency.NEWEST + 700, clock.now() - (DAY - 60) * 1_000_000)
    assert idempotency.prune(store) == 0


def test_a_key_is_kept_as_long_as_its_action(store: Store) -> None:
    first = ask(store)
    store.write_one("DROP TRIGGER idempotency_keys_never_change", {})
    store.write_one("UPDATE idempotency_keys SET created_ts = 0", {})
    fill(store, idempotency.NEWEST, clock.now())
    assert idempotency.prune(store) == 0
    finish(store)
    retention.prune(store, 0, 10)
    assert idempotency.prune(store) == 1
    assert ask(store).action_id != first.action_id


# From an older schema


def test_the_keys_and_deliveries_of_an_older_agent_are_kept(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as old:
        old.row_factory = sqlite3.Row
        migrate(old, migrations()[:2])
        old.execute("INSERT INTO resources (type, name) VALUES ('Server', 'here')")
        insert = """
            INSERT INTO actions (id, kind, args, headers, requester, user, resource_id, idempotency_key, created_ts,
                                 scheduled_ts, state, state_ts)
            VALUES (?, ?, '{"b":1,"a":2}', '{}', ?, ?, 1, ?, 1, 1, 'NEW', 1)
        """
        old.execute(insert, ("of the API", "test", "API", "a@b", "k1"))
        old.execute(insert, ("of a hook", "deploy", "HOOK", "ada@b", OLD_DELIVERY))
    with closing(Store(tmp_path / "agent.db")) as store:
        store.open()
        assert ask(store, args={"a": 2, "b": 1}) == Accepted("of the API", replayed=True)
        with pytest.raises(IdempotencyKeyReused):
            ask(store, args={"a": 3})
        hooked = replace(request("deploy", {"a": 2, "b": 1}, key=DELIVERY), requester=Requester.HOOK)
        assert Enqueuer(store, 10).schedule(hooked) == Accepted("of a hook", replayed=True)
        assert sorted(known(store)) == [
            ("caller", "a@b", "k1", "of the API"),
            ("hook", "", DELIVERY, "of a hook"),
        ]


def test_keys_get_their_source_from_their_prefix_and_keep_their_place(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "agent.db", isolation_level=None)) as old:
        old.row_factory = sqlite3.Row
        old.create_function("chained", 9, chained, deterministic=True)
        migrate(old, migrations()[:9])
        insert = "INSERT INTO idempotency_keys (seq, owner, key, action_id, created_ts) VALUES (?, ?, ?, ?, ?)"
        rows = [(3, "", OLD_DELIVERY, "d", 7), (5, "a@b", "hook x", "h", 8), (6, "a@b", DELIVERY, "k", 9)]
        old.executemany(insert, rows)
    with closing(Store(tmp_path / "agent.db")) as store:
        store.open()
        found = store.read("SELECT seq, source, owner, key, action_id, created_ts FROM idempotency_keys ORDER BY seq")
        assert [tuple(row) for row in found] == [
            (3, "hook", "", DELIVERY, "d", 7),
            (5, "caller", "a@b", "hook x", "h", 8),
            (6, "caller", "a@b", DELIVERY, "k", 9),
        ]
        assert deliver(store) == Accepted("d", replayed=True)
        assert ask(store, key="new").action_id
        assert store.read("SELECT max(seq) FROM idempotency_keys")[0][0] == 7, "numbers are not used again"
        with pytest.raises(sqlite3.IntegrityError, match="never changes"):
            store.write_one("UPDATE idempotency_keys SET key = 'other'", {})


# Ids of callers, and repeated Request-Ids


def test_action_id_is_used_once_by_all_identities_together(store: Store) -> None:
    enqueuer = Enqueuer(store, 100)
    first = enqueuer.schedule(request(action_id="a-1"))
    assert first == Accepted("a-1")
    assert known(store) == [("id", "a@b", "a-1", "a-1")]
    for other in (request(action_id="a-1"), replace(request("other", action_id="a-1"), user="other@b")):
        with pytest.raises(ActionAlreadyExists):
            enqueuer.schedule(other)
    assert [row["id"] for row in actions.queue(store)] == ["a-1"]


def test_action_id_is_known_after_pruning_whatever_its_created_ts(store: Store) -> None:
    enqueuer = Enqueuer(store, 100)
    enqueuer.schedule(replace(request(action_id="a-1"), created_ts=0))
    finish(store)
    retention.prune(store, 0, 100)
    idempotency.prune(store)
    with pytest.raises(ActionAlreadyExists):
        enqueuer.schedule(request(action_id="a-1"))


@pytest.mark.parametrize("begun", [0, 1, 300, 599])
def test_a_request_id_repeats_for_ten_minutes(store: Store, monkeypatch: pytest.MonkeyPatch, begun: int) -> None:
    start = 1_000_000_200 + begun  # of a span of ten minutes; the others are at and before its end

    def at(second: int, **more: Any) -> Accepted:
        monkeypatch.setattr(clock, "now", lambda: second * 1_000_000)
        return Enqueuer(store, 100).schedule(request(request_id="r-1", **more))

    first = at(start)
    assert not first.replayed
    for later in (0, 1, 599):
        assert at(start + later) == replace(first, replayed=True)
    assert not at(start + 599, args={"a": 1}).replayed
    second = at(start + 1201)
    assert not second.replayed and at(start + 1202) == replace(second, replayed=True)
