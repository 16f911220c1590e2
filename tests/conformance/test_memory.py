"""The memory of the agent's process: nothing of a parked call, and few arenas for all threads of the unit."""

from __future__ import annotations

import gc
import re
import socket
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

from agent.server.event_loop import EventLoop
from agent.server.parking import WAITED, Parked
from tests.agent_process import CHECKOUT, PREFIX, StartAgent


class Local:
    """An object in the frames of a call of the application."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Disables the garbage collector: only the last reference frees an object."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_parked_request_keeps_no_objects_of_its_first_call() -> None:
    resume: list[Callable[[], None]] = []
    locals_: list[weakref.ref[Local]] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        local = Local()
        locals_.append(weakref.ref(local))
        try:
            if WAITED not in environ:
                raise Parked(resume.append, lambda: None, first=True)
        except BaseException as error:
            local.error = error  # type: ignore[attr-defined]
            raise
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(EventLoop([listener], Config(), application, lambda *_: None, None)) as reception,
        socket.create_connection(listener.getsockname()) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not resume:
            reception.turn()
        assert locals_[0]() is None
        resume[0]()
        client.setblocking(False)
        while not answer(client):
            reception.turn()
        assert [each() for each in locals_] == [None, None]
        client.close()
        while not reception.empty:  # the loop closes a connection only after its thread has returned it
            reception.turn()


def answer(client: socket.socket) -> bytes:
    try:
        return client.recv(4096)
    except BlockingIOError:
        return b""


ARENA = 64 * 1024 * 1024
"""Bytes of address space that glibc reserves for an arena, at a multiple of this size."""


def test_threads_of_the_unit_share_few_malloc_arenas(start_agent: StartAgent) -> None:
    unit = (CHECKOUT / "systemd" / "agent.service").read_text()
    [setting] = re.findall("^Environment=(MALLOC_ARENA_MAX)=(.+)$", unit, re.M)
    agent = start_agent(config="[api]\nthreads = 8\n", env=dict([setting]))
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda _: agent.get(f"{PREFIX}/list"), range(100)))
    assert {answer.status for answer in answers} == {200}
    [worker] = agent.workers()
    # The first arena is the heap of the process, which is no such reservation.
    assert arenas(worker) <= 1


def arenas(pid: int) -> int:
    """The number of arenas: a used part at a multiple of `ARENA`, and the reserved rest up to the next multiple."""
    mapped = re.findall("^([0-9a-f]+)-([0-9a-f]+) (....) ", Path(f"/proc/{pid}/maps").read_text(), re.M)
    places = [(int(begin, 16), int(end, 16), mode) for begin, end, mode in mapped]
    return sum(
        mode == "rw-p" and begin % ARENA == 0 and rest == (end, begin + ARENA, "---p")
        for (begin, end, mode), rest in pairwise(places)
    )
