"""An agent without free file descriptors refuses new connections and works again once some are free."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any

from gunicorn.config import Config

from agent.server.connection import Phase
from agent.server.event_loop import EventLoop
from tests.agent_process import AgentProcess, StartAgent
from tests.conformance.shapes import SUCCESS

DESCRIPTORS = 96


def test_exhausted_descriptors_end_no_worker_and_lose_no_action(start_agent: StartAgent) -> None:
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
    """A listener whose process has no descriptor left."""

    exhausted, calls = True, 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.calls += 1
        if self.exhausted:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_connection_that_cannot_be_accepted_waits_without_a_busy_loop() -> None:
    """Without an idle connection to close, the kernel reports the waiting client at each turn."""
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
            assert 0 < listener.calls < turns  # every second turn waits, unless the machine is slower than a turn
            listener.exhausted = False
            while reception.empty:
                reception.turn()


def test_kept_connection_is_closed_before_a_new_one() -> None:
    """A client that sends its request some time after it connects got a reset instead of its answer.

    As no descriptor is free even then, no other connection is closed for it in vain.
    """

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with Listener() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.exhausted = False
        with closing(EventLoop([listener], Config(), application, lambda *_: None, None)) as reception:
            kept, new, another = (socket.socket() for _ in range(3))
            with kept, new, another:
                kept.connect(listener.getsockname())
                assert ask(kept, reception).endswith(b"ok")
                new.connect(listener.getsockname())
                while listener.calls < 3 or is_in_use(reception):
                    reception.turn()
                listener.exhausted = True
                another.connect(listener.getsockname())
                assert received(kept, reception) == b""
                listener.exhausted = False
                assert ask(new, reception).endswith(b"ok")
            while not reception.empty:
                reception.turn()


def is_in_use(reception: EventLoop) -> bool:
    """Whether a thread still has a connection: the client may read its answer before the loop gets it back."""
    return any(connection.phase is Phase.THREAD for connection in reception._connection_limit)


def ask(client: socket.socket, reception: EventLoop) -> bytes:
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return received(client, reception)


def received(client: socket.socket, reception: EventLoop) -> bytes:
    """The next data for this client; empty once the connection is closed."""
    client.setblocking(False)
    while True:
        reception.turn()
        with suppress(BlockingIOError):
            return client.recv(1024)
