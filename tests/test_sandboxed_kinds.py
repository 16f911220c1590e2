"""Every kind within the sandbox of the shipped units, running as the user of a Debian PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_inside import AgentInNode
from tests.agent_process import PREFIX
from tests.datastores.test_postgresql_debian import CONFIG, Host
from tests.kinds.engines import run as run_container
from tests.servers.docker import DockerEngine
from tests.servers.node import Node

SHIPPED = Path(__file__).parents[1] / "systemd"
AS_POSTGRES = "[Service]\nUser=postgres\nGroup=postgres\n"
SLEEPER = "[Service]\nExecStart=/bin/sleep 3600\n"
UNITS = ("listed", "paused", "worker", "app")
ENGINE = "/srv/engine.sock"
MORE = f"""
[datastore.peers.other]
url = "postgresql://postgres@127.0.0.1:5443/postgres"
password_file = "/etc/agent.password"
replication_user = "postgres"
replication_password_file = "/etc/agent.password"
[host]
services = ["listed.service"]
reboot = ["systemctl", "--no-ask-password", "reboot"]
[services.web]
unit = "paused.service"
[processes.worker]
unit = "worker.service"
[containers]
engine = "unix://{ENGINE}"
stop_timeout = 1
[maintenance]
flag = "/srv/state/maintenance"
on = [["touch", "/srv/state/on"]]
[caches.pages]
kind = "folder"
path = "/srv/cache"
[applications.shop]
repository = "/srv/shop.git"
path = "/srv/shop"
services = ["app.service"]
before = [["cp", "page", "built"]]
[external_actions.note]
action = ["touch", "/srv/state/noted"]
check = ["echo", '{{"status": "finished"}}']
"""
PAGE = """
set -e; git init --quiet --initial-branch=main /srv/shop.git; cd /srv/shop.git; echo one >page; git add page
git -c user.name=a -c user.email=a@example.com commit --quiet --message=one
mkdir -p /srv/shop /srv/state /srv/cache/old; chown -R postgres: /srv/shop /srv/state /srv/cache /srv/shop.git
"""
USER = {"name": "seller", "password": "correct horse battery", "databases": ["shop"], "privileges": "owner"}


class Sandboxed(AgentInNode):
    """The agent of the node, and the kinds whose actions were done."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.node)
        self.host, self.seen = host, set[str]()

    def done(self, kind: str, **args: Any) -> Any:
        """The result of an action that succeeds."""
        self.seen.add(kind)
        action = self.await_final(self.schedule(kind, args), timeout=90)["action"]
        assert action["state"] == "DONE", action
        return action["state_payload"]


@pytest.fixture(scope="module")
def agent(agent_venv: Path, docker_engine: DockerEngine, start_node: Callable[..., Node]) -> Iterator[Sandboxed]:
    """The agent as in docs/privileges.rst, section "As another user"."""
    os.chmod(docker_engine.socket, 0o666)
    host = Host(start_node(shares=[f"{docker_engine.socket}:{ENGINE}"]))
    node = host.node
    host.create()
    host.ok("sh", "-c", PAGE)
    node.run("ln", "-s", str(agent_venv), "/opt/agent")
    for unit in ("agent.service", "agent-job@.service"):
        node.write(f"/etc/systemd/system/{unit}", (SHIPPED / unit).read_text())
        node.write(f"/etc/systemd/system/{unit}.d/user.conf", AS_POSTGRES)
    node.write(
        "/etc/dbus-1/system.d/agent.conf", (SHIPPED / "agent-dbus.conf").read_text().replace("agent", "postgres")
    )
    for name in UNITS:
        node.write(f"/etc/systemd/system/{name}.service", SLEEPER)
    node.write("/etc/agent/agent.toml", CONFIG.format(version=host.version) + MORE)
    node.write("/etc/agent.password", "correct-horse", mode=0o600)
    host.ok("chown", "postgres", "/etc/agent.password")
    rule = host.ok("/opt/agent/bin/agentctl", "polkit", "--user", "postgres", "/etc/agent/agent.toml")
    node.write("/etc/polkit-1/rules.d/50-agent.rules", rule)
    node.systemctl("daemon-reload")
    node.systemctl("reload", "dbus")
    node.systemctl("restart", "polkit")
    node.systemctl("start", *UNITS)
    node.systemctl("enable", "--now", "agent")
    run_container(docker_engine, "shop", service="boxes")
    found = Sandboxed(host)
    found.await_ready()
    yield found
    docker_engine.cli("rm", "--force", "shop")


