"""Runs Python inside a node, where the agent's code finds a real systemd."""

from __future__ import annotations

import sys

from tests.agent_process import CHECKOUT
from tests.servers.node import Node

PRELUDE = """
from agent.util.stop import Stop
from agent.supervisors.systemd import freezer
from agent.supervisors.base import SupervisorFailed
from agent.supervisors.systemd.unit import Unit
from agent.supervisors.systemd.unit_target import UnitTarget
from agent.util import idempotent_restart
def unit(name): return Unit(name, 10)
def printed(ask):
    try:
        print(ask())
    except SupervisorFailed as error:
        print(error)
"""
# Continues from the stored progress until the unit is up, like an action; `noted` may be replaced in between.
ADVANCE = """
import time
def note(name): return UnitTarget(unit(name), 5, Stop()).note().payload()
def advance(name, progress, timeout=5):
    while progress["state"] != "running":
        progress = idempotent_restart.step(UnitTarget(unit(name), timeout, Stop()), progress).payload()
        time.sleep(0.05)
    return progress["message"]
"""
BINDS = [str(CHECKOUT), sys.prefix]
WITHOUT_SDBUS = str(CHECKOUT / "tests/supervisors/without_sdbus")
PATHS = {"D-Bus": str(CHECKOUT), "systemctl": f"{WITHOUT_SDBUS}:{CHECKOUT}"}
"""PYTHONPATH for each way in which the agent's code reaches systemd."""


def ask(node: Node, *expressions: str, prelude: str = "", way: str = "D-Bus") -> list[str]:
    """The value of each expression inside, or the supervisor's refusal, one line each, after `prelude`."""
    lines = "".join(f"printed(lambda: {each})\n" for each in expressions)
    done = node.run("env", f"PYTHONPATH={PATHS[way]}", sys.executable, "-W", "error", "-c", PRELUDE + prelude + lines)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()
