"""The statements of the queue: limits, keys, reads and retention."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent import clock
from agent.errors import ActionNotFound, IdempotencyKeyReused, NotCancellable, QueueFull
from agent.models import State
from agent.store import Store, actions, retention, transitions
from tests.store.scenes import claim, finish, ids, info, schedule

LIMIT = 5


def fill(store: Store) -> None:
    for _ in range(LIMIT):
        schedule(store, limit=LIMIT)


def full(store: Store) -> bool:
    before = len(actions.queue(store))
    try:
        schedule(store, limit=LIMIT)
    except QueueFull as error:
        assert error.headers["Retry-After"]
        assert len(actions.queue(store)) == before
        return True
    return False


# The limit


def test_queue_accepts_exactly_its_limit_of_waiting_actions(store: Store) -> None:
    fill(store)
    assert full(store)


def test_running_action_does_not_count_towards_the_limit(store: Store) -> None:
    fill(store)
    claim(store)
    assert not full(store)
    assert full(store)


def test_cancelled_action_in_the_middle_of_the_queue_frees_one_place(store: Store) -> None:
    claimed = [schedule(store, limit=LIMIT) for _ in range(LIMIT)]
    transitions.cancel(store, claimed[2])
    assert not full(store)
    assert full(store)


def test_finished_actions_do_not_count_towards_the_limit(store: Store) -> None:
    for _ in range(3 * LIMIT):
        schedule(store)
        finish(store)
    fill(store)
    assert full(store)


def test_cancelled_actions_behind_the_running_one_do_not_count_towards_the_limit(store: Store) -> None:
    schedule(store)
    claim(store)
    for _ in range(2 * LIMIT):
        transitions.cancel(store, schedule(store))
    fill(store)
    assert full(store)


def test_limit_of_one_accepts_one_action(store: Store) -> None:
    schedule(store, limit=1)
    with pytest.raises(QueueFull):
        schedule(store, limit=1)


def test_limit_is_exact_for_concurrent_callers(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: attempt(store), range(40)))
    assert results.count(True) == LIMIT == len(actions.queue(store))


def attempt(store: Store) -> bool:
    try:
        schedule(store, limit=LIMIT)
    except QueueFull:
        return False
    return True


def test_a_refused_call_uses_up_no_seq(store: Store) -> None:
    fill(store)
    assert full(store)
    for _ in range(LIMIT):
        finish(store)
    schedule(store)
    assert claim(store).action.seq == LIMIT + 1


# Keys


def test_the_same_key_and_arguments_are_the_same_action(store: Store) -> None:
    first = schedule(store, args={"a": 1, "b": 2}, key="k")
    assert schedule(store, args={"b": 2, "a": 1}, key="k") == first
    assert len(actions.queue(store)) == 1


@pytest.mark.parametrize("state", ["NEW", "RUNNING", "DONE"])
def test_key_returns_its_action_in_every_state_and_after_pruning(store: Store, state: str) -> None:
    first = schedule(store, key="k")
    if state == "RUNNING":
        claim(store)
    if state == "DONE":
        finish(store)
    assert schedule(store, key="k") == first
    if state == "DONE":
        retention.prune(store, 0, 1)
        assert schedule(store, key="k") == first


@pytest.mark.parametrize("other", [("test", {"a": 2}), ("test", {}), ("else", {"a": 1}), ("test", {"a": True})])
def test_key_reused_with_other_arguments_is_refused(store: Store, other: tuple[str, object]) -> None:
    schedule(store, "test", {"a": 1}, key="k")
    with pytest.raises(IdempotencyKeyReused):
        schedule(store, *other, key="k")
    assert len(actions.queue(store)) == 1


def test_known_key_is_answered_although_the_queue_is_full(store: Store) -> None:
    first = schedule(store, key="k", limit=1)
    assert schedule(store, key="k", limit=1) == first
    with pytest.raises(QueueFull):
        schedule(store, key="l", limit=1)


def test_refused_call_does_not_use_up_its_key(store: Store) -> None:
    schedule(store, limit=1)
    with pytest.raises(QueueFull):
        schedule(store, key="k", limit=1)
    finish(store)
    schedule(store, "else", key="k", limit=1)


def test_concurrent_callers_with_one_key_get_one_action(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: schedule(store, key="k"), range(40)))
    assert found == set(ids(actions.queue(store)))
    assert len(found) == 1


def test_calls_without_a_key_get_different_actions(store: Store) -> None:
    assert len({schedule(store, args={}) for _ in range(3)}) == 3


# The lists


def test_queue_is_ordered_by_seq_with_the_running_action_first(store: Store) -> None:
    scheduled = [schedule(store) for _ in range(4)]
    claim(store)
    assert ids(actions.queue(store)) == scheduled
    assert [row["state"] for row in actions.queue(store)] == ["RUNNING", "NEW", "NEW", "NEW"]


def test_finished_actions_are_ordered_by_their_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (schedule(store) for _ in range(3))
    for number, action_id in enumerate((second, third)):
        monkeypatch.setattr(clock, "now", lambda number=number: 5000 - number)  # the clock runs backwards
        transitions.cancel(store, action_id)
    assert finish(store) == first
    assert ids(actions.finished(store, 10)) == [first, third, second]
    assert ids(actions.finished(store, 2)) == [first, third]


def test_only_the_head_is_claimed_and_only_once(store: Store) -> None:
    first = schedule(store)
    schedule(store)
    assert claim(store).action.id == first
    with pytest.raises(sqlite3.IntegrityError):
        transitions.claim(store)
    assert ids(actions.queue(store))[0] == first


def test_finish_claims_the_next_action_in_the_same_commit(store: Store) -> None:
    _, second = schedule(store), schedule(store)
    claimed = transitions.finish(store, claim(store).action.seq, State.DONE, None, "", claim_next=True)
    assert claimed is not None
    assert (claimed.action.id, claimed.action.state) == (second, State.RUNNING)
    assert transitions.finish(store, claimed.action.seq, State.DONE, None, "", claim_next=True) is None


def test_final_action_can_be_neither_recorded_nor_finished(store: Store) -> None:
    schedule(store)
    seq = claim(store).action.seq
    transitions.finish(store, seq, State.DONE, 1, "", claim_next=False)
    with pytest.raises(RuntimeError):
        transitions.record(store, seq, 2)
    with pytest.raises(RuntimeError):
        transitions.finish(store, seq, State.FAILED, 2, "", claim_next=False)
    with pytest.raises(RuntimeError):
        transitions.hand_over(store, seq, True)
    assert actions.finished(store, 1)[0]["state"] == "DONE"


def test_message_with_lone_surrogates_is_stored_escaped(store: Store) -> None:
    schedule(store)
    transitions.finish(store, claim(store).action.seq, State.FAILED, "\ud800", "bad name \udcff", claim_next=False)
    assert store.read("SELECT finished_message FROM actions")[0][0] == "bad name \\udcff"


def test_an_unknown_id_is_not_found(store: Store) -> None:
    for ask in (actions.by_id, actions.status, transitions.cancel):
        with pytest.raises(ActionNotFound):
            ask(store, "nobody")


# Cancel


def test_waiting_action_is_cancelled_at_once_and_never_claimed(store: Store) -> None:
    first, second = schedule(store), schedule(store)
    action = transitions.cancel(store, first)
    assert (action.state, action.state_payload) == (State.FAILED, {"cancelled": True})
    assert claim(store).action.id == second


def test_running_action_gets_a_cancel_request_and_a_final_action_refuses_one(store: Store) -> None:
    action_id = schedule(store)
    seq = claim(store).action.seq
    assert not transitions.cancel_requested(store, seq)
    assert transitions.cancel(store, action_id).state is State.RUNNING
    assert transitions.cancel_requested(store, seq)
    transitions.finish(store, seq, State.DONE, None, "", claim_next=False)
    with pytest.raises(NotCancellable):
        transitions.cancel(store, action_id)


def test_action_of_an_uninterruptible_kind_is_cancelled_only_while_waiting(store: Store) -> None:
    """Decided in the database, because the action may start between a check and the request."""
    running, waiting = schedule(store), schedule(store)
    seq = claim(store).action.seq
    with pytest.raises(NotCancellable):
        transitions.cancel(store, running, running=False)
    assert not transitions.cancel_requested(store, seq)
    assert transitions.cancel(store, waiting, running=False).state is State.FAILED


# Prune


def test_prune_keeps_the_actions_that_ended_last(store: Store) -> None:
    scheduled = [schedule(store) for _ in range(6)]
    for number in (5, 3, 1):
        transitions.cancel(store, scheduled[number])
    for _ in range(2):
        finish(store)
    assert retention.prune(store, 2, 100) == 3
    assert ids(actions.finished(store, 10)) == [scheduled[2], scheduled[0]]
    assert ids(actions.queue(store)) == [scheduled[4]]


def test_prune_removes_the_oldest_and_at_most_its_limit(store: Store) -> None:
    scheduled = [schedule(store) for _ in range(10)]
    for _ in range(10):
        finish(store)
    assert retention.prune(store, 3, 4) == 4
    assert ids(actions.finished(store, 10)) == scheduled[:3:-1]
    assert retention.prune(store, 3, 4) == 3
    assert retention.prune(store, 3, 4) == 0


@pytest.mark.parametrize("keep", [0, 1, 3, 10])
def test_prune_never_removes_waiting_or_running_actions(store: Store, keep: int) -> None:
    kept = [schedule(store) for _ in range(3)]
    claim(store)
    assert retention.prune(store, keep, 100) == 0
    assert ids(actions.queue(store)) == kept


def test_history_is_pruned_with_its_action_only(store: Store) -> None:
    gone, kept = schedule(store), schedule(store)
    finish(store)
    finish(store)
    retention.prune(store, 1, 100)
    assert len(info(store, kept)[1]) == 3
    assert store.read("SELECT count(*) FROM history")[0][0] == 3
    with pytest.raises(ActionNotFound):
        info(store, gone)


def test_seq_continues_after_all_actions_were_pruned(store: Store) -> None:
    for _ in range(3):
        schedule(store)
        finish(store)
    retention.prune(store, 0, 100)
    scheduled = [schedule(store) for _ in range(3)]
    for _ in range(3):
        finish(store)
    assert ids(actions.finished(store, 10)) == scheduled[::-1]


def test_prune_gives_the_space_back(store: Store, tmp_path: Path) -> None:
    for _ in range(20):
        schedule(store, args={"text": "x" * 200_000})
        finish(store)
    size = checkpointed(store)
    assert size > 4_000_000
    assert retention.prune(store, 1, 100) == 19
    assert checkpointed(store) < size / 5


def checkpointed(store: Store) -> int:
    other = sqlite3.connect(store.path)
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    other.close()
    return store.path.stat().st_size


# Measurements of progress


def payloads(store: Store, action_id: str) -> list[object]:
    """The payloads of the whole history, oldest first."""
    return [each.state_payload for each in reversed(info(store, action_id)[1])]


def test_a_measurement_replaces_the_measurement_before_it(store: Store) -> None:
    action_id = schedule(store)
    seq = claim(store).action.seq
    transitions.record(store, seq, "copying")
    for percent in range(100):
        transitions.record(store, seq, percent, measured=True)
    assert payloads(store, action_id) == [None, None, "copying", 99]
    transitions.record(store, seq, "starting")
    for percent in range(3):
        transitions.record(store, seq, percent, measured=True)
    transitions.finish(store, seq, State.DONE, "done", "over", claim_next=False)
    assert payloads(store, action_id) == [None, None, "copying", 99, "starting", 2, "done"]


def test_every_measurement_has_a_new_version(store: Store) -> None:
    action_id = schedule(store)
    seq = claim(store).action.seq
    versions = []
    for percent in range(3):
        transitions.record(store, seq, percent, measured=True)
        action, version = actions.by_id(store, action_id)
        versions.append(version)
        assert action.state_payload == percent
    assert versions == [3, 4, 5]


def test_only_a_replaced_measurement_leaves_the_history_of_a_running_action(store: Store) -> None:
    schedule(store)
    seq = claim(store).action.seq
    transitions.record(store, seq, "copying")
    transitions.record(store, seq, 1, measured=True)
    for version in (1, 2, 3, 4):
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            store.write(lambda connection, version=version: connection.execute(  # type: ignore[misc]
                "DELETE FROM history WHERE action_seq = ? AND version = ?", (seq, version)))  # fmt: skip


# What an executor passes over
