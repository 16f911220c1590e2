"""systemd's watchdog is notified at all times, also while the worker of a reload starts slowly."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from tests.agent_process import CHECKOUT, AgentProcess

WATCHDOG = 2.0
"""Seconds."""
BOOT = 5.0
"""The import time of the module of a kind in seconds."""
SLOW = 'import pathlib, time\ntime.sleep(float(pathlib.Path(__file__).with_name("seconds").read_text()))\n'


class Systemd:
    """Receives notifications, and records the times of those for the watchdog."""

    def __init__(self, path: Path) -> None:
        self.fed: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._take)
        self._thread.start()
        self._path = path

    def _take(self) -> None:
        while (datagram := self._socket.recv(4096)) != b"end":
            if b"WATCHDOG=1" in datagram:
                self.fed.append(time.monotonic())

    def longest_pause(self, since: float) -> float:
        moments = [since, *(each for each in self.fed if each > since), time.monotonic()]
        return max(after - before for before, after in pairwise(moments))

    def close(self) -> None:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"end", str(self._path))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with closing(Systemd(tmp_path / "notify")) as found:
        yield found


def test_watchdog_is_notified_while_the_worker_of_a_reload_boots(tmp_path: Path, systemd: Systemd) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "seconds").write_text("0")
    env = {
        "PYTHONPATH": f"{tmp_path}:{CHECKOUT}",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": str(round(WATCHDOG * 1e6)),
    }
    with closing(AgentProcess(tmp_path, config='[agent]\nkinds = ["slow"]\n', env=env)) as agent:
        agent.start()
        (tmp_path / "seconds").write_text(str(BOOT))
        begun = time.monotonic()
        agent.reload()
        assert time.monotonic() - begun > BOOT
        # One notification each half of the time; a busy machine may be late. Without them the pause is the whole boot.
        assert systemd.longest_pause(begun) < BOOT - WATCHDOG / 2
