"""Counts for metrics: kept by triggers, at a cost that does not depend on the number of actions."""

import re
import sqlite3
from collections.abc import Iterator, Mapping

import pytest

from agent import clock
from agent.models import Outcome, State
from agent.store import Store, counts, outbox, retention, transitions
from agent.store.audit_chain import chained
from agent.store.counts import FinalActions, RunningAction
from agent.store.migrate import migrate, migrations
from tests.store.scenes import claim, finish, schedule

COUNTS = 9
WHOLE_TABLE = re.compile(r"SCAN (TABLE )?(actions|history|events)\b")


def ended(store: Store) -> dict[tuple[str, str], int]:
    return {(each.kind, each.outcome): each.count for each in counts.read(store).ended}


def test_final_actions_are_counted_by_kind_and_outcome_even_after_pruning(store: Store) -> None:
    for _ in range(2):
        schedule(store, "a")
        finish(store)
    schedule(store, "a")
    finish(store, State.FAILED)
    schedule(store, "b")
    newest = claim(store).action
    transitions.finish(store, newest.seq, State.FAILED, None, "late", outcome=Outcome.TIMED_OUT, claim_next=False)
    transitions.cancel(store, schedule(store, "b"))
    schedule(store, "b", not_after=clock.now() - 1)
    assert transitions.expire(store)
    counted = {
        ("a", "done"): 2, ("a", "failed"): 1, ("b", "timed_out"): 1, ("b", "cancelled"): 1, ("b", "expired"): 1,
    }  # fmt: skip
    assert ended(store) == counted
    assert retention.prune(store, 0, 100) == 6
    assert ended(store) == counted


def test_the_newest_end_of_each_outcome_is_known(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in (5_000_000, 7_000_000, 6_000_000):
        monkeypatch.setattr(clock, "now", lambda moment=moment: moment)
        schedule(store, "a")
        finish(store)
    assert counts.read(store).ended == (FinalActions("a", "done", 3, 6_000_000),)


def test_waits_and_durations_are_in_cumulative_buckets(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for wait, run in ((0, 400_000), (2_000_000, 1_000_000), (-50, 10**12)):
        monkeypatch.setattr(clock, "now", lambda: 10**15)
        schedule(store, "a")
        monkeypatch.setattr(clock, "now", lambda wait=wait: 10**15 + wait)
        claimed = claim(store)
        transitions.record(store, claimed.action.seq, {"stage": 1}, measured=True)
        monkeypatch.setattr(clock, "now", lambda wait=wait, run=run: 10**15 + wait + run)
        transitions.finish(store, claimed.action.seq, State.DONE, None, "over", claim_next=False)
    runs, waits = counts.read(store).times
    assert (runs.measure, waits.measure) == ("run", "wait")
    assert dict(runs.buckets)[0.1] == 0
    assert (dict(runs.buckets)[0.5], dict(runs.buckets)[1.0], dict(runs.buckets)[86400.0]) == (1, 2, 2)
    assert runs.buckets[-1] == (float("inf"), 3)
    assert runs.seconds == pytest.approx(0.4 + 1.0 + 10**6)
    assert (dict(waits.buckets)[0.1], dict(waits.buckets)[5.0], waits.seconds) == (2, 3, 2.0)


def test_an_action_that_never_started_has_no_duration(store: Store) -> None:
    transitions.cancel(store, schedule(store, "a"))
    assert counts.read(store).times == ()


def test_waiting_actions_are_counted_by_kind_start_time_and_approval(store: Store) -> None:
    far = clock.now() + 10**12
    for more in ({}, {}, {"not_before": far}, {"needs_approval": True}):
        schedule(store, "a", **more)
    schedule(store, "b")
    found = counts.read(store).waiting
    assert sum(each.count for each in found) == 5
    assert {(each.kind, each.not_before, each.needs_approval, each.count) for each in found} == {
        ("a", None, False, 2), ("a", far, False, 1), ("a", None, True, 1), ("b", None, False, 1),
    }  # fmt: skip


def test_running_action_is_counted_with_its_start_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule(store, "a")
    monkeypatch.setattr(clock, "now", lambda: 42)
    seq = claim(store).action.seq
    monkeypatch.setattr(clock, "now", lambda: 43)
    transitions.record(store, seq, {"stage": 1})
    assert counts.read(store).running == RunningAction("a", 42)


def test_undelivered_callbacks_are_counted(store: Store) -> None:
    outbox.set_receivers(store, ["http://127.0.0.1:9/"], ("action.final",))
    for _ in range(2):
        schedule(store)
        finish(store)
    assert counts.read(store).callbacks == 2


def whole_tables(store: Store, statement: str, parameters: Mapping[str, int]) -> list[str]:
    """The steps of the query plan that read every action, row of history or event."""
    plan = [row["detail"] for row in store.read(f"EXPLAIN QUERY PLAN {statement}", dict(parameters))]
    return [step for step in plan if WHOLE_TABLE.match(step) and "actions_pending" not in step]


def test_no_statement_reads_all_actions_or_their_history(store: Store) -> None:
    for statement, parameters in counts.STATEMENTS.items():
        assert whole_tables(store, statement, parameters) == [], statement
    assert whole_tables(store, "SELECT outcome, count(*) FROM actions GROUP BY outcome", {})


@pytest.fixture
def earlier() -> Iterator[sqlite3.Connection]:
    """A database before the counts."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.row_factory = sqlite3.Row
    made.create_function("chained", 9, chained, deterministic=True)
    migrate(made, [step for step in migrations() if step.number < COUNTS])
    yield made
    made.close()


def test_the_actions_of_an_earlier_schema_are_counted(earlier: sqlite3.Connection) -> None:
    earlier.execute("INSERT INTO resources (type, name) VALUES ('Server', 'here')")
    for number in (1, 2):
        earlier.execute(
            "INSERT INTO actions (id, kind, args, headers, requester, user, resource_id, created_ts, scheduled_ts,"
            " state, state_ts) VALUES (?, 'k', '{}', '{}', 'API', 'a@b', 1, 1, 1, 'NEW', 1)",
            (str(number),),
        )
    earlier.execute(
        "UPDATE actions SET state = 'FAILED', version = 2, finished_ts = 7, finished_order = 1, outcome = 'cancelled'"
        " WHERE id = '1'"
    )
    migrate(earlier, migrations())
    assert [tuple(row) for row in earlier.execute(counts.OUTCOMES)] == [("k", "cancelled", 1, 7)]
