"""A deploy by the agent as its own user, with the shipped units and rules, by password and by key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent_inside import AgentInNode
from tests.agent_process import eventually
from tests.kinds.configuring import toml
from tests.servers.node import Node
from tests.servers.process import run
from tests.servers.shop import ALONE, HEALTH, UNIT, Origin, shop
from tests.servers.sshd import new_key, public
from tests.test_least_privilege import SHIPPED, install_rule

PASSWORD = "battery-staple"
UNITS = ["shop@1.service", "shop@2.service"]
DROP_IN = "[Service]\nLoadCredential=git:/etc/keys/git\nLoadCredential=ssh:/etc/keys/ssh\n"
# Serves the repository to callers with the password.
SERVER = """
import base64, functools, http.server
class Guarded(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"git:PASSWORD").decode():
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic")
        self.end_headers()
handler = functools.partial(Guarded, directory="/srv/origin")
http.server.ThreadingHTTPServer(("127.0.0.1", 8081), handler).serve_forever()
""".replace("PASSWORD", PASSWORD)

APPLICATION = {
    "repository": "http://127.0.0.1:8081/origin.git",
    "credentials": "credential:git",
    "path": "/srv/shop",
    "services": UNITS,
    "before": [["/bin/sh", "-c", "id -un >> /srv/shop/ran; while [ -e /before.hold ]; do sleep 0.05; done"]],
    "health": ["/usr/local/bin/shop-is-healthy"],
    "health_timeout": 10.0,
    "timeout": 30.0,
}
OVER_SSH = {"repository": "root@127.0.0.1:/srv/origin/origin.git", "ssh_key": "credential:ssh", "path": "/srv/till"}


class PublishedOrigin(Origin):
    """A repository whose content is determined by its files alone."""

    def commit(self, *args: Any, **options: Any) -> str:
        made = super().commit(*args, **options)
        run(["git", "-C", self.path, "update-server-info"], env=os.environ | ALONE)
        return made


@pytest.fixture(scope="module")
def origin(module_dir: Path) -> Origin:
    return PublishedOrigin(module_dir)


@pytest.fixture(scope="module")
def node(origin: Origin, agent_venv: Path, start_node: Callable[..., Node]) -> Node:
    """A host with an agent installed as in docs/privileges.rst."""
    host = start_node("plain", binds=[f"{origin.path.parent}:/srv/origin"])
    host.run("ln", "-s", str(agent_venv), "/opt/agent")
    host.run("useradd", "--system", "--user-group", "--home-dir", "/var/lib/agent", "agent")
    host.run("install", "-d", "-o", "agent", "-g", "agent", "/srv/shop", "/srv/till")
    for unit in ("agent.service", "agent-job@.service"):
        host.write(f"/etc/systemd/system/{unit}", (SHIPPED / unit).read_text())
    host.write("/etc/systemd/system/agent.service.d/credentials.conf", DROP_IN)
    host.write("/etc/keys/git", f"http://git:{PASSWORD}@127.0.0.1:8081\n", 0o600)
    host.write("/etc/systemd/system/shop@.service", UNIT)
    host.write("/usr/local/bin/shop-is-healthy", HEALTH, 0o755)
    host.write("/server.py", SERVER)
    let_in_by_key(host, new_key(origin.path.parent / "key"))
    configuration = toml({"applications": {"shop": APPLICATION, "till": OVER_SSH}})
    host.write("/etc/agent/agent.toml", configuration)
    install_rule(host, configuration)
    host.systemctl("daemon-reload")
    host.run("systemd-run", "--unit=origin", "/usr/bin/python3", "/server.py")
    host.systemctl("start", "agent")
    return host


def let_in_by_key(host: Node, key: Path) -> None:
    """root can log in to the node by Debian's sshd; the host key is known to every user."""
    host.write("/etc/keys/ssh", key.read_text(), 0o600)
    host.write("/root/.ssh/authorized_keys", public(key), 0o600)
    host.write("/etc/ssh/ssh_known_hosts", f"127.0.0.1 {host.read('/etc/ssh/ssh_host_ed25519_key.pub')}")
    host.systemctl("start", "ssh")


@pytest.fixture(scope="module")
def agent(node: Node) -> AgentInNode:
    found = AgentInNode(node)
    found.await_ready()
    return found


def answers(node: Node) -> list[str]:
    return [node.curl(f"http://127.0.0.1:900{number}/") for number in (1, 2)]


def test_an_unprivileged_agent_deploys_across_a_restart_and_rolls_back_a_crash(
    agent: AgentInNode, node: Node, origin: Origin
) -> None:
    wanted = origin.commit(shop("v1"))
    node.run("touch", "/before.hold")
    action = agent.schedule("deploy", {"application": "shop"})
    eventually(node.path("/srv/shop/ran").exists, "the command runs", 30)
    (unit,) = node.systemctl("list-units", "--plain", "--no-legend", "agent-job@*").splitlines()
    agent.end("restart")
    assert unit in node.systemctl("list-units", "--plain", "--no-legend", "agent-job@*")
    node.run("rm", "/before.hold")
    info = agent.await_final(action, timeout=60)
    assert info["action"]["state"] == "DONE", info["action"]
    assert info["action"]["state_payload"]["git_hash"] == wanted
    assert (answers(node), node.read("/srv/shop/ran")) == (["v1", "v1"], "agent\n")

    origin.commit({"shop.py": "this does not even compile"})
    action = agent.schedule("deploy", {"application": "shop", "deployment_strategy": "parallel"})
    failed = agent.await_final(action, timeout=60)
    assert failed["action"]["state_payload"]["message"].endswith(f"; rolled back to {wanted}"), failed["action"]
    assert answers(node) == ["v1", "v1"]

    text = json.dumps([info, failed]) + node.run("journalctl", "--no-pager").stdout
    assert PASSWORD not in text + node.run("grep", "-r", PASSWORD, "/var/lib/agent", "/srv/shop").stdout


def test_an_unprivileged_agent_deploys_over_ssh_with_a_systemd_credential(
    agent: AgentInNode, node: Node, origin: Origin
) -> None:
    wanted = origin.commit({"version": "over ssh"})
    info = agent.await_final(agent.schedule("deploy", {"application": "till"}), timeout=60)
    assert info["action"]["state"] == "DONE", info["action"]
    assert info["action"]["state_payload"]["git_hash"] == wanted
    assert node.read("/srv/till/current/version") == "over ssh"

    node.write("/etc/ssh/ssh_known_hosts", f"127.0.0.1 {public(new_key(origin.path.parent / 'other'))}")
    failed = agent.await_final(agent.schedule("deploy", {"application": "till"}), timeout=60)["action"]
    assert "Host key for 127.0.0.1 has changed" in failed["state_payload"]["message"], failed
