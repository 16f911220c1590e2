"""An agent and its next version on one file under load: upgrade, downgrade, and both at the same time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.migrate import migrations
from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.chaos.witnesses import (
    CONFIG,
    MARK,
    OWN_KINDS,
    Clients,
    begun,
    complete,
    ids_by_seq,
    trace,
    whole,
    witness_environment,
)

NEWEST = migrations()[-1].number
LIMIT = 30
FULL = CONFIG.replace("queue_limit = 100000", f"queue_limit = {LIMIT}")
CHANGES = "-- The next version."
ONLY_ADDS = "-- The next version. Only adds."
NEXT = """
ALTER TABLE actions ADD COLUMN next TEXT;
CREATE TRIGGER next_of_actions AFTER INSERT ON actions BEGIN UPDATE actions SET next = 'x' WHERE seq = NEW.seq; END;
"""
BACK = """-- Nothing is lost.
DROP TRIGGER next_of_actions;
ALTER TABLE actions DROP COLUMN next;
"""


class NextAgent(AgentProcess):
    """The next version: this one with one more schema, in its own folder."""

    checkout: Path

    def command(self) -> list[str]:
        return [sys.executable, "-m", "gunicorn", "-c", str(self.checkout / "gunicorn.conf.py")]


def next_version(checkout: Path, first_line: str) -> Path:
    """A copy of this version with one more migration; everything else is a link."""
    migrations_of_next = checkout / "agent" / "store" / "migrations"
    migrations_of_next.mkdir(parents=True)
    for folder in (migrations_of_next, *migrations_of_next.parents[:2], checkout):
        for each in (CHECKOUT / folder.relative_to(checkout)).iterdir():
            if not (folder / each.name).exists() and (folder != checkout or each.suffix == ".py"):
                (folder / each.name).symlink_to(each)
    (migrations_of_next / f"{NEWEST + 1:04}_next.sql").write_text(first_line + NEXT)
    (migrations_of_next / f"{NEWEST + 1:04}_next.down.sql").write_text(BACK)
    return checkout


def schema(agent: AgentProcess) -> int:
    with closing(sqlite3.connect(agent.db)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.fixture
def agent(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    """An agent with the witness kinds and a short queue."""
    return start_agent(config=FULL, env=witness_environment(tmp_path), unix=True)


@pytest.fixture
def start_next(agent: AgentProcess, tmp_path: Path) -> Iterator[Callable[[Path, str], NextAgent]]:
    """Start the next version in a directory, on the database of the agent."""
    started: list[NextAgent] = []

    def start(directory: Path, first_line: str) -> NextAgent:
        directory.mkdir(exist_ok=True)
        checkout = next_version(tmp_path / "next-version", first_line)
        env = witness_environment(tmp_path, PYTHONPATH=f"{checkout}:{OWN_KINDS}", AGENT_DB=str(agent.db))
        newer = NextAgent(directory, config=FULL, env=env, unix=True)
        newer.checkout = checkout
        started.append(newer)
        newer.start()
        return newer

    yield start
    for each in started:
        each.close()


class Load:
    """Callers of each agent, more than it can serve: its queue is full soon and stays full."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.callers = directory, list[Clients]()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.callers:
            each.over.set()

    def on(self, agent: AgentProcess) -> Clients:
        """Begin to call it; a call is repeated while it is down."""
        made = Clients(agent, args=lambda: {"steps": 2, "pause": 0.01}, name=agent.directory.name)
        self.callers.append(made)
        made.start(3, 1_000_000)
        return made

    def await_more(self, of: Clients) -> None:
        """Wait until the agent has accepted some of these calls and refused some, and some action was executed."""
        accepted, refused, executed = len(of.answered), of.full, len(begun(self.directory))

        def more() -> bool:
            goes_on = len(begun(self.directory)) > executed + 5
            return goes_on and len(of.answered) > accepted + 5 and of.full > refused

        eventually(more, "the queue is full, and drains", 30)

    def check(self, agent: AgentProcess) -> None:
        """Assert that every acknowledged action exists once and was executed once, in the order of the queue."""
        for each in self.callers:
            each.over.set()
        for each in self.callers:
            each.join(60)
        eventually(lambda: not agent.queue(), "all are final", 60)
        order, lines = ids_by_seq(agent.db), trace(self.directory)
        assert [wrong for each in self.callers for wrong in each.wrong] == []
        assert sorted(order) == sorted(action_id for each in self.callers for action_id in each.answered)
        steps = [(action_id, what, number) for action_id in order for number in (1, 2) for what in ("begin", "end")]
        assert [(line.action_id, line.what, line.number) for line in lines] == steps
        assert all(complete(agent.info(action_id)) for action_id in order[::5])
        assert whole(agent.db)


def run(agent: AgentProcess, *command: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | agent.env
    return subprocess.run(command, env=env, cwd=agent.directory, capture_output=True, text=True, check=False)


def test_upgrade_and_downgrade_under_load_lose_no_action(
    agent: AgentProcess, start_next: Callable[[Path, str], NextAgent], tmp_path: Path
) -> None:
    with Load(tmp_path) as load:
        callers = load.on(agent)
        load.await_more(callers)
        agent.stop()
        assert len(waiting(agent)) > LIMIT / 2
        newer = start_next(agent.directory, CHANGES)
        load.await_more(callers)
        assert schema(agent) == NEWEST + 1
        newer.stop()
        assert len(waiting(agent)) > LIMIT / 2
        refused = run(agent, *agent.command())
        assert refused.returncode == os.EX_CONFIG
        assert f"run its agentctl db downgrade {NEWEST}" in refused.stderr + agent.log_text()
        back = run(newer, sys.executable, "-m", "agent.cli", "db", "downgrade", str(NEWEST))
        assert (back.returncode, back.stderr) == (0, "")
        assert back.stdout.startswith(f"schema {NEWEST + 1} taken back: Nothing is lost.\n")
        agent.start()
        assert schema(agent) == NEWEST
        load.await_more(callers)
        load.check(agent)
        args = {"steps": 2, "pause": 0.01}
        again = agent.schedule(MARK, args, headers={"Idempotency-Key": f"{callers.name} 0 call 0"})
        assert again in callers.answered, "keys are kept on the way"


def test_two_versions_share_one_file_if_the_newer_schema_only_adds(
    agent: AgentProcess, start_next: Callable[[Path, str], NextAgent], tmp_path: Path
) -> None:
    with Load(tmp_path) as load:
        of_older = load.on(agent)
        load.await_more(of_older)
        newer = start_next(agent.directory / "next", ONLY_ADDS)
        assert schema(agent) == NEWEST + 1
        of_newer = load.on(newer)
        load.await_more(of_older)
        load.await_more(of_newer)
        assert "this process executes the queue" not in newer.whole_log()
        agent.stop()
        load.await_more(of_newer)
        agent.start()
        load.await_more(of_older)
        of_newer.over.set()
        of_newer.join(60)
        newer.stop()
        load.await_more(of_older)
        load.check(agent)


def waiting(agent: AgentProcess) -> list[str]:
    """The ids in the queue of an agent that does not run."""
    with closing(sqlite3.connect(agent.db)) as connection:
        rows = connection.execute("SELECT id FROM actions WHERE state IN ('NEW', 'RUNNING') ORDER BY seq").fetchall()
    return [row[0] for row in rows]
