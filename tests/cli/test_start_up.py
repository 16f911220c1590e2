"""The modules that a call of agentctl imports: imports take most of its start-up time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.agent_process import CHECKOUT, StartAgent
from tests.cli.calling import environment
from tests.conformance.shapes import SUCCESS

LOADED = """
import sys
import click, json, socket  # what agentctl is made with
before = set(sys.modules)
from contextlib import redirect_stdout
from agent.cli import main
with redirect_stdout(sys.stderr):
    statuses = [main(words.split()) for words in sys.argv[1:]]
print(json.dumps([statuses, sorted(set(sys.modules) - before)]))
"""
"""Run commands in one interpreter, and print their statuses and imported modules."""

LISTS = {
    "agent",
    "agent.cli",
    "agent.cli.commands",
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
"""Modules of the agent that a list needs: neither the configuration nor kinds."""
BY_CLICK = {"_locale", "gc", "locale"}
"""Modules that click imports with the first command, and a part of the interpreter."""


def loaded(words: tuple[str, ...], env: dict[str, str]) -> tuple[list[int], set[str]]:
    """The statuses of these commands, and their imports except `click`, `json` and `socket`.

    The interpreter runs without `site`, which in an editable installation loads a tenth of the library.
    """
    env["PYTHONPATH"] = os.pathsep.join((str(CHECKOUT), str(Path(click.__file__).parent.parent)))
    done = subprocess.run(
        [sys.executable, "-S", "-c", LOADED, *words],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    statuses, names = json.loads(done.stdout)
    return statuses, set(names)


@pytest.mark.parametrize("unix", [False, True])
def test_agentctl_list_imports_no_unused_module(start_agent: StartAgent, *, unix: bool) -> None:
    agent = start_agent(unix=unix)
    agent.await_final(agent.schedule(SUCCESS, {}))
    lists = ("queue", "finished", "list --limit 1 --output tsv", "queue --output json")
    statuses, names = loaded(lists, environment(agent))
    assert statuses == [os.EX_OK] * len(lists)
    assert names - BY_CLICK <= LISTS, names - BY_CLICK - LISTS


def test_call_without_an_address_also_imports_the_contexts() -> None:
    statuses, names = loaded(("--context none queue",), environment(None))
    assert statuses == [7]
    assert names - BY_CLICK <= LISTS | {"agent.cli.contexts"}, names - BY_CLICK - LISTS
