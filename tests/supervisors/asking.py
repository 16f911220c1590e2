"""Python run inside a node, where the systemd is that the agent's own code asks."""

from __future__ import annotations

import sys

from tests.agent_process import CHECKOUT
from tests.servers.node import Node

PRELUDE = """
from agent.stop import Stop
from agent.supervisors import freezer, restart
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.unit import Unit
def unit(name): return Unit(name, 10)
def told(ask):
    try:
        print(ask())
    except SupervisorFailed as error:
        print(error)
"""
BINDS = [str(CHECKOUT), sys.prefix]


def ask(node: Node, *expressions: str, prelude: str = "") -> list[str]:
    """What each expression gives inside, or how the supervisor refuses it, a line each; `prelude` comes before."""
    lines = "".join(f"told(lambda: {each})\n" for each in expressions)
    done = node.run("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-W", "error", "-c", PRELUDE + prelude + lines)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
