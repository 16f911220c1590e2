"""The agent behind a socket unit in a node: a socket of systemd is served only if api.bind names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import PREFIX
from tests.servers.node import Node
from tests.servers.process import await_that

SHIPPED = Path(__file__).parents[1] / "systemd"
PATH = "/run/agent-api/agent.sock"
CONFIGURATION = f"""
[agent]
test_kinds = true
[api]
bind = "unix:{PATH}"
socket_group = "dba"
tokens = "/etc/agent/tokens.toml"
"""
TOKENS = '[unix."alice"]\nkinds = ["replicante.test.*"]\n'
REQUIRES = "[Unit]\nRequires=agent.socket\nAfter=agent.socket\n"


def socket_unit(listen: str = PATH, mode: str = "0660", user: str = "agent") -> str:
    return f"[Socket]\nListenStream={listen}\nSocketMode={mode}\nSocketUser={user}\nSocketGroup=dba\n"


@pytest.fixture(scope="module")
def node(agent_venv: Path, start_node: Callable[..., Node]) -> Node:
    host = start_node("socket")
    host.run("ln", "-s", str(agent_venv), "/opt/agent")
    host.run("groupadd", "dba")
    host.run("useradd", "--system", "--user-group", "agent")
    host.run("useradd", "--groups", "dba", "alice")
    host.run("useradd", "mallory")
    host.write("/etc/systemd/system/agent.service", (SHIPPED / "agent.service").read_text())
    host.write("/etc/systemd/system/agent.service.d/socket.conf", REQUIRES)
    host.write("/etc/agent/agent.toml", CONFIGURATION)
    host.write("/etc/agent/tokens.toml", TOKENS, 0o600)
    host.run("chown", "agent:", "/etc/agent/tokens.toml")
    return host


@pytest.fixture
def start(node: Node) -> Callable[..., int]:
    """Start the agent with a socket unit; the exit status of `systemctl start`."""

    def start(**unit: str) -> int:
        node.run("systemctl", "stop", "agent.service", "agent.socket")
        node.run("systemctl", "reset-failed", "agent.service", "agent.socket")
        node.write("/etc/systemd/system/agent.socket", socket_unit(**unit))
        node.systemctl("daemon-reload")
        node.systemctl("start", "agent.socket")
        return node.run("systemctl", "start", "agent.service").returncode

    return start


def call(node: Node, user: str, method: str, path: str, body: str = "") -> Any:
    """The answer as JSON, null where the user cannot connect."""
    data = ["--data", body, "--header", "Content-Type: application/json"] if method == "POST" else []
    curl = ["curl", "--silent", "--unix-socket", PATH, *data, f"http://localhost{PREFIX}/{path}"]
    printed = node.run("runuser", "-u", user, "--", *curl).stdout
    return json.loads(printed) if printed else None


def cancelled(node: Node) -> list[dict[str, Any]]:
    """The events of requested cancels in the audit trail."""
    environ = ("env", "AGENT_CONFIG=/etc/agent/agent.toml", "AGENT_DB=/var/lib/agent/agent.db")
    lines = node.run(*environ, "/opt/agent/bin/agentctl", "events").stdout.splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "action.cancel_requested"]


def journal(node: Node) -> str:
    return node.run("journalctl", "--unit=agent", "--no-pager", "--lines=20").stdout


def test_socket_of_the_unit_is_served_to_the_users_of_its_group(node: Node, start: Callable[..., int]) -> None:
    assert start() == 0, journal(node)
    action_id = call(node, "alice", "POST", "schedule/replicante.test.success", "{}")["id"]
    action = call(node, "alice", "GET", f"info/{action_id}")["action"]
    assert (action["requester"], call(node, "mallory", "GET", "queue")) == ("CLI", None)
    running = call(node, "alice", "POST", "schedule/replicante.test.loop", '{"target": 600, "delay": 1}')["id"]
    assert call(node, "alice", "POST", f"cancel/{running}", "{}")["id"] == running
    assert ["alice@socket", "CLI"] in [[event["user"], event["requester"]] for event in cancelled(node)]
    assert node.run("stat", "-c", "%U %G %a", PATH).stdout.split() == ["agent", "dba", "660"]


def test_the_socket_stays_through_a_reload_and_a_restart(node: Node, start: Callable[..., int]) -> None:
    assert start() == 0, journal(node)
    inode = node.run("stat", "-c", "%i", PATH).stdout
    before = node.show("agent", "MainPID")
    node.systemctl("reload", "agent")
    await_that(lambda: isinstance(call(node, "alice", "GET", "queue"), list), 20, "it answers after the reload")
    assert node.show("agent", "MainPID") == before
    node.systemctl("restart", "agent")
    # No connection is lost between the two: the socket belongs to systemd.
    assert isinstance(call(node, "alice", "GET", "queue"), list)
    assert node.run("stat", "-c", "%i", PATH).stdout == inode


def test_socket_unit_with_mode_0666_is_refused(node: Node, start: Callable[..., int]) -> None:
    assert start(mode="0666", user="root") != 0
    assert node.show("agent", "ExecMainStatus") == "78"
    assert "set SocketMode=0660 and SocketGroup=dba in the socket unit" in journal(node)
    assert call(node, "mallory", "GET", "queue") is None


def test_socket_of_the_agents_user_with_mode_0666_gets_mode_0660(node: Node, start: Callable[..., int]) -> None:
    assert start(mode="0666") == 0, journal(node)
    assert node.run("stat", "-c", "%a", PATH).stdout.strip() == "660"
    assert call(node, "mallory", "GET", "queue") is None


def test_a_socket_unit_with_another_address_is_refused(node: Node, start: Callable[..., int]) -> None:
    assert start(listen="0.0.0.0:8000") != 0
    assert node.show("agent", "ExecMainStatus") == "78"
    assert "gunicorn listens on 0.0.0.0:8000: name this address in api.bind" in journal(node)
    assert node.run("curl", "--silent", "--max-time", "2", "http://127.0.0.1:8000/").stdout == ""
