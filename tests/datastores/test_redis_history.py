"""Comparison of replication ids: shared, foreign or unknown, bytes ahead, and whether PSYNC can continue."""

from __future__ import annotations

from typing import Any

import pytest

from agent.datastores.redis.history import SharedHistory, bytes_ahead, can_continue, kinship
from agent.datastores.redis.state import RedisState, parse

NONE = 0
"""The driver's value for forty zeros."""
A, B, C = "a" * 40, "b" * 40, "c" * 40


def server(replid: Any, offset: int, replid2: Any = NONE, fork: int = -1, **more: Any) -> RedisState:
    """A primary at this offset; `fork` is the first offset after the second id ended."""
    backlog = more.pop("backlog", (1, offset))
    info: dict[str, Any] = {
        "run_id": f"run of {replid}",
        "redis_version": "7.0.15",
        "role": "master",
        "master_replid": replid,
        "master_replid2": replid2,
        "master_repl_offset": offset,
        "second_repl_offset": fork,
        "repl_backlog_active": int(backlog is not None),
        "repl_backlog_first_byte_offset": backlog[0] if backlog else 0,
        "repl_backlog_histlen": backlog[1] - backlog[0] + 1 if backlog else 0,
        "connected_slaves": 0,
        "loading": 0,
        "db0": {"keys": 1},
    }
    return parse(info | more)


def replica(replid: Any, offset: int, **more: Any) -> RedisState:
    link = {"master_link_status": "up", "master_sync_in_progress": 0, "master_host": "10.0.0.1", "master_port": 6379}
    part: dict[str, Any] = {"role": "slave", "slave_repl_offset": offset, "slave_read_only": 1}
    return server(replid, offset, **part | link | more)


@pytest.mark.parametrize(
    "here, there, ahead",
    [
        (replica(A, 100), server(A, 100), 0),
        (replica(A, 90), server(A, 100), 0),
        (replica(A, 100), server(A, 90), 10),
        (server(A, 100), server(B, 200, A, 101), 0),
        (server(A, 130), server(B, 200, A, 101), 30),
        (server(B, 100, A, 101), server(A, 100), 0),
        (server(B, 150, A, 101), server(A, 120), 50),
        (server(B, 150, A, 101), server(A, 80), 70),
        (server(B, 150, A, 101), server(C, 150, A, 121), 50),
        (server(A, 100), server(B, 100), None),
        (server("7" * 40, 100), replica(int("7" * 40), 100), 0),
        (server(A, 100, backlog=None), server(B, 100, A, 101), 0),
        (replica(A, 100, slave_read_only=0), server(A, 100), None),
    ],
)
def test_bytes_ahead_counts_bytes_missing_on_the_other_server(
    here: RedisState, there: RedisState, ahead: int | None
) -> None:
    assert bytes_ahead(here, there) == ahead


@pytest.mark.parametrize(
    "here, there, others, expected",
    [
        (replica(A, 1), server(A, 1), [], SharedHistory.SHARED),
        (server(A, 1), server(B, 9, A, 2), [], SharedHistory.SHARED),
        (server(A, 1), server(C, 9), [server(C, 9, B, 5), server(B, 5, A, 2)], SharedHistory.SHARED),
        (replica(A, 1), server(C, 9, backlog=None), [], SharedHistory.FOREIGN),
        (replica(A, 1, master_link_status="down"), server(C, 9), [], SharedHistory.FOREIGN),
        (replica(A, 1, master_link_status="down"), server(C, 9, backlog=None), [], SharedHistory.UNKNOWN),
        (server(A, 1, backlog=None), server(C, 9), [server(B, 3)], SharedHistory.UNKNOWN),
    ],
)
def test_kinship_needs_proof_in_both_directions(
    here: RedisState, there: RedisState, others: list[RedisState], expected: SharedHistory
) -> None:
    assert kinship(here, there, others) is expected


@pytest.mark.parametrize(
    "here, there, expected",
    [
        (replica(A, 50), server(A, 100), True),
        (replica(A, 100), server(A, 100), True),
        (replica(A, 101), server(A, 100), False),
        (replica(A, 50), server(A, 100, backlog=(52, 100)), False),
        (replica(A, 50), server(A, 100, backlog=(51, 100)), True),
        (server(A, 100), server(B, 120, A, 101), True),
        (server(A, 101), server(B, 120, A, 101), False),
        (server(B, 100, A, 101), server(A, 100), False),
        (replica(A, 50), server(A, 100, backlog=None), False),
    ],
)
def test_can_continue_predicts_the_answer_of_psync(here: RedisState, there: RedisState, expected: bool) -> None:
    assert can_continue(here, there) is expected
