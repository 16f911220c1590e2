"""Opening the file: private modes, concurrent openers, and no harm to other processes that have it open."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from agent.errors import StoreUnavailable, StoreUnusable
from agent.store import LOG_SIZE, Store, actions
from tests.agent_process import CHECKOUT
from tests.store.scenes import schedule

OPEN = """
import sys, pathlib
from agent.store import Store
store = Store(pathlib.Path(sys.argv[1]))
sys.stdin.readline()
store.open()
store.close()
"""


def processes(path: Path, count: int) -> list["subprocess.Popen[bytes]"]:
    """Processes that open the file on a line on their standard input."""
    return [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(path)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(count)
    ]


def let_open(opening: list["subprocess.Popen[bytes]"]) -> None:
    for process in opening:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=30)[1].decode() for process in opening]
    assert errors == [""] * len(opening)


def test_wal_is_truncated_after_a_long_reader(store: Store) -> None:
    log = store.path.with_name("agent.db-wal")
    schedule(store)

    def write(count: int) -> None:
        for _ in range(count):
            store.write(lambda connection: connection.execute("UPDATE big SET text = hex(randomblob(1000000))"))

    store.write(lambda connection: connection.execute("CREATE TABLE big AS SELECT '' AS text"))
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM big").fetchall()
        write(8)
        peak = log.stat().st_size
        reader.execute("ROLLBACK")
    write(3)
    assert peak > 2 * LOG_SIZE - 2**20
    assert log.stat().st_size <= LOG_SIZE + 2**22


def test_reads_of_a_thread_within_a_snapshot_see_no_later_commit(store: Store) -> None:
    schedule(store)
    with store.snapshot(), ThreadPoolExecutor(1) as other:
        before = len(actions.queue(store))
        other.submit(schedule, store).result()
        with store.snapshot() as inner:
            assert inner.execute("SELECT count(*) FROM actions").fetchone()[0] == before
        assert len(actions.queue(store)) == before
        assert len(other.submit(actions.queue, store).result()) == before + 1
    assert len(actions.queue(store)) == before + 1


def test_database_wal_and_shm_have_mode_0600(store: Store) -> None:
    schedule(store)
    modes = {file.name: file.stat().st_mode & 0o777 for file in store.path.parent.iterdir()}
    assert modes == {"agent.db": 0o600, "agent.db-wal": 0o600, "agent.db-shm": 0o600}


@pytest.mark.parametrize("attempt", range(4))
def test_new_file_opened_by_several_processes_at_once_is_complete(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / "agent.db"
    let_open(processes(path, 4))
    store = Store(path)
    schedule(store)
    assert store.read("PRAGMA auto_vacuum")[0][0] == 2
    store.close()


def test_new_file_opened_by_several_threads_at_once_is_complete(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: schedule(store), range(8)))) == 8


def test_process_that_opens_and_closes_the_file_does_not_remove_the_wal(store: Store) -> None:
    """Closing any descriptor of the file releases SQLite's locks: then the WAL could be deleted while in use."""
    schedule(store)
    with ThreadPoolExecutor(4) as pool:  # threads with connections of their own, as a server has
        list(pool.map(lambda _: store.read("SELECT 1"), range(8)))
        log = store.path.with_name("agent.db-wal").stat()
        let_open(processes(store.path, 1))
        assert store.path.with_name("agent.db-wal").stat().st_ino == log.st_ino, "the log was taken away"
        schedule(store)
    assert len(store.read("SELECT * FROM actions")) == 2
    other = sqlite3.connect(store.path)
    assert other.execute("SELECT count(*) FROM actions").fetchone() == (2,)
    other.close()


def test_file_that_cannot_be_created_is_unavailable_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        Store(tmp_path / "no such directory" / "agent.db").open()
    assert "No such file or directory" in caught.value.layers[0]


@pytest.mark.parametrize("version", [0, 1])
def test_the_database_of_another_program_is_refused_and_not_changed(tmp_path: Path, version: int) -> None:
    path = tmp_path / "agent.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
        other.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="another program"):
        Store(path).open()
    assert path.read_bytes() == before


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    (tmp_path / "agent.db").touch()
    store = Store(tmp_path / "agent.db")
    schedule(store)
    store.close()


def test_a_file_found_damaged_later_is_unavailable(store: Store) -> None:
    schedule(store)
    store.close()
    store.path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable, match="cannot be read or written") as caught:
        store.read("SELECT 1")
    assert "restore it from a backup" in caught.value.layers[0]


def opened(path: Path) -> list[str]:
    """The descriptors of this process that belong to a database."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [name for link in links if (name := os.path.realpath(link)).startswith(str(path))]


def test_close_includes_connections_of_running_threads(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            pool.submit(store.read, "SELECT 1").result(10)
            pool.submit(store.write, lambda connection: None).result(10)
        assert opened(store.path)
        store.close()
        assert opened(store.path) == []


def test_successive_reading_threads_share_a_connection(store: Store) -> None:
    store.read("SELECT 1")
    before = opened(store.path)
    for _ in range(5):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(store.read, "SELECT 1").result(10)
            assert opened(store.path) == before


def test_connection_in_use_is_closed_when_its_read_ends(store: Store) -> None:
    with store.snapshot() as connection:
        store.close()
        assert connection.execute("SELECT 1").fetchone()[0] == 1
    assert opened(store.path) == []
    assert len(store.read("SELECT 1")) == 1
