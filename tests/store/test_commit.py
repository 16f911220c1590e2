"""A write is on disk when it returns, or rolled back; concurrent requests share only a commit."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.errors import IdempotencyKeyReused, QueueFull, StoreUnavailable
from agent.models import Accepted, Request
from agent.store import Store, actions, retention, transitions
from agent.store.enqueue import Enqueuer
from agent.store.group_commit import GroupCommit
from tests.agent_process import eventually
from tests.store.scenes import finish, ids, info, request, schedule

THREADS = 24


@pytest.fixture
def table(store: Store) -> Store:
    """The store with a table to write numbers into."""
    store.write(lambda connection: connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    return store


def numbers(store: Store) -> list[int]:
    return [row[0] for row in store.read("SELECT number FROM numbers ORDER BY number")]


def insert(number: int) -> Callable[[sqlite3.Connection], int]:
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return work


def at_once(store: Store, requests: Sequence[Request], limit: int = 1_000_000) -> list[Any]:
    """The id or error of each request; all except the first wait for the busy file, and so share a commit."""
    enqueuer, busy, proceed = Enqueuer(store, limit), threading.Event(), threading.Event()

    def occupy(connection: sqlite3.Connection) -> None:
        busy.set()
        assert proceed.wait(10)

    def call(each: Request) -> Any:
        try:
            return enqueuer.schedule(each).action_id
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(requests) + 1) as pool:
        pool.submit(store.write, occupy)
        assert busy.wait(10)
        calls = []
        try:
            for number, each in enumerate(requests):  # one after the other, so that their order is known
                calls.append(pool.submit(call, each))
                eventually(lambda number=number: waiting(enqueuer) == number, "it waits", 2)  # type: ignore[misc]
        finally:
            proceed.set()
        return [each.result(30) for each in calls]


def waiting(enqueuer: Enqueuer) -> int:
    """The number of requests that wait for the running commit; -1 without one."""
    together = enqueuer._schedule
    return len(together._waiting) if together._led else -1


@pytest.fixture
def known(store: Store) -> Store:
    """The store with an existing resource, so that a request is one write."""
    schedule(store)
    finish(store)
    return store


# One write


def test_a_returned_write_is_visible_to_all_readers(table: Store, tmp_path: Path) -> None:
    assert table.write(insert(1)) == 1
    other = sqlite3.connect(tmp_path / "agent.db")
    assert other.execute("SELECT number FROM numbers").fetchall() == [(1,)]
    other.close()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(), sqlite3.IntegrityError("no")])
def test_exception_rolls_back_its_write(table: Store, error: BaseException) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (1000)")
        raise error

    with pytest.raises(type(error)):
        table.write(fails)
    assert numbers(table) == []
    assert table.write(insert(5)) == 5


def test_sqlite_error_is_reported_with_its_cause_and_rolled_back(table: Store) -> None:
    def file_breaks(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (1000)")
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StoreUnavailable) as caught:
        table.write(file_breaks)
    assert caught.value.layers == ["disk I/O error"]
    assert numbers(table) == []
    assert table.write(insert(5)) == 5


def test_error_in_the_commit_is_rolled_back(table: Store) -> None:
    """A deferred constraint is the only fault of a COMMIT that a test can cause."""
    child = "CREATE TABLE child (number INTEGER REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)"
    table.write(lambda connection: connection.execute(child))
    with pytest.raises(sqlite3.IntegrityError):
        table.write(lambda connection: connection.execute("INSERT INTO child VALUES (1000)"))
    assert table.read("SELECT * FROM child") == []
    assert table.write(insert(5)) == 5


def test_thousand_concurrent_writes_make_thousand_rows(table: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: table.write(insert(number)), range(1000)))
    assert results == list(range(1000)) == numbers(table)


def test_snapshot_does_not_see_later_commits(table: Store) -> None:
    table.write(insert(1))
    with table.snapshot() as connection:
        count = "SELECT count(*) FROM numbers"
        assert connection.execute(count).fetchone()[0] == 1
        with ThreadPoolExecutor(1) as pool:
            pool.submit(table.write, insert(2)).result(10)
        assert connection.execute(count).fetchone()[0] == 1
    assert len(numbers(table)) == 2


def test_a_store_that_was_locked_works_again_when_the_lock_is_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.store.BUSY_TIMEOUT", 0.1)
    schedule(store)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable) as caught:
        schedule(store)
    assert caught.value.headers["Retry-After"]
    with ThreadPoolExecutor(1) as pool:  # a thread that has no connection yet
        rows = pool.submit(store.read, "SELECT * FROM actions").result(10)
    assert len(rows) == 1, "reads go on"
    other.execute("ROLLBACK")
    other.close()
    schedule(store)
    assert len(store.read("SELECT * FROM actions")) == 2


def test_every_connection_writes_through_to_the_disk(store: Store) -> None:
    def pragma(name: str) -> Any:
        return store.write(lambda connection: connection.execute(f"PRAGMA {name}").fetchone()[0])

    assert pragma("synchronous") == 2
    assert pragma("journal_mode") == "wal"
    assert pragma("foreign_keys") == 1
    assert pragma("secure_delete") == 1
    assert pragma("auto_vacuum") == 2


# Many requests, one commit


def test_concurrent_requests_keep_their_order_and_get_an_id_each(known: Store) -> None:
    results = at_once(known, [request(args={"number": number}) for number in range(THREADS)])
    assert ids(actions.queue(known)) == results
    assert [info(known, each)[0].args for each in results] == [{"number": number} for number in range(THREADS)]
    assert all(len(info(known, each)[1]) == 1 for each in results), "each has its history"


def test_concurrent_requests_share_one_commit(known: Store) -> None:
    seen: list[str] = []
    known.write(lambda connection: connection.set_trace_callback(seen.append))
    at_once(known, [request() for _ in range(THREADS)])
    begun = [each for each in "\n".join(seen).split("BEGIN IMMEDIATE") if "INSERT INTO actions" in each]
    assert len(begun) == 2, "one for the first, one for all the others"


def test_refused_request_in_a_shared_commit_affects_no_other(known: Store) -> None:
    before = schedule(known, args={"a": 1}, key="old")
    requests = [request(args={"number": number}) for number in range(6)]
    requests[2] = request(args={"a": 2}, key="old")
    requests[3] = request(args={"a": 1}, key="old")
    requests[4] = request(args={"a": 1}, key="new")
    requests.append(request(args={"a": 1}, key="new"))
    results = at_once(known, requests)
    assert isinstance(results[2], IdempotencyKeyReused)
    assert results[3] == before
    assert results[4] == results[6]
    expected = [before, results[0], results[1], results[4], results[5]]
    assert ids(actions.queue(known)) == expected
    assert len(set(expected)) == 5


def test_the_limit_is_exact_within_one_commit(known: Store) -> None:
    results = at_once(known, [request() for _ in range(THREADS)], limit=5)
    assert ids(actions.queue(known)) == results[:5]
    assert all(isinstance(result, QueueFull) for result in results[5:])


def test_secrets_and_unusual_texts_are_stored_unchanged_by_a_shared_commit(known: Store) -> None:
    strange = 'a "quoted" \\ text \x7f ümlaut \U0001f512 \ud800 \x00'
    results = at_once(known, [request(args={"text": strange}, secrets={"password": strange}) for _ in range(3)])
    assert info(known, results[2])[0].args == {"text": strange}
    claimed = transitions.claim(known)
    assert claimed is not None
    assert claimed.secrets == {"password": strange}


def test_a_request_that_sqlite_cannot_hold_is_refused_alone(known: Store) -> None:
    requests = [request() for _ in range(6)]
    requests[3] = request(user_reference="no text: \ud800")
    results = at_once(known, requests)
    assert isinstance(results[3], Exception)
    assert ids(actions.queue(known)) == results[:3] + results[4:]


def test_sqlite_error_fails_all_requests_of_a_shared_commit(known: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also requests inserted before the error: all are rolled back and answered 503."""
    schedule(known, args={"a": 1}, key="old")
    requests = [request() for _ in range(THREADS)]
    requests[7] = request(args={"a": 1}, key="old")
    insert = Enqueuer._insert

    def broken_file(enqueuer: Enqueuer, connection: sqlite3.Connection, batch: Any, row: Any) -> Any:
        if batch[0].idempotency_key:
            raise sqlite3.OperationalError("database or disk is full")
        return insert(enqueuer, connection, batch, row)

    monkeypatch.setattr(Enqueuer, "_insert", broken_file)
    results = at_once(known, requests)
    assert isinstance(results[0], str), "it went alone"
    assert all(isinstance(result, StoreUnavailable) for result in results[1:])
    assert len(actions.queue(known)) == 2


