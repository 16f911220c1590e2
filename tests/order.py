"""The order of the test files over several processes: the longest first, so that all processes end together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

RECORD = Path(__file__).with_name("durations.txt")
"""Seconds and path, one line for each file, the longest first; `pytest --record-durations` writes it."""
UNKNOWN = 20.0
"""Expected seconds of a file that is not recorded yet."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-durations", action="store_true", help=f"write tests/{RECORD.name} from this run")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--record-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort by file. Tests that make the other processes wait come last, when those have ended."""
    if not hasattr(config, "workerinput"):
        return
    expected = recorded()
    alone = {path_of(item.nodeid) for item in items if item.get_closest_marker("alone")}

    def rank(item: pytest.Item) -> tuple[bool, float, str]:
        path = path_of(item.nodeid)
        return path in alone, -expected.get(path, UNKNOWN), path

    items.sort(key=rank)


def path_of(nodeid: str) -> str:
    """The file of a test."""
    return nodeid.partition("::")[0]


def recorded() -> dict[str, float]:
    """Seconds by path."""
    if not RECORD.exists():
        return {}
    lines = (line.split() for line in RECORD.read_text(encoding="ascii").splitlines())
    return {path: float(seconds) for seconds, path in lines}


class Recorder:
    """Sums up the duration of each file over all processes."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[path_of(report.nodeid)] += report.duration  # type: ignore[assignment]

    def pytest_sessionfinish(self) -> None:
        found = recorded() | dict(self._seconds)
        kept = [(-seconds, path) for path, seconds in found.items() if (RECORD.parent.parent / path).exists()]
        lines = (f"{-seconds:.1f} {path}\n" for seconds, path in sorted(kept))
        RECORD.write_text("".join(lines), encoding="ascii")
