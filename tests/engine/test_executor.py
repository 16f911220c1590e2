"""The executor: order, one action at a time, one process; its state after a stop or a write error."""

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.engine.execution import Execution
from agent.engine.lock import ExecutorLock
from agent.kinds.base import Done, Running, Step, StepResult
from agent.store import Store, transitions
from tests.agent_process import CHECKOUT, eventually
from tests.engine.fakes import Scene, count_to

HOLD = """
import pathlib, sys
from agent.engine.lock import ExecutorLock
lock = ExecutorLock(pathlib.Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.readline()
"""


class Gate:
    """A step that waits until the test releases it."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def step(self, step: Step) -> StepResult:
        self.entered.set()
        assert self.open.wait(10)
        return Running(1) if step.payload is None else Done(2)


# Order


def test_actions_run_in_the_order_of_their_scheduling(scene: Scene) -> None:
    ran: list[str] = []

    def step(step: Step) -> StepResult:
        ran.append(step.action.id)
        return count_to(2)(step)

    scene.kind(step)
    ids = [scene.schedule() for _ in range(10)]
    scene.drain()
    assert ran == [action_id for action_id in ids for _ in range(2)]


def test_action_scheduled_during_a_drain_is_run_by_this_drain(scene: Scene) -> None:
    later: list[str] = []

    def step(step: Step) -> StepResult:
        if len(later) < 3:
            later.append(scene.schedule())
        return Done()

    scene.kind(step)
    scene.schedule()
    scene.drain()
    assert [scene.stored(action_id).state for action_id in later] == ["DONE"] * 3


def test_interrupted_action_runs_before_waiting_actions(scene: Scene) -> None:
    ran: list[str] = []

    def step(step: Step) -> StepResult:
        ran.append(step.action.id)
        return Done()

    scene.kind(step, resume=step)
    left, waiting = scene.crash(), scene.schedule()
    scene.drain()
    assert ran == [left, waiting]


def test_a_wake_during_a_pause_takes_no_step_early_and_is_not_lost(scene: Scene) -> None:
    kind = scene.kind(count_to(2, after=0.5))
    scene.kind(count_to(1), name="next")
    first = scene.schedule()
    executor = scene.executor()
    executor.start()
    executor.wake()
    began = time.monotonic()
    eventually(lambda: scene.stored(first).payload == 1, "it waits")
    second = scene.schedule("next")
    while scene.stored(first).state == "RUNNING":
        executor.wake()
        time.sleep(0.02)
    assert time.monotonic() - began >= 0.5 and len(kind.seen) == 2
    eventually(lambda: scene.stored(second).state == "DONE", "the next action is run too")


def test_unexpected_exception_is_logged_and_the_next_wake_runs_the_queue(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.kind(count_to(1))
    action_id = scene.schedule()
    executor = scene.executor()
    broken = iter([KeyError("bug"), SystemExit("bug")])
    claim = executor.queue.claim

    def broken_at_first() -> Execution | None:
        for error in broken:
            raise error
        return claim()

    monkeypatch.setattr(executor.queue, "claim", broken_at_first)
    executor.start()
    executor.wake()
    eventually(lambda: "the executor raised KeyError" in caplog.text, "the log says so")
    executor.wake()
    eventually(lambda: "the executor raised SystemExit" in caplog.text, "a step that ends the process is no better")
    assert "bug" not in caplog.text
    executor.wake()
    eventually(lambda: scene.stored(action_id).state == "DONE", "the queue is run")


def test_every_change_notifies_the_waiters(scene: Scene) -> None:
    scene.run(count_to(3))
    assert scene.changes >= 4, "claimed, two payloads, final"


# One executor


def test_only_one_of_two_executors_runs_anything(scene: Scene) -> None:
    scene.kind(count_to(1))
    first, second = scene.executor(), scene.executor()
    first.drain()
    action_id = scene.schedule()
    second.drain()
    assert scene.stored(action_id).state == "NEW"
    scene.stop(first)
    second.drain()
    assert scene.stored(action_id).state == "DONE"


def test_lock_is_held_by_one_process_and_released_by_its_death(tmp_path: Path) -> None:
    lock = ExecutorLock(tmp_path / "agent.db")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "agent.db")],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    assert not lock.take()
    assert not lock.held
    holder.kill()
    holder.communicate()
    assert lock.take()
    assert lock.held


def test_lock_is_not_inherited_by_commands(tmp_path: Path) -> None:
    lock = ExecutorLock(tmp_path / "agent.db")
    assert lock.take()
    command = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        lock.release()
        assert ExecutorLock(tmp_path / "agent.db").take()
    finally:
        command.kill()
        command.wait()


def test_lock_that_cannot_be_taken_or_created_is_retried(scene: Scene) -> None:
    scene.kind(count_to(1))
    action_id = scene.schedule()
    path = scene.settings.agent.db.with_name("agent.db.lock")
    path.mkdir()
    executor = scene.executor()
    executor.drain()
    assert scene.stored(action_id).state == "NEW"
    path.rmdir()
    executor.drain()
    assert scene.stored(action_id).state == "DONE"


# Stop


def test_a_stop_lets_the_step_end_and_hands_the_action_over(scene: Scene) -> None:
    gate = Gate()
    kind = scene.kind(gate.step)
    action_id = scene.schedule()
    executor = scene.executor()
    thread = scene.start(executor)
    assert gate.entered.wait(5)
    assert not executor.stop(0.05), "it does not end within the time"
    gate.open.set()
    assert executor.stop(60)
    thread.join(10)
    scene.executors.remove(executor)
    assert (scene.stored(action_id).state, scene.stored(action_id).payload) == ("RUNNING", 1)
    scene.drain()
    assert scene.stored(action_id).state == "DONE"
    assert kind.seen == [("step", None), ("step", 1)], "nothing was interrupted"


def test_a_stop_ends_the_wait_between_two_steps(scene: Scene) -> None:
    kind = scene.kind(count_to(2, after=600))
    action_id = scene.schedule()
    executor = scene.executor()
    scene.start(executor)
    eventually(lambda: scene.stored(action_id).payload == 1, "it waits")
    scene.stop(executor)
    scene.drain()
    assert scene.stored(action_id).state == "DONE"
    assert kind.seen == [("step", None), ("step", 1)]


def test_stopped_executor_starts_no_action(scene: Scene) -> None:
    scene.kind(count_to(1))
    action_id = scene.schedule()
    executor = scene.executor()
    scene.stop(executor)
    executor.drain()
    assert scene.stored(action_id).state == "NEW"


def test_action_handed_over_once_is_interrupted_by_a_later_crash(scene: Scene) -> None:
    kind = scene.kind(count_to(2), resume=lambda step: Done("resumed"))
    action_id = scene.crash()
    [seq] = scene.store.read("SELECT seq FROM actions")[0]
    transitions.hand_over(scene.store, seq, True)

    def dies(step: Step) -> StepResult:
        raise SystemExit  # not a failure of the step: the process ends

    kind._step = dies
    executor = scene.executor()
    with pytest.raises(SystemExit):
        executor.drain()
    scene.stop(executor)
    scene.drain()
    assert scene.stored(action_id).payload == "resumed"
    assert [what for what, _ in kind.seen] == ["step", "resume"]


def test_interrupted_action_not_resumed_yet_stays_interrupted(scene: Scene) -> None:
    kind = scene.kind(count_to(2), resume=lambda step: Done("resumed"))
    action_id = scene.crash()
    executor = scene.executor()
    execution = executor.queue.left_running()
    assert execution is not None
    scene.stop(executor)
    assert executor._execute(execution) is None
    scene.drain()
    assert scene.stored(action_id).payload == "resumed"
    assert [what for what, _ in kind.seen] == ["resume"]


# An unwritable database


class Locked:
    """Another process's lock on the file, like that of a backup tool."""

    def __init__(self, store: Store) -> None:
        self._connection = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)

    def begin(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")

    def end(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.store.BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr("agent.engine.queue.RETRY", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("steps", [1, 2])
def test_result_of_a_step_is_stored_once_the_store_is_writable_and_the_step_not_repeated(
    scene: Scene, steps: int
) -> None:
    locked = Locked(scene.store)

    def step(step: Step) -> StepResult:
        if step.payload is None:
            locked.begin()
            threading.Timer(0.5, locked.end).start()
        return count_to(steps)(step)

    kind = scene.kind(step)
    action_id = scene.schedule()
    scene.executor().drain()
    assert scene.stored(action_id).state == "DONE"
    assert scene.stored(action_id).history == ["NEW", *["RUNNING"] * steps, "DONE"]
    assert kind.seen == [("step", None), ("step", 1)][:steps]


@pytest.mark.usefixtures("impatient")
def test_stop_that_cannot_be_stored_is_an_interruption(scene: Scene) -> None:
    locked = Locked(scene.store)
    entered = threading.Event()

    def step(step: Step) -> StepResult:
        locked.begin()
        entered.set()
        return Done("perhaps")

    kind = scene.kind(step, resume=lambda step: Done("looked"))
    action_id = scene.schedule()
    executor = scene.executor()
    thread = scene.start(executor)
    assert entered.wait(5)
    scene.stop(executor)
    thread.join(5)
    locked.end()
    assert scene.stored(action_id).state == "RUNNING"
    scene.drain()
    assert scene.stored(action_id).payload == "looked"
    assert [what for what, _ in kind.seen] == ["step", "resume"]


@pytest.mark.usefixtures("impatient")
def test_queue_that_cannot_be_read_or_claimed_is_retried_by_the_next_drain(scene: Scene) -> None:
    scene.kind(count_to(1))
    action_id = scene.schedule()
    executor = scene.executor()
    locked = Locked(scene.store)
    locked.begin()
    executor.drain()
    assert scene.stored(action_id).state == "NEW"
    locked.end()
    executor.drain()
    assert scene.stored(action_id).state == "DONE"


def test_a_bug_in_the_engine_does_not_silently_repeat_a_step(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = scene.kind(count_to(1))
    action_id = scene.schedule()
    executor = scene.executor()
    with monkeypatch.context() as broken, pytest.raises(RuntimeError):
        broken.setattr(transitions, "finish", lambda *args, **options: (_ for _ in ()).throw(RuntimeError("bug")))
        executor.drain()
    executor.drain()
    assert scene.stored(action_id).state == "FAILED"
    assert scene.stored(action_id).payload["interrupted"] is True
    assert [what for what, _ in kind.seen] == ["step", "resume"]
