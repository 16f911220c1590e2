"""What a call of agentctl loads: the start-up of each call is mostly the time that its imports take."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.agent_process import AgentProcess
from tests.cli.calling import environment
from tests.conformance.shapes import SUCCESS

LOADED = """
import sys
before = set(sys.modules)
from contextlib import redirect_stdout
from agent.cli import main
with redirect_stdout(sys.stderr):
    statuses = [main(words.split()) for words in sys.argv[1:]]
import json
print(json.dumps([statuses, sorted(set(sys.modules) - before)]))
"""
"""Run commands in one interpreter, and print their statuses and the modules that they loaded."""

OURS = {
    "agent",
    "agent.cli",
    "agent.cli.commands",
    "agent.cli.contexts",
    "agent.cli.exits",
    "agent.cli.lists",
    "agent.cli.options",
    "agent.cli.printing",
    "agent.cli.running",
    "agent.cli.selection",
    "agent.cli.session",
    "agent.cli.types",
    "agent.client",
    "agent.errors",
}
"""Of the agent: neither its configuration nor its kinds."""
SLOW = {"asyncio", "concurrent", "logging", "multiprocessing", "sqlite3", "subprocess", "tempfile", "tomllib"}
"""Of the standard library: what takes milliseconds to load and has nothing to do with a list of actions."""


def test_a_list_of_actions_loads_click_and_little_else(agent: AgentProcess) -> None:
    agent.await_final(agent.schedule(SUCCESS, {}))
    lists = ("queue", "finished", "list --limit 1 -o tsv", "queue -o json")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *lists],
        env=environment(agent),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    statuses, loaded = json.loads(done.stdout)
    assert statuses == [os.EX_OK] * len(lists), done.stderr
    packages = {name.partition(".")[0] for name in loaded}
    assert packages - sys.stdlib_module_names == {"agent", "click"}
    assert {name for name in loaded if name.startswith("agent")} <= OURS
    assert packages & SLOW == set()
