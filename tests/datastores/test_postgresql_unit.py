"""The shipped units as the user of a Debian PostgreSQL: within their sandbox the agent does all that it does there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.agent_inside import AgentInNode
from tests.datastores.test_postgresql_debian import CONFIG, Host
from tests.servers.node import Node

SHIPPED = Path(__file__).parents[2] / "systemd"
AS_POSTGRES = "[Service]\nUser=postgres\nGroup=postgres\n"


def install(host: Host, agent_venv: Path) -> AgentInNode:
    """As docs/privileges.rst says, section "As another user"."""
    node = host.node
    node.run("ln", "-s", str(agent_venv), "/opt/agent")
    for unit in ("agent.service", "agent-job@.service"):
        node.write(f"/etc/systemd/system/{unit}", (SHIPPED / unit).read_text())
        node.write(f"/etc/systemd/system/{unit}.d/user.conf", AS_POSTGRES)
    node.write("/etc/agent/agent.toml", CONFIG.format(version=host.version))
    node.write("/etc/agent.password", "correct-horse", mode=0o600)
    host.ok("chown", "postgres", "/etc/agent.password")
    rule = host.ok("/opt/agent/bin/agentctl", "polkit", "--user", "postgres", "/etc/agent/agent.toml")
    node.write("/etc/polkit-1/rules.d/50-agent.rules", rule)
    node.systemctl("daemon-reload")
    node.systemctl("restart", "polkit")
    node.systemctl("start", "agent")
    agent = AgentInNode(node)
    agent.await_ready()
    return agent


def done(agent: AgentInNode, kind: str, args: Any) -> Any:
    action = agent.await_final(agent.schedule(kind, args), timeout=90)["action"]
    assert action["state"] == "DONE", action
    return action["state_payload"]


def test_the_agent_as_postgres_rebuilds_restarts_and_promotes(
    agent_venv: Path, start_node: Callable[..., Node]
) -> None:
    host = Host(start_node())
    host.create()
    agent = install(host, agent_venv)
    rebuilt = done(agent, "resync_slave_db", {"force": True})
    assert rebuilt["role"] == "replica" and rebuilt["streaming"], rebuilt
    assert host.sql(5442, "SELECT sum(x) FROM t") == "3"
    before = host.node.show(f"postgresql@{host.version}-mine", "MainPID")
    done(agent, "replicante.service.gracefulrestart", {})
    assert host.node.show(f"postgresql@{host.version}-mine", "MainPID") != before
    host.unit("stop", "other")
    assert done(agent, "promote_slave_db", {"force": True})["writable"]
    assert done(agent, "database_create", {"name": "shop"})["database"] == "shop"
    user = {"name": "seller", "password": "correct horse battery", "databases": ["shop"], "privileges": "owner"}
    done(agent, "database_user_create", user)
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'"
    assert host.sql(5442, owner) == "seller"
