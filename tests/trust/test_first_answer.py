"""The first answer on a new connection comes about as fast as from gunicorn alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import first_answer
from bench.figure import Bench, Row

ATTEMPTS = 10


@pytest.mark.alone
def test_first_tls_answer_is_as_fast_as_plain_gunicorns(tmp_path: Path) -> None:
    """What Nagle's algorithm or a look for the first byte costs is there in every attempt; a busy machine is not."""
    bench = Bench(tmp_path, 1, print)
    rows: list[Row] = []
    while len(rows) < ATTEMPTS:
        rows += first_answer.measure(bench)
        if rows[-1].met:
            return
    raise AssertionError(rows)
