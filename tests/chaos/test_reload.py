"""SIGHUP and SIGTERM while an action runs: the action continues, and no caller is refused."""

import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, Response, StartAgent, eventually
from tests.chaos.witnesses import CONFIG, MARK, begun, complete, trace, witness_environment


@pytest.fixture
def agent(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    """An agent with the witness kinds."""
    return start_agent(config=CONFIG, env=witness_environment(tmp_path))


class Caller:
    """Calls the agent continuously, each call on a new connection, and records unanswered calls."""

    def __init__(self, agent: AgentProcess) -> None:
        self.agent = agent
        self.calls = 0
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._over.is_set():
            self.calls += 1
            try:
                answer = self.agent.get("/api/unstable/actions/queue")
                if answer.status != 200:
                    self.wrong.append(f"{answer.status} {answer.json}")
            except (OSError, HTTPException) as error:
                self.wrong.append(repr(error))
            time.sleep(0.005)


class Waiter:
    """A long poll whose action does not change."""

    def __init__(self, agent: AgentProcess, action_id: str) -> None:
        self._agent, self._id = agent, action_id
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> "Waiter":
        headers = {"Prefer": "wait=60", "If-None-Match": self._agent.get_info(self._id).headers["ETag"]}
        self._answer = self._pool.submit(self._agent.get_info, self._id, headers=headers, timeout=60)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def answer(self) -> Response:
        return self._answer.result(40)


def hang_up(agent: AgentProcess) -> None:
    """HUP, and return at once."""
    assert agent.process is not None
    agent.process.send_signal(signal.SIGHUP)


def lines(directory: Path) -> list[tuple[str, int]]:
    return [(line.what, line.number) for line in trace(directory)]


def test_reload_continues_an_action_from_its_payload(agent: AgentProcess, tmp_path: Path) -> None:
    steps = 30
    action_id = agent.schedule(MARK, {"steps": steps, "after": 0.3})
    eventually(lambda: len(trace(tmp_path)) >= 4, "it runs")
    with Caller(agent) as caller:
        agent.reload()
        info = agent.await_final(action_id, timeout=30)
    assert info["action"]["state"] == "DONE"
    assert lines(tmp_path) == [(what, number) for number in range(1, steps + 1) for what in ("begin", "end")]
    assert len(info["history"]) == steps + 2
    assert complete(info)
    assert agent.log_text().count("taken over, handed over between steps") == 1
    assert caller.wrong == []
    assert caller.calls > 20


def test_a_reload_waits_for_the_running_step(agent: AgentProcess, tmp_path: Path) -> None:
    running = agent.schedule(MARK, {"pause": 4})
    waiting = agent.schedule(MARK, {})
    eventually(lambda: len(trace(tmp_path)) == 1, "it runs")
    with Caller(agent) as caller:
        hang_up(agent)
        eventually(lambda: len(agent.workers()) == 2, "the new worker is there beside the old")
        assert agent.await_final(running, timeout=20)["action"]["state"] == "DONE"
        assert agent.await_final(waiting, timeout=20)["action"]["state"] == "DONE"
        eventually(lambda: len(agent.workers()) == 1, "the old worker is gone")
    assert lines(tmp_path) == [("begin", 1), ("end", 1), ("begin", 1), ("end", 1)]
    assert "interrupted" not in agent.whole_log()
    assert caller.wrong == []


def test_a_cancel_reaches_the_step_that_a_reload_waits_for(agent: AgentProcess, tmp_path: Path) -> None:
    action_id = agent.schedule("witness.command", {})
    eventually(lambda: action_id in begun(tmp_path), "its command runs")
    hang_up(agent)
    eventually(lambda: agent.log_text().count("callers are not authenticated") == 2, "the new worker serves", 30)
    assert len(agent.workers()) == 2
    assert agent.cancel(action_id).status == 200
    assert agent.await_final(action_id, timeout=20)["action"]["state_payload"]["cancelled"] is True
    eventually(lambda: len(agent.workers()) == 1, "the old worker is gone")


def test_repeated_reloads_lose_and_repeat_no_step(agent: AgentProcess, tmp_path: Path) -> None:
    ids = [agent.schedule(MARK, {"steps": 3, "pause": 0.1, "after": 0.1}) for _ in range(12)]
    for _ in range(3):
        agent.reload()
    assert agent.await_final(ids[-1], timeout=30)["action"]["state"] == "DONE"
    assert [(line.action_id, line.what, line.number) for line in trace(tmp_path)] == [
        (action_id, what, number) for action_id in ids for number in (1, 2, 3) for what in ("begin", "end")
    ]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ('[actions]\nqueue_limit = "many"\n', 'actions.queue_limit: expected a positive integer, got "many"'),
        ("[actions\n", "not TOML"),
        ('[agent]\nkinds = ["no_such_module"]\n', "agent.kinds: cannot import no_such_module"),
    ],
)
def test_reload_with_a_broken_configuration_keeps_the_old_one_and_logs_the_mistake(
    agent: AgentProcess, tmp_path: Path, broken: str, message: str
) -> None:
    action_id = agent.schedule(MARK, {"steps": 6, "after": 0.2})
    (agent.directory / "agent.toml").write_text(broken)
    before = agent.workers()
    hang_up(agent)
    eventually(lambda: message in agent.log_text(), "the log says why", 20)
    eventually(lambda: agent.workers() and not agent.workers() & before, "the worker was replaced", 20)
    agent.await_ready()
    assert agent.await_final(action_id, timeout=20)["action"]["state"] == "DONE"
    assert agent.await_final(agent.schedule(MARK, {}))["action"]["state"] == "DONE"
    assert len([line for line in agent.log_text().splitlines() if message in line]) == 1
    assert "Traceback" not in agent.whole_log()
    assert agent.process is not None
    assert agent.process.poll() is None


