"""Idempotency keys: written with their action, owned by its user, kept longer than the action."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.errors import IdempotencyKeyReused
from agent.models import Accepted, Requester
from agent.store import Store, actions, idempotency
from agent.store.intake import Intake
from agent.store.migrate import migrate, migrations
from tests.store.scenes import claim, finish, request

DELIVERY = idempotency.delivery_key("shop", b"{}")
DAY = 24 * 3600


def ask(store: Store, key: str = "k1", *, user: str = "a@b", **options: Any) -> Accepted:
    return Intake(store, 10_000_000).schedule(replace(request(key=key, **options), user=user))


def deliver(store: Store, key: str | None = DELIVERY) -> Accepted:
    return Intake(store, 10_000_000).schedule(replace(request("deploy", key=key), requester=Requester.HOOK))


def known(store: Store) -> list[tuple[str, str, str]]:
    return [tuple(row) for row in store.read("SELECT owner, key, action_id FROM idempotency_keys ORDER BY seq")]


def files_holding(folder: Path, text: str) -> list[str]:
    return [each.name for each in folder.iterdir() if text.encode() in each.read_bytes()]


# Whose key it is


def test_a_key_is_written_with_its_action_and_belongs_to_its_user(store: Store) -> None:
    first = ask(store)
    assert known(store) == [("a@b", "k1", first.action_id)]
    assert ask(store) == replace(first, replayed=True)
    other = ask(store, user="other@b")
    assert not other.replayed and other.action_id != first.action_id
    assert not ask(store, user="third@b", kind="another kind").replayed
    assert len(known(store)) == 3


def test_a_delivery_belongs_to_no_user_and_to_no_key_of_a_caller(store: Store) -> None:
    delivered = deliver(store)
    assert known(store) == [("", DELIVERY, delivered.action_id)]
    assert deliver(store) == replace(delivered, replayed=True)


def test_the_key_of_a_delivery_is_of_the_application_and_of_every_byte() -> None:
    each = (("shop", b"{}"), ("shop2", b"{}"), ("shop", b"{} "), ("shop{", b"}"))
    keys = [idempotency.delivery_key(*one) for one in each]
    assert len(set(keys)) == 4
    assert all("\n" in key for key in keys), "no header can be the same"


def test_a_hook_without_a_key_is_impossible(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        deliver(store, None)
    assert actions.queue(store) == []


# Secrets


@pytest.mark.parametrize("state", ["NEW", "RUNNING", "DONE"])
def test_another_secret_is_another_request_in_every_state(store: Store, state: str) -> None:
    first = ask(store, secrets={"password": "correct horse"})
    if state == "RUNNING":
        claim(store)
    elif state == "DONE":
        finish(store)
    with pytest.raises(IdempotencyKeyReused):
        ask(store, secrets={"password": "battery staple"})
    assert ask(store, secrets={"password": "correct horse"}).action_id == first.action_id


def test_the_fingerprint_needs_a_key_that_is_in_no_file_of_the_database(store: Store, tmp_path: Path) -> None:
    ask(store, secrets={"password": "correct horse"})
    finish(store)
    assert store.scrub()
    key = tmp_path / "agent.db.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    assert files_holding(tmp_path, "correct horse") == []
    with closing(sqlite3.connect(store.path)) as connection:
        assert key.read_bytes() not in "".join(connection.iterdump()).encode()
    assert sorted(each.name for each in tmp_path.iterdir() if "key" in each.name) == ["agent.db.key"]


def test_two_agents_of_one_database_share_the_hash_key(store: Store) -> None:
    first = ask(store, secrets={"password": "correct horse"})
    assert Intake(store, 10).schedule(request(key="k1", secrets={"password": "correct horse"})).replayed
    assert first.action_id


def test_with_another_hash_key_a_repeat_is_refused_and_not_run_again(store: Store, tmp_path: Path) -> None:
    ask(store)
    (tmp_path / "agent.db.key").unlink()
    with pytest.raises(IdempotencyKeyReused):
        ask(store)


# How long


def test_a_key_is_known_when_its_action_was_pruned(store: Store) -> None:
    first = ask(store)
    finish(store)
    assert actions.prune(store, 0, 10) == 1
    assert ask(store) == replace(first, replayed=True)
    with pytest.raises(IdempotencyKeyReused):
        ask(store, args={"a": 1})
    assert actions.queue(store) == []


def fill(store: Store, count: int, created_ts: int) -> None:
    """So many keys of actions that are gone."""
    many = """
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
        INSERT INTO idempotency_keys (owner, key, action_id, created_ts) SELECT 'many', n, n, :created FROM numbers
    """
    store.write_one(many, {"count": count, "created": created_ts})


def test_what_is_older_than_a_day_and_beyond_ten_thousand_is_removed(store: Store) -> None:
    now = clock.now()
    fill(store, idempotency.NEWEST + 700, now - (DAY + 60) * 1_000_000)
    assert [idempotency.prune(store) for _ in range(3)] == [500, 200, 0]
    assert len(known(store)) == idempotency.NEWEST


def test_within_a_day_every_key_is_kept(store: Store) -> None:
    fill(store, idempotency.NEWEST + 700, clock.now() - (DAY - 60) * 1_000_000)
    assert idempotency.prune(store) == 0


def test_a_key_is_kept_as_long_as_its_action(store: Store) -> None:
    first = ask(store)
    store.write_one("DROP TRIGGER idempotency_keys_never_change", {})
    store.write_one("UPDATE idempotency_keys SET created_ts = 0", {})
    fill(store, idempotency.NEWEST, clock.now())
    assert idempotency.prune(store) == 0
    finish(store)
    actions.prune(store, 0, 10)
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
        old.execute(insert, ("of a hook", "deploy", "HOOK", "ada@b", DELIVERY))
    with closing(Store(tmp_path / "agent.db")) as store:
        store.open()
        assert ask(store, args={"a": 2, "b": 1}) == Accepted("of the API", replayed=True)
        with pytest.raises(IdempotencyKeyReused):
            ask(store, args={"a": 3})
        hooked = replace(request("deploy", {"a": 2, "b": 1}, key=DELIVERY), requester=Requester.HOOK)
        assert Intake(store, 10).schedule(hooked) == Accepted("of a hook", replayed=True)
        assert sorted(known(store)) == [("", DELIVERY, "of a hook"), ("a@b", "k1", "of the API")]
