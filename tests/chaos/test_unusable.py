"""A database that the agent must not use stops the start with one message and is not changed."""

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent
from tests.chaos.witnesses import SEED, whole

PAGE = 4096


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an agent that has run for a while."""
    agent = AgentProcess(tmp_path_factory.mktemp("left")).start()
    try:
        ids = [agent.schedule("replicante.test.ping", {"count": 20}) for _ in range(40)]
        agent.await_final(ids[-1])
    finally:
        agent.close()
    assert whole(agent.db)
    return agent.db


@pytest.fixture
def database(left: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(left, tmp_path / "agent.db"))


def refusal(db: Path, tmp_path: Path, status: int = os.EX_CONFIG) -> str:
    """The message of an agent that refuses this database and exits with this status."""
    place = tmp_path / "refused"
    place.mkdir()
    agent = AgentProcess(place, env={"AGENT_DB": str(db)})
    with pytest.raises(AssertionError, match=f"left with exit code {status}:"):
        agent.start()
    text = [line for line in agent.log_text().splitlines() if line.startswith("agent: ")]
    assert len(text) == 1
    assert str(db) in text[0]
    assert "Traceback" not in agent.log_text()
    assert "Booting worker" not in agent.log_text()
    return text[0]


def newer(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 9999")


def header(db: Path) -> None:
    overwrite(db, 0, 100)


def middle(db: Path) -> None:
    pages = db.stat().st_size // PAGE
    overwrite(db, pages // 2 * PAGE, PAGE)


def truncated(db: Path) -> None:
    os.truncate(db, db.stat().st_size // 2 // PAGE * PAGE)


def cut_in_a_page(db: Path) -> None:
    os.truncate(db, db.stat().st_size - PAGE // 2)


def overwrite(db: Path, offset: int, length: int) -> None:
    with db.open("r+b") as file:
        file.seek(offset)
        file.write(random.Random(SEED).randbytes(length))


def not_a_database(db: Path) -> None:
    db.write_text("[agent]\n" * 1000)


def another_programs(db: Path) -> None:
    db.unlink()
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize(
    ("damage", "what", "to_do"),
    [
        (newer, "schema 9999, written by a newer agent", "start the newer agent"),
        (header, "not a database", "restore it from a backup"),
        (middle, "malformed|damaged", "restore it from a backup"),
        (truncated, "malformed|damaged", "restore it from a backup"),
        (cut_in_a_page, "malformed|damaged", "restore it from a backup"),
        (not_a_database, "not a database", "restore it from a backup"),
        (another_programs, "another program", "set agent.db to"),
    ],
)
def test_foreign_or_damaged_database_is_refused_by_name_and_not_changed(
    database: Path, tmp_path: Path, damage: Callable[[Path], None], what: str, to_do: str
) -> None:
    damage(database)
    before = database.read_bytes()
    message = refusal(database, tmp_path)
    assert any(word in message for word in what.split("|")), message
    assert to_do in message
    assert database.read_bytes() == before


def test_directory_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.db").mkdir()
    assert "let agent.db name a file" in refusal(tmp_path / "agent.db", tmp_path, 1)
    assert (tmp_path / "agent.db").is_dir()


@pytest.fixture
def made_read_only() -> Iterator[Callable[[Path], None]]:
    """Make a file or folder read-only for every user."""
    mounted: list[Path] = []

    def make(path: Path) -> None:
        subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
        mounted.append(path)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)

    yield make
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("part", ["the file", "its directory"])
def test_read_only_database_is_refused_and_not_changed(
    database: Path, tmp_path: Path, made_read_only: Callable[[Path], None], part: str
) -> None:
    if part == "its directory":
        place = tmp_path / "state"
        place.mkdir()
        database = database.rename(place / "agent.db")
    before = database.read_bytes()
    made_read_only(database if part == "the file" else database.parent)
    assert "that the agent's user may write" in refusal(database, tmp_path, 1)
    assert database.read_bytes() == before


def test_damage_of_the_database_at_run_time_is_503_and_never_500(start_agent: StartAgent) -> None:
    agent = start_agent()
    ids = [agent.schedule("replicante.test.ping", {"count": 40}) for _ in range(60)]
    agent.await_final(ids[-1], timeout=30)
    with closing(sqlite3.connect(agent.db)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for page in range(1, agent.db.stat().st_size // PAGE):
        overwrite(agent.db, page * PAGE, PAGE)
    answers = [agent.get_info(action_id) for action_id in ids]
    answers += [agent.get("/api/unstable/actions/finished"), agent.post_schedule("replicante.test.success", {})]
    assert {answer.status for answer in answers} <= {200, 404, 503}
    damaged = [answer for answer in answers if answer.status == 503]
    assert damaged
    assert all("malformed" in answer.json["layers"][0] for answer in damaged)
    assert "Traceback" not in agent.whole_log()
    assert agent.get("/api/unstable/actions/available").status == 200, "other routes are answered"
