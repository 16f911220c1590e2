"""Measure the agent's promises about speed and size, and print a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bench import (
    action_time,
    command_line,
    drain_rate,
    first_answer,
    first_step,
    footprint,
    pages,
    read_scale,
    schedule_rate,
    watchers,
)
from bench.disk import disk_directory, file_system, fsync_milliseconds
from bench.figure import Bench, Row, Unmeasured, table

FIGURES: dict[str, Callable[[Bench], list[Row]]] = {
    "a": schedule_rate.measure,
    "b": first_step.measure,
    "c": drain_rate.measure,
    "d": read_scale.measure,
    "e": footprint.measure,
    "f": first_answer.measure,
    "g": action_time.measure,
    "h": watchers.measure,
    "i": command_line.measure,
    "j": pages.measure,
}
FIGURE_SECONDS = 1200


def main() -> int:
    """Measure, print and write the figures; returns 1 if a figure could not be measured."""
    options = _options()
    signal.signal(signal.SIGALRM, _too_slow)
    signal.signal(signal.SIGTERM, _ended)
    with disk_directory(options.directory) as directory:
        conditions = _conditions(directory)
        print(_sentence(conditions), flush=True)
        bench = Bench(directory, options.rounds, lambda line: print(line, file=sys.stderr))
        rows, failures = _measure(bench, options.only)
    print(table(rows))
    for figure, reason in failures.items():
        print(f"{figure}  not measured: {reason}")
    if options.json:
        report = conditions | {"figures": [row.as_json() for row in rows], "unmeasured": failures}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--only", type=_letters, default=list(FIGURES), help="such as a,c")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds of a and c")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--directory", type=Path, help="a folder on a disk for the databases")
    return parser.parse_args()


def _letters(text: str) -> list[str]:
    letters = text.split(",")
    if unknown := set(letters) - set(FIGURES):
        raise argparse.ArgumentTypeError(f"no figure {', '.join(sorted(unknown))}")
    return letters


def _measure(bench: Bench, letters: list[str]) -> tuple[list[Row], dict[str, str]]:
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for letter in letters:
        signal.alarm(FIGURE_SECONDS)
        try:
            rows += FIGURES[letter](bench)
        except Exception as error:  # a failure of one figure must not prevent the others
            failures[letter] = f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
    return rows, failures


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise Unmeasured(f"not done after {FIGURE_SECONDS} s")


def _ended(_signal: int, _frame: FrameType | None) -> None:
    # Unwinds the stack, which ends every server and removes every file.
    raise SystemExit(143)


def _conditions(directory: Path) -> dict[str, object]:
    kind, point = file_system(directory)
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "file_system": kind,
        "mount": point,
        "fsync_ms": round(fsync_milliseconds(directory), 3),
    }


def _sentence(conditions: dict[str, object]) -> str:
    return (
        "Python {python}, SQLite {sqlite}, {cores} cores; files on {file_system} ({mount}), "
        "one append with fsync {fsync_ms} ms"
    ).format(**conditions)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unmeasured as error:
        sys.exit(f"bench: {error}")
