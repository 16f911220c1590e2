"""The packages of the checkout, built by `make package`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.cache import cache_dir
from tests.servers.process import run
from tests.servers.shared import shared

CHECKOUT = Path(__file__).parents[2]
EPOCH = 1767225600
"""The time of every file in them: 2026-01-01."""


@contextmanager
def shared_packages(run_id: str) -> Iterator[Path]:
    """A folder with the wheel, the sdist, the .deb and the .rpm, built once for all processes of a test run."""
    with shared(cache_dir() / f"agent-packages-{run_id}", build, Path(__file__)) as folder:
        yield folder


def build(to: Path, checkout: Path = CHECKOUT, *formats: str) -> None:
    """Build all of them, or these formats, from a checkout. RuntimeError with the output if a program fails."""
    environ = dict(os.environ) | {"SOURCE_DATE_EPOCH": str(EPOCH)}
    run([sys.executable, checkout / "packaging/make_packages.py", "--out", to, *formats], timeout=800, env=environ)
    to.chmod(0o755)
