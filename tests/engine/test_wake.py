"""A wake runs the queue at once; ticks are so rare in these tests that a lost wake is noticed."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.engine.engine import Engine
from agent.kinds.base import Done, Step, StepResult
from agent.store import actions
from tests.agent_process import eventually
from tests.engine.fakes import Scene, count_to

SEED = 20190830
TICK = 30.0
AT_ONCE = 5.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, execute_interval=TICK)
    yield made
    made.close()


@pytest.fixture
def engine(scene: Scene) -> Iterator[Engine]:
    """An engine that has had its first tick."""
    made = Engine(scene.store, scene.registry, scene.settings)
    made.start()
    eventually(lambda: made._executor._lock.held, "the first tick is over")
    yield made
    made.stop(10)


def await_done(scene: Scene, action_id: str) -> None:
    eventually(lambda: scene.stored(action_id).state == "DONE", "it is done without waiting for a tick", AT_ONCE)


def test_one_wake_runs_the_queue_at_once(scene: Scene, engine: Engine) -> None:
    scene.kind(count_to(1))
    action_id = scene.schedule()
    engine.wake()
    await_done(scene, action_id)


def test_none_of_thousands_of_calls_waits_for_a_tick(scene: Scene, engine: Engine) -> None:
    """Each call comes at a random moment after the previous drain, most often at its end."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    done = threading.Semaphore(0)

    def step(step: Step) -> StepResult:
        done.release()
        return Done()

    scene.kind(step)
    for number in range(2000):
        time.sleep(rng.choice([0, 0.00005, 0.0002, 0.0005, 0.001]) * rng.random())
        scene.schedule()
        engine.wake()
        assert done.acquire(timeout=AT_ONCE), f"call {number} was not heard"


def test_none_of_the_calls_of_many_threads_waits_for_a_tick(scene: Scene, engine: Engine) -> None:
    scene.kind(count_to(1))

    def caller(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(100):
            scene.schedule()
            engine.wake()
            time.sleep(rng.random() * 0.003)

    threads = [threading.Thread(target=caller, args=(SEED + number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    eventually(lambda: not actions.queue(scene.store), "the queue is empty without a tick", 60)


def test_a_wake_up_during_a_step_is_noticed_after_it(scene: Scene, engine: Engine) -> None:
    entered, proceed = threading.Event(), threading.Event()

    def step(step: Step) -> StepResult:
        entered.set()
        assert proceed.wait(10)
        return Done()

    scene.kind(step)
    scene.schedule()
    engine.wake()
    assert entered.wait(AT_ONCE)
    later = scene.schedule()
    engine.wake()
    proceed.set()
    await_done(scene, later)


def test_wake_at_the_end_of_a_drain_is_not_lost(scene: Scene, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drain is held between its last check of the queue and its end."""
    scene.kind(count_to(1))
    first = scene.schedule()
    engine.wake()
    await_done(scene, first)  # the first drain of the engine has ended
    ending, proceed = threading.Semaphore(0), threading.Event()
    drain = engine._executor.drain

    def held() -> None:
        drain()
        ending.release()
        assert proceed.wait(20)

    monkeypatch.setattr(engine._executor, "drain", held)
    engine.wake()
    assert ending.acquire(timeout=AT_ONCE)
    action_id = scene.schedule()
    engine.wake()
    proceed.set()
    await_done(scene, action_id)


def test_wake_of_an_engine_that_does_not_run_is_ignored(scene: Scene) -> None:
    scene.kind(count_to(1))
    made = Engine(scene.store, scene.registry, scene.settings)
    action_id = scene.schedule()
    made.wake()
    assert scene.stored(action_id).state == "NEW"
    made.start()
    await_done(scene, action_id)
    made.stop(10)
    made.wake()


def test_ticks_alone_run_actions_without_a_wake_up(tmp_path: Path) -> None:
    scene = Scene(tmp_path, execute_interval=0.1)
    scene.kind(count_to(1))
    made = Engine(scene.store, scene.registry, scene.settings)
    made.start()
    try:
        for _ in range(3):
            await_done(scene, scene.schedule())
    finally:
        made.stop(10)
        scene.close()


def test_old_actions_are_pruned_on_their_own_time(tmp_path: Path) -> None:
    scene = Scene(tmp_path, execute_interval=0.1, prune_interval=0.2, prune_keep=3, prune_limit=120)
    scene.kind(count_to(1))
    for _ in range(200):
        scene.schedule()
    scene.drain()
    assert len(actions.finished(scene.store, 1000)) == 200
    made = Engine(scene.store, scene.registry, scene.settings)
    made.start()
    try:
        eventually(lambda: len(actions.finished(scene.store, 1000)) == 80, "as many as the limit are gone")
        eventually(lambda: len(actions.finished(scene.store, 1000)) == 3, "only the newest are kept")
    finally:
        made.stop(10)
        scene.close()


def test_agent_restarted_more_often_than_prune_interval_still_prunes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.engine.engine.FIRST_PRUNE", 0.2)
    scene = Scene(tmp_path, prune_interval=3600, prune_keep=3)
    scene.kind(count_to(1))
    for _ in range(5):
        scene.schedule()
    scene.drain()
    made = Engine(scene.store, scene.registry, scene.settings)
    made.start()
    try:
        eventually(lambda: len(actions.finished(scene.store, 1000)) == 3, "it pruned soon after its start")
    finally:
        made.stop(10)
        scene.close()


def test_more_final_actions_than_one_prune_removes_are_pruned_at_once(tmp_path: Path) -> None:
    """The number of final actions on disk stays bounded for any rate of calls."""
    scene = Scene(tmp_path, execute_interval=0.1, prune_interval=3600, prune_keep=3, prune_limit=20)
    scene.kind(count_to(1))
    for _ in range(100):
        scene.schedule()
    scene.drain()
    assert actions.final(scene.store) == 100
    made = Engine(scene.store, scene.registry, scene.settings)
    made.start()
    try:
        eventually(lambda: actions.final(scene.store) <= 23, "no more are kept than prune_keep and prune_limit")
    finally:
        made.stop(10)
        scene.close()
