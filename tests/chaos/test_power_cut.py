"""A power cut at any moment leaves intact files with every action that was answered.

All that an agent writes, syncs and answers is recorded in its order. Then the files are rebuilt as of the moment
right before each sync: from what was synced by then alone, and with the writes since partly lost, torn and reordered.
"""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, eventually
from tests.chaos.disk import STRACE, Disk
from tests.chaos.witnesses import Clients, seeded, witness_environment

CONFIG = """
[agent]
kinds = {kinds}
[actions]
finished_limit = 100000
"""


class Recorded(AgentProcess):
    """An agent whose calls to the disk and answers to callers are recorded."""

    @property
    def calls(self) -> Path:
        return self.directory / "calls"

    def command(self) -> list[str]:
        return [*STRACE, "-o", str(self.calls), *super().command()]


def recording(directory: Path, *more: str) -> Recorded:
    """An ended agent that started on an empty folder, served clients and checkpointed its WAL more than once."""
    place = directory / "recorded"
    place.mkdir()
    agent = Recorded(
        place, config=CONFIG.format(kinds=["witness", "secretive", *more]), env=witness_environment(directory)
    ).start()
    try:
        clients = Clients(agent, args=lambda: {"steps": 2})
        clients.start(4, 20)
        for number in range(5):
            agent.schedule("secretive.use", {"password": f"correct horse {number}"})
        clients.join(60)
        eventually(lambda: not agent.queue(), "all is final", 30)
        assert clients.wrong == []
    finally:
        agent.close()
    eventually(lambda: "+++ exited with" in last_line(agent.calls), "all is written down")
    return agent


def test_answered_actions_are_on_disk_after_a_power_cut_at_any_moment(tmp_path: Path) -> None:
    chance = seeded()
    agent = recording(tmp_path)
    disk = Disk(str(agent.directory))
    moments = folded = 0
    for moment in disk.moments(agent.calls):
        moments += 1
        folded += moment.endswith("/agent.db")
        opens_with(disk.answered, disk.synced_only(), tmp_path / "cut")
        opens_with(disk.answered, disk.cut(chance), tmp_path / "cut")
    print(f"{moments} moments, {folded} of them while the log is folded into the file")
    assert moments > 200
    assert folded > 3
    assert len(set(disk.answered)) == 4 * 20 + 5, "every answer was seen"


def test_missing_fsync_is_detected_by_the_simulated_power_cut(tmp_path: Path) -> None:
    """Positive control of the test above."""
    agent = recording(tmp_path, "careless")
    disk = Disk(str(agent.directory))
    moment = next((each for each in disk.moments(agent.calls) if len(disk.answered) > 10), None)
    assert moment is not None
    with pytest.raises(AssertionError, match="lost"):
        opens_with(disk.answered, disk.synced_only(), tmp_path / "cut")


def opens_with(answered: list[str], files: Mapping[str, bytes], place: Path) -> None:
    """Assert that SQLite finds the files intact, with all these actions."""
    lost = set(answered) - held(files, place)
    assert not lost, f"lost: {lost}"


def last_line(file: Path) -> str:
    with file.open("rb") as opened:
        opened.seek(-100, os.SEEK_END)
        return opened.read().decode().splitlines()[-1]


def held(files: Mapping[str, bytes], place: Path) -> set[str]:
    """The actions in these files, which must be intact."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    with closing(sqlite3.connect(place / "agent.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'actions'").fetchone():
            return set()
        return {row[0] for row in connection.execute("SELECT id FROM actions")}
