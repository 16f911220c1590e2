"""Costs of each agent for a controller: polls, bytes and connections, with as many agents as fit on this machine.

    python -m tests.fleet.scale [--agents 200] [--seconds 60]

Starts agents until there are so many, or until less than a quarter of the memory is left, and prints how many fit.
docs/scale.rst has the arithmetic. Run it while the machine does nothing else.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.agent_process import PREFIX, AgentProcess, eventually

QUEUE = f"{PREFIX}/queue"
ACTION = "replicante.test.success"
POLLS = 20
LONG_POLL = 30


class Line:
    """One connection of the controller, kept open; counts the bytes of both directions."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.bytes, self.etag = 0, ""

    def ask(self, path: str, **headers: str) -> None:
        """Send a GET; `If_None_Match` is that header."""
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {'x' * 43}\r\n{named}\r\n".encode()
        self.socket.sendall(request)
        self.bytes += len(request)

    def answer(self) -> int:
        """Read one answer; its status."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._received()
        head, _, body = head.partition(b"\r\n\r\n")
        text = head.decode()
        status = int(text.split()[1])
        length = re.search(r"(?i)^content-length: (\d+)", text, re.M)
        left = (int(length[1]) if length and status != 304 else 0) - len(body)
        while left > 0:
            left -= len(self._received())
        if found := re.search(r"(?i)^etag: (\S+)", text, re.M):
            self.etag = found[1]
        return status

    def _received(self) -> bytes:
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("the agent has closed the connection")
        self.bytes += len(part)
        return part


class Receiver(ThreadingHTTPServer):
    """Takes callbacks; `sizes` are the bytes of each, head and body."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        super().__init__(("127.0.0.1", 0), Taker)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Taker(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.sizes.append(len(self.requestline) + 4 + len(bytes(str(self.headers), "ascii")) + len(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.scale")
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    # An agent needs a file descriptor here, for its log and its connection.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    with TemporaryDirectory(prefix="agent-scale-") as folder, ExitStack() as stack:
        receiver = Receiver()
        stack.callback(receiver.shutdown)
        agents = started(Path(folder), options.agents, receiver, stack)
        print(f"{len(agents)} agents fit of {options.agents} wanted; memory of one: {memory_of(agents):.1f} MiB (PSS)")
        lines = [Line(agent.port) for agent in agents]
        polls(lines)
        long_polls(lines, agents, options.seconds)
        callbacks(agents, receiver)


def started(folder: Path, wanted: int, receiver: Receiver, stack: ExitStack) -> list[AgentProcess]:
    """This number of agents, or as many as leave a quarter of the memory free."""
    config = f'[callbacks]\nurls = ["http://127.0.0.1:{receiver.server_port}/"]\n'
    agents: list[AgentProcess] = []
    while len(agents) < wanted and available() > 0.25:
        (directory := folder / f"agent-{len(agents)}").mkdir()
        agent = AgentProcess(directory, config=config)
        stack.callback(agent.close)
        agents.append(agent.start())
    return agents


def polls(lines: list[Line]) -> None:
    """Poll the queue of each agent repeatedly."""
    for name, known in (("a poll", False), ("a poll with an entity tag", True)):
        for line in lines:
            line.bytes = 0
        began, cpu = time.monotonic(), time.process_time()
        for _ in range(POLLS):
            for line in lines:
                line.ask(QUEUE, **({"If_None_Match": line.etag} if known else {}))
            assert {line.answer() for line in lines} == {304 if known else 200}
        count = POLLS * len(lines)
        each = sum(line.bytes for line in lines) / count
        rate = count / (time.monotonic() - began)
        cost = (time.process_time() - cpu) / count
        print(f"{name}: {each:.0f} bytes, {cost * 1e6:.0f} µs of the controller's processor; {rate:.0f}/s here")


def long_polls(lines: list[Line], agents: list[AgentProcess], seconds: float) -> None:
    """Every agent has one poll that waits."""
    selector = selectors.DefaultSelector()
    for line in lines:
        line.bytes = 0
        selector.register(line.socket, selectors.EVENT_READ, line)
        line.ask(QUEUE, If_None_Match=line.etag, Prefer=f"wait={LONG_POLL}")
    cpu, own, began = processor(agents), time.process_time(), time.monotonic()
    answers = complete = 0
    while (left := began + seconds - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            line = key.data
            line.answer()
            answers, complete, line.bytes = answers + 1, complete + line.bytes, 0
            line.ask(QUEUE, If_None_Match=line.etag, Prefer=f"wait={LONG_POLL}")
    passed = time.monotonic() - began
    rate, bytes_of = answers / passed / len(lines), complete / max(1, answers)
    used = (processor(agents) - cpu) / passed / len(agents)
    print(
        f"long polls, {len(lines)} connections open: {rate:.4f} polls/s of {bytes_of:.0f} bytes for an agent, "
        f"{(time.process_time() - own) / passed:.4f} of one processor here; an idle agent uses {used:.4f} of one"
    )
    changed = Line(agents[0].port)
    changed.ask(QUEUE)
    changed.answer()
    changed.ask(QUEUE, If_None_Match=changed.etag, Prefer=f"wait={LONG_POLL}")
    began = time.monotonic()
    agents[0].schedule(ACTION, {})
    changed.answer()
    print(f"a change of one of {len(agents)} agents arrives after {(time.monotonic() - began) * 1000:.0f} ms")


def callbacks(agents: list[AgentProcess], receiver: Receiver) -> None:
    """One action on each agent, each of which sends a callback."""
    receiver.sizes.clear()
    began = time.monotonic()
    for agent in agents:
        agent.schedule(ACTION, {})
    eventually(lambda: len(receiver.sizes) >= len(agents), "a callback of each", 600)
    size = sum(receiver.sizes) / len(receiver.sizes)
    print(f"a callback: {size:.0f} bytes; {len(agents)} actions and callbacks in {time.monotonic() - began:.1f} s")


def processes(agents: Iterable[AgentProcess]) -> Iterable[int]:
    for agent in agents:
        process: Any = agent.process
        yield process.pid
        yield from agent.workers()


def memory_of(agents: list[AgentProcess]) -> float:
    """MiB of one agent, master and worker; what they share with others counts in part."""
    kibibytes = 0
    for pid in processes(agents):
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        kibibytes += int(found[1]) if found else 0
    return kibibytes / 1024 / len(agents)


def processor(agents: list[AgentProcess]) -> float:
    """The processor time of all of them in seconds."""
    ticks = 0
    for pid in processes(agents):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def available() -> float:
    """The part of the memory that is free for processes."""
    text = Path("/proc/meminfo").read_text()
    total, free = (int(re.findall(rf"{name}:\s+(\d+)", text)[0]) for name in ("MemTotal", "MemAvailable"))
    return free / total


if __name__ == "__main__":
    main()
