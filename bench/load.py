"""Loads a server with schedule calls by wrk, and counts its answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.client import PREFIX, SUCCESS
from bench.figure import Unmeasured

CONNECTIONS = 8
THREADS = 2
SCRIPT = Path(__file__).with_name("schedule.lua")


@dataclass(frozen=True)
class Load:
    """The result of wrk: the number of answers with status 200, and the duration in seconds."""

    answered: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds


def load(port: int, seconds: int, answers: Path | None = None) -> Load:
    """Send schedule calls for `seconds`; write the bodies of the answers into the directory `answers` if given.

    Raises `Unmeasured` if wrk is missing or a call failed."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise Unmeasured("wrk is not installed")
    url = f"http://127.0.0.1:{port}{PREFIX}/schedule/{SUCCESS}"
    command = [wrk, f"-c{CONNECTIONS}", f"-t{THREADS}", f"-d{seconds}s", "-s", str(SCRIPT), url]
    if answers is not None:
        command += ["--", str(answers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise Unmeasured(f"wrk failed: {done.stderr.strip()}")
    summary = json.loads(done.stdout.splitlines()[-1])
    if summary["failed"]:
        raise Unmeasured(f"{summary['failed']} of {summary['requests']} schedule calls failed")
    return Load(summary["requests"], summary["microseconds"] / 1_000_000)
