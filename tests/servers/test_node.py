"""The node of the tests is a real host: it boots, reboots, loses power, and leaves nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.leftovers import left_in
from tests.servers.node import Node
from tests.servers.process import await_that

WEB_UNIT = """
[Service]
DynamicUser=yes
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /etc 8000
"""

AGENT_UNIT = """
[Service]
Type=notify
NotifyAccess=all
DynamicUser=yes
PrivateTmp=yes
StateDirectory=agent
WorkingDirectory=/var/lib/agent
Environment=AGENT_BIND=127.0.0.1:8001 AGENT_DB=/var/lib/agent/agent.db
ExecStart={venv}/bin/gunicorn --config {venv}/share/agent/gunicorn.conf.py
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with Node("n1", keep_units=["redis-server.service"]) as node:
        yield node


def test_a_service_runs_and_restarts(node: Node) -> None:
    before = node.show("redis-server", "MainPID")
    node.systemctl("restart", "redis-server")
    assert node.show("redis-server", "MainPID") != before
    assert node.run("redis-cli", "ping", user="nobody").stdout == "PONG\n"


def test_a_service_can_be_frozen(node: Node) -> None:
    node.systemctl("freeze", "redis-server")
    assert node.show("redis-server", "FreezerState") == "frozen"
    node.systemctl("thaw", "redis-server")
    assert node.run("redis-cli", "ping").stdout == "PONG\n"


def test_the_disk_of_a_node_survives_a_reboot_and_a_power_cut(node: Node) -> None:
    node.write("/var/lib/kept", "kept\n")
    started = node.leader
    node.reboot()
    assert node.leader != started and node.read("/var/lib/kept") == "kept\n"
    node.power_cut()
    with pytest.raises(RuntimeError, match="n1 is off"):
        node.run("systemctl", "reboot")
    node.boot()
    assert node.run("cat", "/var/lib/kept").stdout == "kept\n"
    assert not Path("/var/lib/kept").exists()
    assert node.show("redis-server", "ActiveState") == "active"


def test_a_web_server_inside_is_reached_from_inside_and_from_here(node: Node) -> None:
    node.write("/etc/systemd/system/web.service", WEB_UNIT)
    node.systemctl("daemon-reload")
    node.systemctl("start", "web")
    url = "http://127.0.0.1:8000/hostname"
    await_that(lambda: node.run("curl", "-fsS", url).returncode == 0, 10, "the web server")
    assert node.curl(url) == "n1\n"
    connection = node.http(8000)
    connection.request("GET", "/hostname")
    assert connection.getresponse().read() == b"n1\n"
    connection.close()


def test_a_unix_socket_inside_is_reached_from_here(node: Node) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(node.path("/run/dbus/system_bus_socket")))
        client.sendall(b"\0AUTH EXTERNAL 30\r\n")
        assert client.recv(100).startswith(b"OK ")


def test_the_agent_runs_inside_as_a_user_without_rights(agent_venv: Path, node: Node) -> None:
    node.write("/etc/systemd/system/agent.service", AGENT_UNIT.format(venv=agent_venv))
    node.systemctl("daemon-reload")
    node.systemctl("start", "agent")
    queue = "http://127.0.0.1:8001/api/unstable/actions/queue"
    await_that(lambda: node.run("curl", "-fsS", queue).returncode == 0, 20, "the agent's answer")
    connection = node.http(8001)
    connection.request("GET", "/api/unstable/actions/queue")
    assert connection.getresponse().read().strip() == b"[]"
    connection.close()
    assert node.path("/var/lib/private/agent/agent.db").stat().st_uid > 0
    pid = node.show("agent", "MainPID")
    assert node.run("readlink", f"/proc/{pid}/exe").stdout == "/usr/bin/python3.11\n"


def test_failed_boot_names_the_cause_and_leaves_no_files_or_processes() -> None:
    broken = Node("n2", binds=["/nowhere/at/all"])
    with pytest.raises(RuntimeError, match="/nowhere/at/all"), broken:
        pass
    broken.close()
    assert not broken.dir.exists() and not any(cgroup.exists() for cgroup in broken.cgroups)
    assert left_in(str(broken.dir)) == []


def test_directories_are_shown_inside_to_read_or_to_write(server_dir: Path) -> None:
    for name in ("read", "write"):
        (server_dir / name).mkdir()
        (server_dir / name / "file").write_text(name)
    binds, shares = [f"{server_dir}/read:/srv/read"], [f"{server_dir}/write:/srv/write"]
    with Node("n3", binds=binds, shares=shares) as node:
        assert node.run("cat", "/srv/read/file", "/srv/write/file").stdout == "readwrite"
        assert node.run("touch", "/srv/read/new").returncode == 1
        assert node.run("touch", "/srv/write/new").returncode == 0
    assert (server_dir / "write/new").exists()


def test_two_nodes_with_one_name_are_independent(start_node: Callable[..., Node]) -> None:
    one, two = start_node("same"), start_node("same")
    one.write("/etc/only-one", "")
    one.power_cut()
    assert not two.path("/etc/only-one").exists()
    assert two.systemctl("is-system-running") == "running"
