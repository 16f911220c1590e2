"""The thread of one receiver, with a clock that the test sets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import callbacks, clock, log
from agent.callbacks import receiver as thread
from agent.callbacks.post import Post
from agent.config import Agent, Callbacks, Settings
from agent.engine.executor import Executor
from agent.errors import StoreUnavailable
from agent.kinds.base import Done, Step
from agent.kinds.base.registry import discover
from agent.store import Store, outbox
from tests.agent_process import eventually
from tests.callbacks.receivers import Receiver
from tests.engine.fakes import Scene
from tests.store.scenes import finish, schedule

KEEP = 100.0
FINAL = ("action.final",)
LONG = 1000.0
"""Timeout of an attempt, which a test may simulate completely."""
Ended = Callable[[], str]


class Steady:
    """The steady clock, some seconds ahead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        true = clock.monotonic
        monkeypatch.setattr(clock, "monotonic", lambda: true() + self.ahead)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "agent.db")) as made:
        yield made


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Steady:
    monkeypatch.setattr(thread, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(thread, "LONGEST_PAUSE", 0.016)
    monkeypatch.setattr(thread, "DATABASE_RETRY", 0.01)
    monkeypatch.setattr(thread, "JITTER", 0.0)
    return Steady(monkeypatch)


@pytest.fixture
def ended(store: Store, receiver: Receiver, steady: Steady) -> Iterator[Ended]:
    """Finish an action and wake its receiver."""
    ids, _ = outbox.set_receivers(store, [receiver.url()], FINAL)
    options = Callbacks((receiver.url(),), keep=KEEP, timeout=LONG)
    received = thread.Receiver(store, ids[receiver.url()], receiver.url(), options, "here")

    def end() -> str:
        schedule(store)
        action_id = finish(store)
        received.wake()
        return action_id

    yield end
    received.stop()
    received.join(15)
    assert f"callbacks-{ids[receiver.url()]}" not in [each.name for each in threading.enumerate()]


def waiting(store: Store) -> int:
    return int(store.read("SELECT count(*) FROM outbox")[0][0])


def tried(receiver: Receiver, more: int) -> None:
    """Wait for so many further attempts."""
    before = len(receiver.received)
    eventually(lambda: len(receiver.received) >= before + more, f"{more} attempts more")


def test_pauses_double_up_to_the_longest(receiver: Receiver, ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    put_off = outbox.postpone

    def noted(store: Store, receiver: int, waited: float, pause: float, keep: float, failure: str) -> int:
        pauses.append(pause)
        return put_off(store, receiver, waited, pause, keep, failure)

    monkeypatch.setattr(outbox, "postpone", noted)
    receiver.behaviours = {"/": "500"}
    ended()
    eventually(lambda: len(pauses) > 5, "six attempts")
    assert pauses[:6] == [0.002, 0.004, 0.008, 0.016, 0.016, 0.016]
    receiver.behaviours = {}
    receiver.await_taken(1)
    receiver.behaviours = {"/": "500"}
    pauses.clear()
    ended()
    eventually(lambda: pauses, "another attempt")
    assert pauses[0] == 0.002, "from the beginning, as it was reached"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the pauses of the thread instead of making them."""
    found: list[float] = []
    put_off = outbox.postpone

    def noted(store: Store, receiver: int, waited: float, pause: float, keep: float, failure: str) -> int:
        found.append(pause)
        return put_off(store, receiver, waited, pause, keep, failure)

    monkeypatch.setattr(outbox, "postpone", noted)
    return found


def test_pauses_differ_by_the_jitter(
    receiver: Receiver, ended: Ended, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "JITTER", 0.5)
    monkeypatch.setattr(thread, "LONGEST_PAUSE", 0.002)
    receiver.behaviours = {"/": "500"}
    ended()
    eventually(lambda: len(pauses) > 7, "eight attempts")
    assert all(0.002 <= each <= 0.003 for each in pauses)
    assert len(set(pauses)) > 1


@pytest.mark.parametrize(
    ("behaviour", "least", "most"),
    [("503 retry-after: 2", 2.0, 2.0), ("503 retry-after: 99999", 3.0, 3.0), ("503 retry-after: soon", 0.002, 0.002),
     ("503 retry-after: Fri, 31 Dec 2100 23:59:59 GMT", 3.0, 3.0)],
)  # fmt: skip
def test_retry_after_is_honoured_up_to_a_limit(
    receiver: Receiver,
    ended: Ended,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    least: float,
    most: float,
) -> None:
    monkeypatch.setattr(thread, "LONGEST_RETRY_AFTER", 3.0)
    receiver.behaviours = {"/": behaviour}
    ended()
    eventually(lambda: pauses, "an attempt")
    assert least <= pauses[0] <= most


def test_410_ends_the_subscription(receiver: Receiver, ended: Ended, store: Store) -> None:
    receiver.behaviours = {"/": "410"}
    ended()
    eventually(lambda: outbox.receivers(store)[0].ended, "it ends")
    ended()
    assert waiting(store) == 0
    receiver.behaviours = {}
    outbox.resume(store, outbox.receivers(store)[0].id, FINAL)
    last = ended()
    assert [each.headers["x-agent-delivery"] for each in receiver.await_taken(1)] == [last]
    assert len(receiver.received) == 2, "nothing is sent after 410"


def test_wait_time_counts_only_while_a_callback_is_pending(
    receiver: Receiver, ended: Ended, store: Store, steady: Steady, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[outbox.PendingCallback | None] = []
    head = outbox.next_pending

    def noted(store: Store, receiver: int) -> outbox.PendingCallback | None:
        found.append(head(store, receiver))
        return found[-1]

    monkeypatch.setattr(outbox, "next_pending", noted)
    receiver.behaviours = {"/": "500"}
    ended()
    tried(receiver, 2)
    steady.ahead += 0.9 * KEEP
    tried(receiver, 3)
    ended()
    steady.ahead += 0.2 * KEEP
    eventually(lambda: waiting(store) == 1, "the one that waits longer than it may is dropped")
    tried(receiver, 3)
    steady.ahead += KEEP
    eventually(lambda: waiting(store) == 0, "and then the other")
    eventually(lambda: found[-1] is None, "it has seen that nothing waits")
    steady.ahead += 10 * KEEP
    last = ended()
    tried(receiver, 3)
    receiver.behaviours = {}
    assert [each.headers["x-agent-delivery"] for each in receiver.await_taken(1)] == [last]


def test_suspended_machine_drops_no_callback(receiver: Receiver, store: Store, steady: Steady) -> None:
    ids, _ = outbox.set_receivers(store, [receiver.url()], FINAL)
    receiver.behaviours = {"/": "500"}
    schedule(store)
    finish(store)
    options = Callbacks((receiver.url(),), keep=KEEP, timeout=0.2 * KEEP)
    received = thread.Receiver(store, ids[receiver.url()], receiver.url(), options, "here")
    try:
        tried(receiver, 2)
        for _ in range(4):
            steady.ahead += 10 * KEEP
            tried(receiver, 2)
        assert waiting(store) == 1
        steady.ahead += 10 * KEEP
        eventually(lambda: waiting(store) == 0, "what was tried as long as it may be is dropped")
    finally:
        received.stop()
        received.join(15)


def test_waiting_time_that_could_not_be_stored_is_added_later(
    receiver: Receiver, store: Store, steady: Steady, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwritable(*args: Any) -> int:
        raise StoreUnavailable("full", layers=["the disk is full"])

    ids, _ = outbox.set_receivers(store, [receiver.url()], FINAL)
    receiver.behaviours = {"/": "500"}
    schedule(store)
    finish(store)
    options = Callbacks((receiver.url(),), keep=KEEP, timeout=0.2 * KEEP)
    with monkeypatch.context() as full:
        full.setattr(outbox, "postpone", unwritable)
        received = thread.Receiver(store, ids[receiver.url()], receiver.url(), options, "here")
        for _ in range(6):
            tried(receiver, 2)
            steady.ahead += 0.2 * KEEP
        tried(receiver, 2)
    try:
        eventually(lambda: waiting(store) == 0, "what was tried as long as it may be is dropped")
    finally:
        received.stop()
        received.join(15)


def test_accepted_callback_is_not_sent_again_while_the_store_cannot_be_written(
    receiver: Receiver, ended: Ended, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    strike, failures, lines = outbox.remove_delivered, [1, 2, 3], list[Any]()

    def unwritable(*args: Any) -> None:
        if failures:
            failures.pop()
            raise StoreUnavailable("full", layers=["the disk is full"])
        strike(*args)

    monkeypatch.setattr(outbox, "remove_delivered", unwritable)
    monkeypatch.setattr(log, "store_unavailable", lines.append)
    ids = [ended(), ended()]
    eventually(lambda: waiting(store) == 0, "it is struck off")
    assert [each.headers["x-agent-delivery"] for each in receiver.received] == ids
    assert lines == [["the disk is full"]] * 3


def test_unexpected_exception_does_not_end_the_thread_of_the_receiver(
    receiver: Receiver, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    monkeypatch.setattr(log, "receiver_fails", lambda url, reason: reasons.append(reason))
    with monkeypatch.context() as broken:
        broken.setattr(Post, "send", lambda *args: 1 / 0)
        ended()
        eventually(lambda: reasons, "it is logged")
    assert reasons == ["ZeroDivisionError"]
    receiver.await_taken(1)


def test_pauses_double_while_the_store_cannot_be_written(
    receiver: Receiver, ended: Ended, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    lines: list[Any] = []

    def unwritable(store: Store, receiver: int, waited: float, pause: float, keep: float, failure: str) -> int:
        pauses.append(pause)
        raise StoreUnavailable("full", layers=["the disk is full"])

    with monkeypatch.context() as full:
        full.setattr(outbox, "postpone", unwritable)
        full.setattr(log, "store_unavailable", lines.append)
        receiver.behaviours = {"/": "500"}
        last = ended()
        eventually(lambda: len(pauses) > 4, "five attempts")
    assert pauses[:5] == [0.002, 0.004, 0.008, 0.016, 0.016]
    assert lines[0] == ["the disk is full"]
    receiver.behaviours = {}
    assert [each.headers["x-agent-delivery"] for each in receiver.await_taken(1)] == [last]
    eventually(lambda: waiting(store) == 0, "it is struck off")


def test_time_with_an_unwritable_store_counts_towards_keep(
    receiver: Receiver, ended: Ended, store: Store, steady: Steady, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwritable(*args: Any) -> int:
        raise StoreUnavailable("full", layers=["the disk is full"])

    receiver.behaviours = {"/": "500"}
    with monkeypatch.context() as full:
        full.setattr(outbox, "postpone", unwritable)
        ended()
        tried(receiver, 2)
        steady.ahead += 1.1 * KEEP
        tried(receiver, 2)
        assert waiting(store) == 1
    eventually(lambda: waiting(store) == 0, "it is dropped")


def test_hanging_receiver_delays_the_next_executor_only_briefly(store: Store, receiver: Receiver) -> None:
    receiver.behaviours = {"/": "hang"}
    settings = Settings(Agent(db=store.path), callbacks=Callbacks((receiver.url(),), timeout=30))
    executor = Executor(store, discover(settings), settings, lambda: None)
    executor.drain()
    schedule(store)
    executor.drain()
    eventually(lambda: receiver.received, "the callback arrives")
    begin = clock.monotonic()
    assert executor.stop(timeout=60)
    assert clock.monotonic() - begin < 30, "the stop did not wait for the call"
    assert not receiver_threads(), "no thread sends once another executor may"
    assert waiting(store) == 1


def test_callback_accepted_shortly_after_a_stop_is_not_sent_again(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "GRACE", 15.0)
    receiver.behaviours = {"/": "slow"}
    made = begun(store, receiver)
    made.stop()
    made.end()
    assert not receiver_threads()
    assert waiting(store) == 0


def test_stop_reaches_the_receivers_before_the_running_step_ends(tmp_path: Path, receiver: Receiver) -> None:
    entered, gate = threading.Event(), threading.Event()

    def long(step: Step) -> Done:
        entered.set()
        return Done(gate.wait(15))

    with closing(Scene(tmp_path)) as scene:
        scene.settings = replace(scene.settings, callbacks=Callbacks((receiver.url(),), timeout=30))
        scene.kind(lambda step: Done(1), name="quick")
        scene.kind(long, name="long")
        receiver.behaviours = {"/": "slow"}
        for kind in ("quick", "quick", "long"):
            scene.schedule(kind)
        executor = scene.executor()
        scene.start(executor)
        assert entered.wait(10)
        eventually(lambda: receiver.received, "the callback arrives")
        stopping = threading.Thread(target=scene.stop, args=(executor,))
        stopping.start()
        eventually(lambda: not receiver_threads(), "no thread sends any more")
        assert stopping.is_alive(), "the step still runs"
        gate.set()
        stopping.join()
        assert len(receiver.received) == 1
        assert waiting(scene.store) == 2, "the second, and the one whose step has ended meanwhile"


def test_receivers_started_during_a_stop_end_too(store: Store, receiver: Receiver) -> None:
    made = callbacks.CallbackReceivers(store, Settings(callbacks=Callbacks((receiver.url(),))))
    made.stop()
    made.begin()
    made.end()
    assert not receiver_threads()


def begun(store: Store, receiver: Receiver) -> callbacks.CallbackReceivers:
    """The callbacks object with one delivery in progress."""
    made = callbacks.CallbackReceivers(store, Settings(callbacks=Callbacks((receiver.url(),), timeout=30)))
    made.begin()
    made.begin()
    schedule(store)
    finish(store)
    made.wake()
    eventually(lambda: receiver.received, "the callback arrives")
    return made


def receiver_threads() -> list[str]:
    """The running threads of receivers."""
    return [each.name for each in threading.enumerate() if each.name.startswith("callbacks-")]
