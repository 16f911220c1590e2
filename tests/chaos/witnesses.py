"""Agents with the witness kinds, a reader of their trace, and clients that retry until they are answered."""

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.agent_process import CHECKOUT, AgentProcess, eventually

SEED = 20190830
MARK = "witness.mark"
OWN_KINDS = Path(__file__).parent / "own_kinds"
CONFIG = """
[agent]
kinds = ["witness"]
[actions]
execute_interval = 0.5
queue_limit = 100000
finished_limit = 100000
prune_keep = 100000
"""
ALLOWED = {("NEW", "RUNNING"), ("NEW", "FAILED"), ("RUNNING", "RUNNING"), ("RUNNING", "DONE"), ("RUNNING", "FAILED")}


def witness_environment(directory: Path, **more: str) -> dict[str, str]:
    """The environment of an agent whose witness kinds write into `directory`."""
    return {"PYTHONPATH": f"{CHECKOUT}:{OWN_KINDS}", "WITNESS": str(directory), **more}


def seeded() -> random.Random:
    """The same random numbers in every run; the seed is shown with a failure."""
    print(f"seed {SEED}")
    return random.Random(SEED)


@dataclass(frozen=True)
class Line:
    """A recorded line of a step: `begin`, `end`, `interrupted`, or `overlap` with another."""

    what: str
    action_id: str
    number: int


def trace(directory: Path) -> list[Line]:
    """All recorded lines so far, in order."""
    path = directory / "trace"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Line(what, action_id, int(number)) for what, action_id, number in map(str.split, lines)]


def begun(directory: Path) -> list[str]:
    """The ids of the actions, ordered by the begin of their first step."""
    return list(dict.fromkeys(line.action_id for line in trace(directory) if line.what == "begin"))


def await_begun(directory: Path, action_id: str, timeout: float) -> None:
    """Wait until the first step of an action has begun, `timeout` seconds at most."""
    eventually(lambda: action_id in begun(directory), f"{action_id} has begun", timeout)


def never_two_at_once(lines: list[Line]) -> bool:
    """Whether each step ended or was interrupted before another one began."""
    if any(line.what == "overlap" for line in lines):
        return False
    return all(
        then.action_id == line.action_id and then.what in ("end", "interrupted")
        for line, then in pairwise(lines)
        if line.what == "begin"
    )


def single_unless_resumed(lines: list[Line]) -> int:
    """Assert that only `resume` repeated a step; returns the number of interruptions."""
    message = Counter(line.action_id for line in lines if line.what == "interrupted")
    runs = Counter((line.action_id, line.number) for line in lines if line.what == "begin")
    again = {step: count - 1 for step, count in runs.items() if count > 1}
    assert all(count <= message[action_id] for (action_id, _), count in again.items()), again
    return sum(message.values())


def ids_by_seq(db: Path) -> list[str]:
    """All actions of the file in the order of execution."""
    with sqlite3.connect(db) as connection:
        rows = connection.execute("SELECT id FROM actions ORDER BY seq").fetchall()
    connection.close()
    return [row[0] for row in rows]


def whole(db: Path) -> bool:
    """Whether the integrity and foreign key checks of SQLite succeed."""
    connection = sqlite3.connect(db)
    try:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        return bool(found == [("ok",)] and not connection.execute("PRAGMA foreign_key_check").fetchall())
    finally:
        connection.close()


def complete(info: Any) -> bool:
    """Whether the history of a final action is complete and has allowed transitions only."""
    states = [line["state"] for line in reversed(info["history"])]
    first, last = info["history"][-1], info["history"][0]
    return (
        states[0] == "NEW"
        and first["state_payload"] is None
        and states[-1] in ("DONE", "FAILED")
        and (last["state"], last["state_payload"]) == (info["action"]["state"], info["action"]["state_payload"])
        and set(pairwise(states)) <= ALLOWED
    )


@dataclass
class Clients:
    """Threads that schedule; each call is repeated with its Idempotency-Key until it is answered 200.

    `full` counts the calls refused by a full queue. Clients of one `name` use the same keys.
    """

    agent: AgentProcess
    args: Callable[[], Any] = dict
    pause: float = 0.0
    answered: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    full: int = 0
    name: str = "client"
    over: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self, count: int, calls: int) -> None:
        """Begin `count` clients that make `calls` calls each, fewer when `over` is set."""
        self.threads = [threading.Thread(target=self._run, args=(number, calls)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def join(self, timeout: float) -> None:
        """Wait until all calls are answered."""
        deadline = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self.threads), "clients without an answer"

    def _run(self, client: int, calls: int) -> None:
        for call in range(calls):
            if self.over.is_set():
                return
            self._schedule(f"{self.name} {client} call {call}")
            time.sleep(self.pause)

    def _schedule(self, key: str) -> None:
        deadline = time.monotonic() + 60
        args = self.args()
        while time.monotonic() < deadline:
            try:
                answer = self.agent.post_schedule(MARK, args, headers={"Idempotency-Key": key})
            except (OSError, HTTPException):
                time.sleep(0.02)
                continue
            if answer.status == 200:
                self.answered.append(answer.json["id"])
                return
            if answer.json["variant"] == "QueueFull":
                self.full += 1
                time.sleep(0.05)
                continue
            self.wrong.append(f"{answer.status} {answer.json}")
        self.wrong.append(f"no answer to {key}")
