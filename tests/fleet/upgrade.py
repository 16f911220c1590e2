"""The role `agent` and the playbook `rolling_upgrade` on three nodes without an agent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.fleet.nodes import NAMES, Nodes


def run(nodes: Nodes, package: Path, newer: Path) -> None:
    """Raises `AssertionError` for every difference."""
    configs: dict[str, Any] = {
        name: {"agent": {"node": name, "test_kinds": True}, "api": nodes.api()} for name in NAMES
    }
    installed = nodes.install(package, configs)
    assert installed.status == 0, installed.text
    again = nodes.install(package, configs)
    assert [again.of(name)["changed"] for name in NAMES] == [0, 0, 0], again.text
    print("the role installs the package; a second pass changes nothing", flush=True)

    pids = _pids(nodes)
    wrong = nodes.install(package, configs | {"db-2": {"agent": {"colour": "red"}}})
    assert wrong.status != 0 and "agent.colour: unknown option" in wrong.text, wrong.text
    assert "colour" not in nodes.nodes["db-2"].read("/etc/agent/agent.toml")
    changed = configs | {"db-2": {"agent": {"node": "renamed", "test_kinds": True}, "api": nodes.api()}}
    reloaded = nodes.install(package, changed)
    assert reloaded.status == 0 and reloaded.of("db-1")["changed"] == 0, reloaded.text
    assert _pids(nodes) == pids, "a changed option is applied by a reload"
    assert "configuration.reloaded" in nodes.nodes["db-2"].run("agentctl", "events").stdout
    print("a wrong configuration is refused; a changed one is applied by a reload", flush=True)

    variables = nodes.role_variables(newer, changed)
    stopped = nodes.by_ssh.play("rolling_upgrade", **variables, agent_version="98.0.0")
    assert stopped.status != 0 and "stopped at db-1" in stopped.text and "left: db-1, db-2, db-3" in stopped.text
    assert _versions(nodes) == [_version(newer), _version(package), _version(package)], stopped.text
    print("the first doubt stops the upgrade", flush=True)
    loop = nodes.agentctl("db-3", "schedule", "--no-wait", "replicante.test.loop", "target=40", "delay=0.5")["id"]
    upgraded = nodes.by_ssh.play("rolling_upgrade", **variables, agent_version=_version(newer))
    assert upgraded.status == 0, upgraded.text
    assert _versions(nodes) == [_version(newer)] * 3 and upgraded.of("db-1")["changed"] == 0
    assert nodes.agentctl("db-3", "info", loop)["action"]["outcome"] == "done", "it waits until the agent is idle"
    print(
        f"rolling_upgrade from {_version(package)} to {_version(newer)}, one host at a time, each once idle", flush=True
    )


def _version(package: Path) -> str:
    return package.name.split("_")[1]


def _versions(nodes: Nodes) -> list[str]:
    url = "http://localhost/api/unstable/info/agent"
    arguments = ("--unix-socket", "/run/agent/agent.sock", url)
    return [re.findall(r'"number":\s*"([^"]+)"', nodes.nodes[name].curl(*arguments))[0] for name in NAMES]


def _pids(nodes: Nodes) -> list[str]:
    return [nodes.nodes[name].show("agent", "MainPID") for name in NAMES]
