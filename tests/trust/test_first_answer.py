"""The first answer on a new connection comes about as fast as from gunicorn alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import first_answer
from bench.figure import Bench, Row

ATTEMPTS = 10


@pytest.mark.alone
def test_first_tls_answer_is_as_fast_as_plain_gunicorns(tmp_path: Path) -> None:
    """A delay by Nagle's algorithm or a wait for the first byte is in every attempt; one by a busy machine is not."""
    bench = Bench(tmp_path, 1, print)
    rows: list[Row] = []
    while len(rows) < ATTEMPTS:
        rows += first_answer.measure(bench)
        if rows[-1].met:
            return
    raise AssertionError(rows)
