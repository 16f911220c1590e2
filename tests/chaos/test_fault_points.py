"""SIGKILL right before and right after each commit of an action's life: every gap is safe."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from itertools import chain, count
from pathlib import Path

import pytest

from tests.agent_process import FINAL, AgentProcess, Response, StartAgent, eventually
from tests.chaos.witnesses import (
    MARK,
    begun,
    complete,
    ids_by_seq,
    never_two_at_once,
    single_unless_resumed,
    trace,
    whole,
    witness_environment,
)

CONFIG = """
[agent]
kinds = ["witness", "faults"]
[actions]
execute_interval = 0.2
finished_limit = 100000
prune_interval = {prune_interval}
prune_keep = {prune_keep}
"""
MOMENTS = ("before", "after")
LIFE = {
    f"{moment} {written}"
    for moment in MOMENTS
    for written in ("schedule", "claim", "record", "finish claim", "finish", "ask_to_cancel", "hand_over")
}


class Patient:
    """Repeats calls to an agent that may be killed at any time, and records every answered id."""

    def __init__(self, agent: AgentProcess) -> None:
        self.agent = agent
        self.ids: list[str] = []

    def schedule(self, kind: str, args: object) -> str:
        key = f"call {len(self.ids)}"
        answer = self._until_answered(lambda: self.agent.post_schedule(kind, args, headers={"Idempotency-Key": key}))
        assert answer.status == 200, answer
        self.ids.append(answer.json["id"])
        return self.ids[-1]

    def cancel(self, action_id: str) -> None:
        """A repeated cancel may find the action final by the first one."""
        answer = self._until_answered(lambda: self.agent.cancel(action_id))
        assert answer.status in (200, 409), answer

    def await_state(self, action_id: str, *states: str) -> None:
        def there() -> bool:
            answer = self._until_answered(lambda: self.agent.get_info(action_id))
            assert answer.status == 200, answer
            return answer.json["action"]["state"] in states

        eventually(there, f"{action_id} is {states}", 20)

    def hand_over(self) -> None:
        """Stop the worker like a reload; the master starts another."""
        before = eventually(self.agent.workers, "a worker is there")
        for pid in before:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        eventually(lambda: self.agent.workers() - before, "another worker")

    def _until_answered(self, call: Callable[[], Response]) -> Response:
        deadline = time.monotonic() + 20
        while True:
            try:
                return call()
            except (OSError, HTTPException):
                assert time.monotonic() < deadline, "no answer"
                time.sleep(0.01)


class FaultPoints:
    """The commits of an agent as points to kill it at."""

    def __init__(self, directory: Path) -> None:
        self._armed, self._hits = directory / "fault", directory / "hits"

    def each(self) -> Iterator[str]:
        """Arm one point after the other, before and after each commit, until no further one is hit."""
        for number in count(1):
            for moment in MOMENTS:
                yield self._arm(f"{moment} {number}")
                if self._armed.exists():
                    self._armed.unlink()
                    return

    def remaining(self) -> Iterator[str]:
        """Arm the points by name that no number hit: the order of the commits varies between runs."""
        for point in sorted(LIFE - set(self.hit)):
            yield self._arm(point)
            for _ in range(4):
                if self._armed.exists():
                    yield point
            assert not self._armed.exists(), f"{point} was not hit"

    def around(self, written: str, times: int) -> Iterator[str]:
        """Arm the points before and after the next commit of this name so often; each must be hit."""
        for moment in MOMENTS * times:
            yield self._arm(f"{moment} {written}")
            assert not self._armed.exists(), f"{moment} {written} was not hit"

    def _arm(self, point: str) -> str:
        draft = self._armed.with_suffix(".new")
        draft.write_text(point)
        draft.rename(self._armed)
        return point

    @property
    def hit(self) -> list[str]:
        """The commits around which the agent was killed."""
        return self._hits.read_text().splitlines()


@pytest.fixture
def points(tmp_path: Path) -> FaultPoints:
    return FaultPoints(tmp_path)


def live(client: Patient) -> None:
    """Every life of an action: run, wait, cancelled while waiting or running, handed over to another worker."""
    client.schedule(MARK, {"steps": 2, "pause": 0.08})
    cancelled, following = client.schedule(MARK, {}), client.schedule(MARK, {})
    client.cancel(cancelled)
    client.await_state(following, *FINAL)
    stopped = client.schedule("replicante.test.loop", {"target": 600, "delay": 60})
    client.await_state(stopped, "RUNNING")
    client.cancel(stopped)
    client.await_state(stopped, *FINAL)
    left = client.schedule(MARK, {"steps": 2, "after": 0.4})
    client.await_state(left, "RUNNING", *FINAL)
    client.hand_over()
    client.await_state(left, *FINAL)


def test_a_kill_at_any_commit_of_a_life_loses_doubles_and_disorders_nothing(
    start_agent: StartAgent, tmp_path: Path, points: FaultPoints
) -> None:
    config = CONFIG.format(prune_interval=3600, prune_keep=100)
    agent = start_agent(config=config, env=witness_environment(tmp_path))
    client = Patient(agent)
    for point in chain(points.each(), points.remaining()):
        print(point)
        live(client)
        assert whole(agent.db)
    print(f"{len(points.hit)} kills: {sorted(set(points.hit))}")
    assert set(points.hit) >= LIFE
    infos = [agent.info(action_id) for action_id in client.ids]
    assert all(info["action"]["state"] in FINAL and complete(info) for info in infos)
    order = ids_by_seq(agent.db)
    assert order == client.ids, "each answered call is one action, and no other was made"
    ran = begun(tmp_path)
    assert ran == [action_id for action_id in order if action_id in set(ran)]
    marks = [info for info in infos if info["action"]["kind"] == MARK]
    assert all(
        (info["action"]["state"] == "DONE") or info["action"]["state_payload"]["cancelled"] is True for info in marks
    )
    assert never_two_at_once(trace(tmp_path))
    assert single_unless_resumed(trace(tmp_path)) > 0
    assert "Traceback" not in agent.whole_log()


def test_a_kill_around_the_commit_of_a_prune_leaves_each_action_whole_or_gone(
    start_agent: StartAgent, tmp_path: Path, points: FaultPoints
) -> None:
    config = CONFIG.format(prune_interval=0.2, prune_keep=3)
    agent = start_agent(config=config, env=witness_environment(tmp_path))
    client = Patient(agent)
    for point in points.around("prune", times=3):
        print(point)
        for _ in range(4):
            client.await_state(client.schedule(MARK, {}), *FINAL)
        eventually(lambda: rows(agent.db, "SELECT count(*) FROM actions") == [(3,)], "it was pruned")
        assert whole(agent.db)
        assert not rows(agent.db, "SELECT action_seq FROM history WHERE action_seq NOT IN (SELECT seq FROM actions)")
        assert all(complete(agent.info(action_id)) for action_id in client.ids[-3:])
    assert begun(tmp_path) == client.ids
    single_unless_resumed(trace(tmp_path))


def rows(db: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(db)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
