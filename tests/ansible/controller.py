"""An Ansible controller for tests: its own inventory and collection path, and the outcome of a playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.agent_process import CHECKOUT, AgentProcess

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Outcome:
    """The result of a command of Ansible."""

    status: int
    text: str

    def of(self, host: str) -> dict[str, int]:
        """The counts of the recap for a host."""
        line = next(line for line in reversed(self.text.splitlines()) if line.startswith(f"{host} "))
        return {name: int(count) for name, count in (each.split("=") for each in line.partition(":")[2].split())}


class Controller:
    """Works in `directory`. `agents` are hosts of the group `datastores`, by name; all of them are this machine.

    `hosts` are further ones with their variables.
    """

    def __init__(
        self,
        directory: Path,
        agents: Mapping[str, AgentProcess],
        *,
        hosts: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.directory = directory
        collections = directory / "collections" / "ansible_collections" / "datastore"
        collections.mkdir(parents=True)
        (collections / "agent").symlink_to(CHECKOUT / "ansible")
        local = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "agent_connection": {"url": f"http://127.0.0.1:{agent.port}", "patience": 30},
            }
            for name, agent in agents.items()
        }
        self.inventory = directory / "inventory.json"
        self.inventory.write_text(json.dumps({"datastores": {"hosts": local | dict(hosts or {})}}))
        (config := directory / "ansible.cfg").touch()
        self.env = os.environ | {
            "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_LOCAL_TEMP": str(directory / "home" / "local"),
            "ANSIBLE_REMOTE_TEMP": str(directory / "home" / "remote"),
            "ANSIBLE_CONFIG": str(config),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "0",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_FORKS": "3",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=10s",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
        }

    def start(self, name: str, *options: str, **variables: Any) -> subprocess.Popen[str]:
        """Start a playbook of the collection, in a session of its own."""
        return subprocess.Popen(
            [
                PROGRAMS / "ansible-playbook",
                f"--inventory={self.inventory}",
                f"--extra-vars={json.dumps(variables)}",
                *options,
                name,
            ],
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def play(self, name: str, *options: str, **variables: Any) -> Outcome:
        """Run a playbook of the collection to its end."""
        return self.run(f"datastore.agent.{name}", *options, **variables)

    def run(self, book: str, *options: str, **variables: Any) -> Outcome:
        """Run a playbook, by its file or full name, to its end."""
        with self.start(book, *options, **variables) as playbook:
            text, _ = playbook.communicate(timeout=1800)
            return Outcome(playbook.returncode, text)

    def task(self, host: str, module: str, *options: str, **params: Any) -> tuple[bool, dict[str, Any]]:
        """Run one module against one host: whether it succeeded, and its result."""
        connection = json.loads(self.inventory.read_text())["datastores"]["hosts"][host]["agent_connection"]
        done = subprocess.run(
            [
                PROGRAMS / "ansible",
                f"--inventory={self.inventory}",
                host,
                f"--module-name=datastore.agent.{module}",
                f"--args={json.dumps(connection | params)}",
                *options,
            ],
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        head, _, body = done.stdout.partition("=> ")
        assert body, done.stdout + done.stderr
        return "SUCCESS" in head or "CHANGED" in head, json.loads(body)
