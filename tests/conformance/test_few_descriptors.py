"""An agent that runs out of file descriptors refuses what it cannot do, and works again when they are given back."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

from gunicorn.config import Config

from agent.server.event_loop import EventLoop
from tests.agent_process import AgentProcess, StartAgent
from tests.conformance.shapes import SUCCESS

DESCRIPTORS = 96


def test_few_descriptors_end_no_worker_and_lose_no_action(start_agent: StartAgent) -> None:
    agent = start_agent()
    workers = agent.workers()
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with ExitStack() as stack:
        for _ in range(120):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", agent.port), timeout=10))
            idle.sendall(b"G")
        with ThreadPoolExecutor(40) as callers:
            answers = list(callers.map(lambda _: agent.post_schedule(SUCCESS, {}, timeout=60), range(200)))
    assert {answer.status for answer in answers} <= {200, 503}
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status == 503)
    accepted = [answer.json["id"] for answer in answers if answer.status == 200]
    assert accepted
    assert agent.workers() == workers
    for action_id in accepted:
        assert final_state(agent, action_id) == "DONE"


def final_state(agent: AgentProcess, action_id: str) -> str:
    return str(agent.await_final(action_id, timeout=60)["action"]["state"])


class Listener(socket.socket):
    """One whose process has no descriptor left."""

    exhausted, asked = True, 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.exhausted:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_a_connection_that_cannot_be_accepted_waits_and_burns_no_core() -> None:
    """Where no idle connection could give its descriptor: the kernel reports at each turn that a client is there."""
    turns = 7
    with Listener() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        application: Callable[..., Any] = lambda *_: ()  # noqa: E731
        with (
            closing(EventLoop([listener], Config(), application, lambda *_: None, None)) as reception,
            socket.create_connection(listener.getsockname()),
        ):
            for _ in range(turns):
                reception.turn()
            assert 0 < listener.asked < turns  # each second turn waits, unless the machine is slower than a look
            listener.exhausted = False
            while reception.empty:
                reception.turn()
