"""Counts for the metrics: waiting actions, outcomes, waiting and running times.

No statement reads the final actions: triggers keep the counts of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent import clock
from agent.models import State
from agent.store import Store
from agent.store.actions import LAST
from agent.store.rows import row_as

MOST_CALLBACKS = 100_000
"""Maximum number of undelivered callbacks that are counted."""

WAITING = """
    SELECT kind, max(not_before) AS not_before, needs_approval, max(approved_by) AS approved_by,
           count(*) AS count, min(scheduled_ts) AS oldest_ts
    FROM actions WHERE finished_ts IS NULL AND state = 'NEW'
    GROUP BY kind, ifnull(not_before > :now, 0), needs_approval, approved_by IS NULL
"""
RUNNING = """
    SELECT kind, (SELECT timestamp FROM history WHERE action_seq = seq AND version = 2) AS started_ts
    FROM actions WHERE state = 'RUNNING'
"""
OUTCOMES = "SELECT kind, outcome, count, last_ts FROM outcomes ORDER BY kind, outcome"
BOUNDS = "SELECT upper FROM time_bounds ORDER BY upper"
TIMES = "SELECT measure, kind, upper, count, microseconds FROM times ORDER BY measure, kind, upper"
RECEIVERS = """
    SELECT CASE WHEN ended THEN 'ended' WHEN failure IS NOT NULL THEN 'failing' ELSE 'ready' END AS state,
           count(*) AS count
    FROM receivers GROUP BY 1
"""
CALLBACKS = "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT :most)"
STATEMENTS: Mapping[str, Mapping[str, int]] = {
    WAITING: {"now": 0}, RUNNING: {}, OUTCOMES: {}, BOUNDS: {}, TIMES: {}, CALLBACKS: {"most": MOST_CALLBACKS},
    RECEIVERS: {},
}  # fmt: skip
"""All statements, with parameters for a test of their query plans."""


@dataclass(frozen=True)
class WaitingActions:
    """Actions of one kind that wait and are held for the same reason, or for none. Times are microseconds."""

    kind: str
    not_before: int | None
    needs_approval: bool
    approved_by: str | None
    count: int
    oldest_ts: int
    state: State = State.NEW


@dataclass(frozen=True)
class RunningAction:
    """The running action; `started_ts` is in microseconds since the epoch."""

    kind: str
    started_ts: int


@dataclass(frozen=True)
class FinalActions:
    """Final actions of one kind and outcome; `last_ts` is in microseconds since the epoch."""

    kind: str
    outcome: str
    count: int
    last_ts: int


@dataclass(frozen=True)
class Times:
    """`buckets`: how many actions took at most so many seconds, cumulative, infinite last; `seconds`: the sum."""

    measure: str
    kind: str
    buckets: tuple[tuple[float, int], ...]
    seconds: float


@dataclass(frozen=True)
class Counts:
    """The counts of actions, callbacks and keys as of one moment."""

    waiting: tuple[WaitingActions, ...]
    running: RunningAction | None
    ended: tuple[FinalActions, ...]
    times: tuple[Times, ...]
    callbacks: int
    receivers: Mapping[str, int]


def read(store: Store) -> Counts:
    """Read all counts in one snapshot. Raises `StoreUnavailable`."""
    with store.snapshot() as connection:
        waiting = connection.execute(WAITING, {"now": clock.now()}).fetchall()
        running = connection.execute(RUNNING).fetchone()
        ended = connection.execute(OUTCOMES).fetchall()
        bounds = [row["upper"] for row in connection.execute(BOUNDS)]
        times = connection.execute(TIMES).fetchall()
        receivers = {row["state"]: row["count"] for row in connection.execute(RECEIVERS)}
        (callbacks,) = connection.execute(CALLBACKS, {"most": MOST_CALLBACKS}).fetchone()
    return Counts(
        tuple(row_as(WaitingActions, row, state=State.NEW) for row in waiting),
        RunningAction(*running) if running else None,
        tuple(FinalActions(*row) for row in ended),
        _times(bounds, [tuple(row) for row in times]),
        callbacks,
        receivers,
    )


def _times(bounds: list[int], rows: list[tuple[str, str, int, int, int]]) -> tuple[Times, ...]:
    series = dict.fromkeys((measure, kind) for measure, kind, *_ in rows)
    found = []
    for measure, kind in series:
        own = {upper: (count, total) for each, name, upper, count, total in rows if (each, name) == (measure, kind)}
        buckets, below = [], 0
        for upper in bounds:
            below += own.get(upper, (0, 0))[0]
            buckets.append((float("inf") if upper == LAST else upper / 1e6, below))
        found.append(Times(measure, kind, tuple(buckets), sum(total for _, total in own.values()) / 1e6))
    return tuple(found)
