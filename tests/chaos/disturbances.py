"""What may happen to a host at any moment, each as a function of the agent in its node and of chance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from tests.agent_inside import AgentInside
from tests.agent_process import PREFIX
from tests.servers.leftovers import CGROUPS, remove_cgroup
from tests.servers.process import is_alive

Disturbance = Callable[[AgentInside, random.Random], None]
FILL = "/var/fill"
FEW = 96
MEMORY = CGROUPS / "memory"
STARVING = "64K"
"""Less than any process allocates soon."""
STARVED_WITHIN = 5.0
"""Seconds that the kernel gets for it: an idle agent may need no new memory meanwhile."""


def reexec(agent: AgentInside, chance: random.Random) -> None:
    """As every upgrade of systemd does. A systemctl that is cut off itself is one of the effects."""
    agent.node.run("systemctl", "daemon-reexec")


def restart_dbus(agent: AgentInside, chance: random.Random) -> None:
    agent.node.run("systemctl", "restart", "dbus")


def edit_units(agent: AgentInside, chance: random.Random) -> None:
    for unit in ("victim", "app"):
        text = f"[Unit]\nDescription=edited {chance.random()}\n"
        agent.node.write(f"/etc/systemd/system/{unit}.service.d/edited.conf", text)
    agent.node.run("systemctl", "daemon-reload")


def kill_agent(agent: AgentInside, chance: random.Random) -> None:
    agent.node.run("systemctl", "kill", "--signal=KILL", "agent")


def suspend_agent(agent: AgentInside, chance: random.Random) -> None:
    """SIGSTOP, and SIGCONT a moment later."""
    agent.node.run("systemctl", "kill", "--signal=STOP", "agent")
    time.sleep(chance.uniform(0.1, 1.5))
    agent.node.run("systemctl", "kill", "--signal=CONT", "agent")


def fill_disk(agent: AgentInside, chance: random.Random) -> None:
    """Not a byte is free for a moment."""
    agent.node.run("sh", "-c", f"cat /dev/zero >{FILL} 2>/dev/null")
    time.sleep(chance.uniform(0.1, 1.5))
    agent.node.run("rm", "-f", FILL)


def take_descriptors(agent: AgentInside, chance: random.Random) -> None:
    """Few are left to the processes that the agent has now."""
    script = f"for pid in $(cat /sys/fs/cgroup$1/cgroup.procs); do prlimit --pid=$pid --nofile={FEW}:{FEW}; done"
    agent.node.run("sh", "-c", script, "sh", agent.node.show("agent", "ControlGroup"))


def exhaust_memory(agent: AgentInside, chance: random.Random) -> None:
    """The agent's processes meet the limit of a cgroup, and the kernel kills one of them."""
    group = MEMORY / agent.node.cgroups[0].name
    group.mkdir(exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(STARVING)
    pids = [pid for each in agent.node.cgroups for file in each.glob("*/system.slice/agent.service/cgroup.procs")
            for pid in file.read_text().split()]  # fmt: skip
    _move(pids, group)
    deadline = time.monotonic() + STARVED_WITHIN
    while all(is_alive(int(pid)) for pid in pids) and time.monotonic() < deadline:
        with suppress(OSError, HTTPException):  # which needs memory
            agent.get(f"{PREFIX}/list", timeout=1.0)
    _move((group / "cgroup.procs").read_text().split(), MEMORY)
    remove_cgroup(group)


def _move(pids: list[str], group: Path) -> None:
    for pid in pids:
        with suppress(OSError):  # it has ended
            (group / "cgroup.procs").write_text(pid)


ALL: dict[str, Disturbance] = {
    each.__name__: each
    for each in (
        reexec, restart_dbus, edit_units, kill_agent, suspend_agent, fill_disk, take_descriptors, exhaust_memory
    )
}  # fmt: skip
