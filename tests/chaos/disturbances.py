"""Disturbances of a host, each a function of the host and a random generator."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tests.agent_inside import AgentInside
from tests.agent_process import PREFIX
from tests.chaos.wall_clock import Clock
from tests.servers.docker import DockerEngine
from tests.servers.leftovers import CGROUPS, remove_cgroup
from tests.servers.node import Node
from tests.servers.process import is_alive

FILL = "/var/fill"
FEW = 96
MEMORY = CGROUPS / "memory"
STARVING = "64K"
"""Bytes: less than any process allocates soon."""
STARVED_WITHIN = 5.0
"""Seconds until the kernel has killed a process: an idle agent may need no new memory meanwhile."""

OFFSETS = ["+0", "-90", "+90", "-1d", "+1d", "-365d", "+365d"]


@dataclass(frozen=True)
class Host:
    """An agent in its node, its wall clock, and the container engine that it calls through a socket."""

    agent: AgentInside
    clock: Clock
    engine: DockerEngine

    @property
    def node(self) -> Node:
        return self.agent.node


Disturbance = Callable[[Host, random.Random], None]


def reexec(host: Host, chance: random.Random) -> None:
    """Run daemon-reexec, as every upgrade of systemd does. It also cuts off running systemctl processes."""
    host.node.run("systemctl", "daemon-reexec")


def restart_dbus(host: Host, chance: random.Random) -> None:
    host.node.run("systemctl", "restart", "dbus")


def edit_units(host: Host, chance: random.Random) -> None:
    for unit in ("victim", "app"):
        text = f"[Unit]\nDescription=edited {chance.random()}\n"
        host.node.write(f"/etc/systemd/system/{unit}.service.d/edited.conf", text)
    host.node.run("systemctl", "daemon-reload")


def kill_agent(host: Host, chance: random.Random) -> None:
    host.node.run("systemctl", "kill", "--signal=KILL", "agent")


def suspend_agent(host: Host, chance: random.Random) -> None:
    """SIGSTOP, and SIGCONT a moment later."""
    host.node.run("systemctl", "kill", "--signal=STOP", "agent")
    time.sleep(chance.uniform(0.1, 1.5))
    host.node.run("systemctl", "kill", "--signal=CONT", "agent")


def fill_disk(host: Host, chance: random.Random) -> None:
    """Fill the disk completely for a moment."""
    host.node.run("sh", "-c", f"cat /dev/zero >{FILL} 2>/dev/null")
    time.sleep(chance.uniform(0.1, 1.5))
    host.node.run("rm", "-f", FILL)


def take_descriptors(host: Host, chance: random.Random) -> None:
    """Leave few descriptors to the running processes of the agent."""
    script = f"for pid in $(cat /sys/fs/cgroup$1/cgroup.procs); do prlimit --pid=$pid --nofile={FEW}:{FEW}; done"
    host.node.run("sh", "-c", script, "sh", host.node.show("agent", "ControlGroup"))


def exhaust_memory(host: Host, chance: random.Random) -> None:
    """Limit the memory of the agent's cgroup, so that the kernel kills one of its processes."""
    group = MEMORY / host.node.cgroups[0].name
    group.mkdir(exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(STARVING)
    pids = [pid for each in host.node.cgroups for file in each.glob("*/system.slice/agent.service/cgroup.procs")
            for pid in file.read_text().split()]  # fmt: skip
    _move(pids, group)
    deadline = time.monotonic() + STARVED_WITHIN
    while all(is_alive(int(pid)) for pid in pids) and time.monotonic() < deadline:
        with suppress(OSError, HTTPException):  # which needs memory
            host.agent.get(f"{PREFIX}/list", timeout=1.0)
    _move((group / "cgroup.procs").read_text().split(), MEMORY)
    remove_cgroup(group)


def set_clock(host: Host, chance: random.Random) -> None:
    """Set the clock by a minute, a day or a year, forwards or backwards."""
    host.clock.set(chance.choice(OFFSETS))


def restart_docker(host: Host, chance: random.Random) -> None:
    """Restart Docker: its containers end, and it starts them again."""
    host.engine.stop()
    host.engine.start()


def _move(pids: list[str], group: Path) -> None:
    for pid in pids:
        with suppress(OSError):  # it has ended
            (group / "cgroup.procs").write_text(pid)


ALL: dict[str, Disturbance] = {
    each.__name__: each
    for each in (
        reexec, restart_dbus, restart_docker, edit_units, kill_agent, suspend_agent, fill_disk, take_descriptors,
        exhaust_memory, set_clock,
    )
}  # fmt: skip