def test_the_datastore_is_rebuilt_restarted_and_promoted(agent: Sandboxed) -> None:
    host, unit = agent.host, f"postgresql@{agent.host.version}-mine"
    rebuilt = agent.done("resync_slave_db", force=True)
    assert rebuilt["role"] == "replica" and rebuilt["streaming"], rebuilt
    assert host.sql(5442, "SELECT sum(x) FROM t") == "3"
    assert agent.done("replication.follow", primary="other")["streaming"]
    for kinds in (["restart"], ["stop", "start"], ["gracefulstop", "start"], ["gracefulrestart"]):
        before = host.node.show(unit, "MainPID")
        for kind in kinds:
            agent.done(f"replicante.service.{kind}")
        assert host.node.show(unit, "MainPID") not in (before, "0"), kinds
    agent.done("replicante.store.stop")
    agent.done("replicante.service.start")
    host.unit("stop", "other")
    assert agent.done("promote_slave_db", force=True)["writable"]


def test_databases_and_users_are_managed(agent: Sandboxed) -> None:
    sql = agent.host.sql
    assert agent.done("database_create", name="shop")["database"] == "shop"
    agent.done("database_user_create", **USER)
    assert sql(5442, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'") == "seller"
    agent.done("database_user_update", name="seller", locked=True)
    agent.done("database_update", name="shop", owner="postgres")
    agent.done("database_user_delete", name="seller", reassign_to="postgres")
    agent.done("database_delete", name="shop")
    assert sql(5442, "SELECT count(*) FROM pg_database WHERE datname = 'shop'") == "0"


def test_the_primary_is_demoted_and_released_from_replication(agent: Sandboxed) -> None:
    host = agent.host
    other = f"/var/lib/postgresql/{host.version}/other"
    host.ok("rm", "-r", other)
    host.ok("pg_basebackup", "-p", "5442", "-D", other, "-R", "-c", "fast", user="postgres")
    host.unit("start", "other")
    assert agent.done("replication.demote", primary="other")["role"] == "replica"
    assert host.sql(5443, "SELECT pg_promote(true, 30)") == "t"
    agent.done("disable_replication_slave_db")
    assert host.sql(5442, "SELECT count(*) FROM pg_stat_wal_receiver") == "0"


def test_units_processes_and_containers_are_managed(agent: Sandboxed, docker_engine: DockerEngine) -> None:
    node = agent.node
    before = {unit: node.show(unit, "InvocationID") for unit in UNITS}
    agent.done("restart")
    for what, unit, args in (
        ("service", "paused", {"service_name": "web"}), ("process", "worker", {"process_name": "worker"}),
    ):  # fmt: skip
        for verb, state in (("pause", "frozen"), ("resume", "running"), ("restart", "running")):
            agent.done(f"{what}_{verb}", **args)
            assert node.show(unit, "FreezerState") == state
    started = docker_engine.cli("inspect", "--format", "{{.State.StartedAt}}", "shop")
    assert agent.done("container_restart", container="shop")["was"]
    agent.done("service_restart", service_name="boxes")
    assert docker_engine.cli("inspect", "--format", "{{.State.StartedAt}}", "shop") != started
    deployed = agent.done("deploy", application="shop")
    assert node.read(f"{deployed['release']}/built") == "one\n"
    assert [unit for unit in UNITS if node.show(unit, "InvocationID") == before[unit]] == []


def test_caches_maintenance_and_actions_of_the_configuration_work(agent: Sandboxed) -> None:
    assert agent.done("clear_caches")["cleared"].keys() == {"pages"}
    for value, flag in ((True, True), (False, False)):
        agent.done("maintenance_mode", value=value)
        assert agent.node.path("/srv/state/maintenance").exists() is flag
    agent.done("external.note")
    assert {"on", "noted"} <= {each.name for each in agent.node.path("/srv/state").iterdir()}
    agent.done("replicante.test.ping", count=1)
    agent.done("replicante.test.loop", target=1, delay=0)
    agent.done("replicante.test.success")
    failed = agent.await_final(agent.schedule("replicante.test.fail", {}), timeout=40)["action"]
    assert failed["state"] == "FAILED"
    agent.seen.add("replicante.test.fail")


def test_host_is_rebooted_and_every_kind_was_tested(agent: Sandboxed) -> None:
    action_id = agent.schedule("stack_reboot", {})
    agent.node.boot_after_reboot()
    agent.await_ready()
    assert agent.await_final(action_id, timeout=60)["action"]["state"] == "DONE"
    agent.seen.add("stack_reboot")
    offered = {each["kind"] for each in agent.get(f"{PREFIX}/available").json}
    assert offered - agent.seen == set()
    assert agent.node.run("ps", "-o", "user=", "-p", agent.node.show("agent", "MainPID")).stdout == "postgres\n"