def test_action_that_ran_and_was_pruned_before_the_retry_is_not_scheduled_again(
    known: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue may continue between the first and second attempt of a batch."""
    schedule(known, args={"a": 1}, key="old")
    ran: list[str] = []
    write = known.write

    def much_happens_before(work: Callable[[sqlite3.Connection], Any]) -> Any:
        monkeypatch.setattr(known, "write", write)
        while actions.queue(known):
            ran.append(finish(known))
        retention.prune(known, 0, 1000)
        return write(work)

    monkeypatch.setattr(known, "write", much_happens_before)
    enqueuer = Enqueuer(known, 1000)
    pair = [request(), request(args={"a": 1}, key="old")]
    [first, replayed] = enqueuer._schedule_all(
        [(each, 1, mark) for each, mark in map(enqueuer._fingerprints.identified, pair)]
    )
    while actions.queue(known):
        ran.append(finish(known))
    assert len(ran) == len(set(ran)), "one ran twice"
    assert isinstance(first, Accepted) and first.action_id in ran
    assert isinstance(replayed, Accepted) and replayed.replayed


# Group commit


def test_each_caller_gets_its_own_result_or_error() -> None:
    def do(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError(str(item)) if item % 3 == 0 else item * 2 for item in items]

    together = GroupCommit(do)

    def call(item: int) -> int | str:
        try:
            return together(item)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(call, range(2000)))
    assert results == [str(item) if item % 3 == 0 else item * 2 for item in range(2000)]


@pytest.mark.parametrize("error", [OSError("all"), SystemExit("all")])
def test_failure_of_a_shared_commit_is_raised_by_all_and_the_next_commit_works(error: BaseException) -> None:
    broken = [True]

    def do(items: Sequence[int]) -> list[int | Exception]:
        if broken[0]:
            raise error
        return list(items)

    together = GroupCommit(do)
    with pytest.raises(type(error)):
        together(1)
    broken[0] = False
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(together(2)), daemon=True)
    thread.start()
    thread.join(5)
    assert results == [2], "the next never ends"
