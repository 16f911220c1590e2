"""What hooks have delivered: written by the file itself, with the action, and kept longer than it."""

import sqlite3
from dataclasses import replace

import pytest

from agent.errors import HookReplayed
from agent.models import Requester
from agent.store import Store, actions, deliveries
from agent.store.intake import Intake
from tests.store.scenes import finish, request

KEY = deliveries.key("shop", b"{}")


def deliver(store: Store, key: str = KEY) -> str:
    return Intake(store, 10_000_000).schedule(replace(request("deploy", key=key), requester=Requester.HOOK))


def known(store: Store) -> list[tuple[str, str]]:
    return [tuple(row) for row in store.read("SELECT delivery, action_id FROM deliveries ORDER BY seq")]


def test_the_key_is_of_the_application_and_of_every_byte() -> None:
    keys = [deliveries.key(*each) for each in (("shop", b"{}"), ("shop2", b"{}"), ("shop", b"{} "), ("shop{", b"}"))]
    assert len(set(keys)) == 4
    assert all("\n" in key for key in keys), "no header can be the same"


def test_it_is_written_down_with_its_action(store: Store) -> None:
    action_id = deliver(store)
    assert known(store) == [(KEY, action_id)]
    assert deliver(store) == action_id
    assert known(store) == [(KEY, action_id)]


def test_what_comes_by_another_channel_is_no_delivery(store: Store) -> None:
    Intake(store, 10).schedule(request(key="mine"))
    assert known(store) == []


def test_a_hook_without_a_key_is_impossible(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        Intake(store, 10).schedule(replace(request("deploy"), requester=Requester.HOOK))
    assert actions.queue(store) == []


def test_it_is_known_when_the_action_is_gone_and_harms_no_other(store: Store) -> None:
    action_id = deliver(store)
    finish(store)
    assert actions.prune(store, 0, 10) == 1
    for _ in range(2):
        with pytest.raises(HookReplayed, match=action_id):
            deliver(store)
    assert actions.queue(store) == []
    deliver(store, deliveries.key("shop", b"[]"))
    assert len(known(store)) == 2


def test_the_newest_ten_thousand_are_kept(store: Store) -> None:
    oldest = deliver(store)
    many = """
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9999)
        INSERT INTO deliveries (delivery, action_id, received_ts) SELECT n, n, n FROM numbers
    """
    store.write_one(many, {})
    assert len(known(store)) == 10_000
    newest = deliver(store, "the newest")
    kept = known(store)
    assert (len(kept), kept[0], kept[-1]) == (10_000, ("1", "1"), ("the newest", newest))
    assert deliver(store) == oldest, "its action is still there"
