"""A host whose systemd executes itself again, and whose dbus is restarted, at random moments under actions of an agent.

`python -m tests.chaos.host` runs it in a booted node, as root.
"""

from __future__ import annotations

import argparse
import random
import threading
from typing import Any

from tests.agent_inside import AgentInside
from tests.servers.node import Node
from tests.supervisors.asking import BINDS

UNIT = "victim.service"
COUNTED = """
[Service]
ExecStartPre=/bin/sh -c "echo started >>/var/starts"
ExecStart=/bin/sleep infinity
"""
REEXEC, DBUS = ["daemon-reexec"], ["restart", "dbus"]
RESTARTS = [("service_restart", {"service_name": "victim"}), ("process_restart", {}), ("restart", {})]
PAUSES = [("service_pause", {"service_name": "victim"}), ("service_resume", {"service_name": "victim"})]


def prepare(node: Node) -> AgentInside:
    """An agent in the node for which the unit is a service, a process and one of the host's services."""
    node.write(f"/etc/systemd/system/{UNIT}", COUNTED)
    # The disturbances are more restarts of dbus than its own limit of starts allows.
    node.write("/etc/systemd/system/dbus.service.d/often.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    node.systemctl("daemon-reload")
    node.systemctl("start", UNIT)
    named = {"victim": {"unit": UNIT}}
    return AgentInside(node).configure({"services": named, "processes": named, "host": {"services": [UNIT]}})


def torment(agent: AgentInside, seed: int, reexecs: int, dbus_restarts: int) -> int:
    """Disturb the host so often while actions run one after the other; the number of restarts that were done.

    AssertionError where an action failed, the unit was started otherwise than once for each restart, or is down.
    """
    chance, over = random.Random(seed), threading.Event()
    disturbing = threading.Thread(target=_disturb, args=(agent.node, seed, reexecs, dbus_restarts, over))
    before, restarts = _starts(agent.node), 0
    disturbing.start()
    try:
        while not over.is_set():
            restarts += 1
            _perform(agent, *chance.choice(RESTARTS))
            for kind, args in PAUSES if chance.random() < 0.5 else []:
                _perform(agent, kind, args)
            assert _starts(agent.node) - before == restarts, "the unit was not started once for each restart"
    finally:
        disturbing.join()
    assert agent.node.show(UNIT, "ActiveState") == "active"
    return restarts


def _disturb(node: Node, seed: int, reexecs: int, dbus_restarts: int, over: threading.Event) -> None:
    chance = random.Random(f"disturb {seed}")
    disturbances = [REEXEC] * reexecs + [DBUS] * dbus_restarts
    chance.shuffle(disturbances)
    try:
        for words in disturbances:
            over.wait(chance.uniform(0.0, 0.6))
            node.run("systemctl", *words)  # a systemctl that is cut off itself is one of the effects
    finally:
        over.set()


def _perform(agent: AgentInside, kind: str, args: Any) -> None:
    action = agent.await_final(agent.schedule(kind, args), timeout=90)["action"]
    assert action["state"] == "DONE", action


def _starts(node: Node) -> int:
    return node.read("/var/starts").count("started")


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.chaos.host", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reexecs", type=int, default=200)
    parser.add_argument("--dbus-restarts", type=int, default=20)
    options = parser.parse_args()
    with Node("chaos", binds=BINDS) as node:
        restarts = torment(prepare(node), options.seed, options.reexecs, options.dbus_restarts)
    print(
        f"seed {options.seed}: {options.reexecs} daemon-reexecs and {options.dbus_restarts} restarts of dbus, "
        f"{restarts} restarts, each done once, none failed"
    )


if __name__ == "__main__":
    main()
