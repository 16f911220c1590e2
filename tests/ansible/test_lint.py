"""The collection passes the production profile of ansible-lint, and ansible-doc reads its documentation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.ansible.controller import PROGRAMS, Controller

MODULES = ["agent_action", "agent_healthy", "agent_info", "agent_maintenance"]


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path, {})


def run(controller: Controller, *command: str) -> str:
    env = controller.env | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    where = controller.directory / "collections" / "ansible_collections" / "datastore" / "agent"
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ansible_lint_finds_nothing(controller: Controller) -> None:
    run(controller, "ansible-lint", "--offline", "--nocolor", "--strict")


def test_ansible_doc_describes_every_option(controller: Controller) -> None:
    names = [f"datastore.agent.{module}" for module in MODULES]
    text = run(controller, "ansible-doc", "--type=module", *names)
    assert text.count("token_file") >= len(MODULES)