def test_repaired_configuration_is_used_after_the_next_reload(agent: AgentProcess) -> None:
    file = agent.directory / "agent.toml"
    good = file.read_text()
    file.write_text("[actions\n")
    agent.reload()
    file.write_text(re.sub("prune_keep = .*", "prune_keep = 7", good) + "\n[api]\nmax_body = 10\n")
    agent.reload()
    assert agent.post_schedule("replicante.test.ping", {"count": 10}).status == 413


def test_term_leaves_a_running_action_to_the_next_start(agent: AgentProcess, tmp_path: Path) -> None:
    steps = 10
    action_id = agent.schedule(MARK, {"steps": steps, "after": 0.3})
    eventually(lambda: len(trace(tmp_path)) >= 4, "it runs")
    agent.stop()
    done = len(trace(tmp_path))
    assert done < 2 * steps
    agent.start()
    info = agent.await_final(action_id, timeout=20)
    assert info["action"]["state"] == "DONE"
    assert lines(tmp_path) == [(what, number) for number in range(1, steps + 1) for what in ("begin", "end")]
    assert "handed over between steps" in agent.log_text()
    assert complete(info)


def test_term_lets_the_running_step_end(agent: AgentProcess, tmp_path: Path) -> None:
    action_id = agent.schedule(MARK, {"pause": 2})
    waiting = agent.schedule(MARK, {})
    eventually(lambda: len(trace(tmp_path)) == 1, "it runs")
    agent.stop()
    assert lines(tmp_path) == [("begin", 1), ("end", 1)]
    agent.start()
    assert agent.info(action_id)["action"]["state"] == "DONE"
    assert agent.await_final(waiting)["action"]["state"] == "DONE"
    assert "interrupted" not in agent.whole_log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_stop_lets_the_running_step_end_although_clients_are_connected(
    agent: AgentProcess, tmp_path: Path, number: int
) -> None:
    ids = [agent.schedule(MARK, {"steps": 2, "pause": 3}) for _ in range(2)]
    eventually(lambda: len(trace(tmp_path)) == 1, "it runs")
    assert agent.process is not None
    with ExitStack() as clients:
        for sent in (b"", b"GET /api HTTP/1.1\r\nHost: local", b"POST /api HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", agent.port)))
            client.sendall(sent)
        waiter = clients.enter_context(Waiter(agent, ids[-1]))
        time.sleep(0.3)  # the connections are with the worker's threads
        begin = time.monotonic()
        agent.process.send_signal(number)
        assert waiter.answer().status == 304
        assert len(trace(tmp_path)) == 1, "it is answered while the step still runs"
        assert agent.process.wait(40) == 0
        assert time.monotonic() - begin < 30, "it waited until a slow client had lost its request"
    assert lines(tmp_path) == [("begin", 1), ("end", 1)], "nothing more was begun"
    agent.start()
    eventually(lambda: "taken over, handed over between steps" in agent.log_text(), "it continues")
    agent.kill_all()  # does not wait for the second step


def test_handed_over_action_that_is_then_killed_is_interrupted(agent: AgentProcess, tmp_path: Path) -> None:
    action_id = agent.schedule(MARK, {"steps": 3, "pause": 0.5, "after": 0.5})
    eventually(lambda: ("end", 1) in lines(tmp_path), "its first step is over")
    agent.stop()
    agent.start()
    eventually(lambda: lines(tmp_path)[-1][0] == "begin", "a later step runs")
    agent.kill_worker()
    assert agent.await_final(action_id)["action"]["state"] == "DONE"
    assert ("interrupted", 0) in lines(tmp_path)
