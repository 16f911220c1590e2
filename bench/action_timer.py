"""Times actions and their commands by hand, alternating: `python action_timer.py PORT ROUNDS FIGURES`.

A script of its own, because it runs where the agent runs, such as inside a node. FIGURES is a JSON list of `Timed`
objects. Prints a JSON list with one `Measured` object for each of them.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

PROBE_EVERY = 0.005
"""Seconds between two probes of a server."""
STARTUP = b"user\0postgres\0database\0postgres\0\0"
PROTOCOL_3 = 196608
HANDSHAKE_10 = 10


@dataclass
class Measured:
    """Milliseconds of each round: the whole duration, and the part of it in which the server accepted no connection."""

    agent: list[float] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)
    agent_down: list[float] = field(default_factory=list)
    by_hand_down: list[float] = field(default_factory=list)


class Outage(threading.Thread):
    """Probes the server of a figure until the end of its `with` block; without a server it counts nothing."""

    def __init__(self, server: list[Any] | None) -> None:
        super().__init__(daemon=True)
        self.down_ms = 0.0
        self._accepts = None if server is None else ACCEPTS[server[0]]
        self._port = 0 if server is None else int(server[1])
        self._ended = threading.Event()

    def __enter__(self) -> Outage:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        if self._accepts is None:
            return
        last = time.perf_counter()
        while not self._ended.wait(PROBE_EVERY):
            accepted = self._accepts(self._port)
            now = time.perf_counter()
            if not accepted:
                self.down_ms += (now - last) * 1000
            last = now


def accepts_postgresql(port: int) -> bool:
    """Whether the server answers the startup message with a request for authentication."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as probe:
        probe.sendall(struct.pack("!ii", len(STARTUP) + 8, PROTOCOL_3) + STARTUP)
        return probe.recv(1) == b"R"
    return False


def accepts_mysql(port: int) -> bool:
    """Whether the server begins its handshake."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as probe:
        packet = probe.recv(5)
        return len(packet) == 5 and packet[4] == HANDSHAKE_10
    return False


ACCEPTS: dict[str, Callable[[int], bool]] = {"postgresql": accepts_postgresql, "mysql": accepts_mysql}


def main() -> None:
    """Run all figures in each round. The first round is not measured: it includes late imports."""
    port, rounds, figures = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    measured = [Measured() for _ in figures]
    for number in range(rounds + 1):
        for each, figure in zip(measured, figures, strict=True):
            prepare(figure)
            with Outage(figure["server"]) as by_agent:
                agent_ms = act(port, figure)
            prepare(figure)
            with Outage(figure["server"]) as by_hand:
                hand_ms = run_all(figure["by_hand"])
            if number:
                each.agent.append(agent_ms)
                each.by_hand.append(hand_ms)
                each.agent_down.append(by_agent.down_ms)
                each.by_hand_down.append(by_hand.down_ms)
    print(json.dumps([asdict(each) for each in measured]))


def prepare(figure: dict[str, Any]) -> None:
    """Run the commands that are not measured."""
    run_all([["systemctl", "reset-failed"], *figure["before"]])


def act(port: int, figure: dict[str, Any]) -> float:
    """Milliseconds from the request of the action to its final state."""
    began = time.perf_counter()
    scheduled = request(port, "POST", f"/schedule/{figure['kind']}", json.dumps(figure["args"]))
    ended = request(port, "GET", f"/info/{scheduled['id']}", Prefer="wait=60, until=final")["action"]
    assert ended["state"] == figure["wanted"], ended
    return (time.perf_counter() - began) * 1000


def request(port: int, method: str, path: str, body: str | None = None, **headers: str) -> Any:
    """The answer of the agent's API."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=70)
    connection.request(method, f"/api/unstable/actions{path}", body, {"content-type": "application/json", **headers})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def run_all(commands: list[list[str]]) -> float:
    """Milliseconds of the commands, one after the other."""
    began = time.perf_counter()
    for command in commands:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
