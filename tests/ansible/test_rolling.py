"""Rolling runs of the collection's playbooks over three PostgreSQL servers with an agent each.

tests/fleet/test_rolling.py has the one under clients that write and read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.ansible.controller import Controller
from tests.datastores.postgresql_nodes import FOR_RESYNC, configured
from tests.datastores.redis_nodes import followed_by, in_step
from tests.datastores.test_postgresql_switchover import Trio, peers
from tests.datastores.test_redis_switchover import agent_of
from tests.kinds.configuring import over, toml
from tests.servers.postgresql import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.shop import Origin

RESTART = "replicante.service.restart"
Agents = dict[str, AgentProcess]
RedisTrio = tuple[RedisServer, RedisServer, RedisServer]


@pytest.fixture
def trio(server_dir: Path) -> Iterator[Trio]:
    """A primary a and its replicas b and c."""
    with PostgresServer(server_dir / "a") as a:
        a.psql(FOR_RESYNC)
        a.psql("CREATE TABLE t (x int PRIMARY KEY)")
        with closing(a.replica(server_dir / "b", "b")) as b, closing(a.replica(server_dir / "c", "c")) as c:
            for replica in (b, c):
                replica.await_streaming()
                replica.psql("ALTER SYSTEM SET primary_slot_name = ''")
                replica.psql("SELECT pg_reload_conf()")
            yield a, b, c


@pytest.fixture
def redis_trio(server_dir: Path) -> Iterator[RedisTrio]:
    """The same of Redis."""
    with (
        RedisServer(server_dir / "a") as a,
        RedisServer(server_dir / "b", replica_of=a) as b,
        RedisServer(server_dir / "c", replica_of=a) as c,
    ):
        in_step(a, b, c)
        yield a, b, c


@pytest.fixture
def agents(trio: Trio, start_agent: StartAgent) -> Agents:
    return {each.dir.name: start_agent(config=configured(each, peers=peers(each, trio))) for each in trio}


@pytest.fixture
def controller(agents: Agents, tmp_path: Path) -> Controller:
    return Controller(tmp_path, agents)


def done(agent: AgentProcess) -> list[str]:
    """The kinds of the actions that succeeded, oldest first."""
    return [each["kind"] for each in reversed(agent.finished()) if each["state"] == "DONE"]


def roles(agents: Agents) -> dict[str, str]:
    return {name: agent.get("/api/unstable/datastore").json["role"] for name, agent in agents.items()}


def test_run_stops_before_the_primary_where_a_replica_does_not_return(
    trio: Trio, agents: Agents, controller: Controller
) -> None:
    broken = trio[1].data / "postgresql.auto.conf"
    broken.write_text(broken.read_text() + "shared_buffers = 'nonsense'\n")
    outcome = controller.play("rolling_restart", run_id="r2", rolling_settle=2)
    assert outcome.status != 0
    assert "stopped at b" in outcome.text and "left: b, c, a" in outcome.text, outcome.text
    assert "datastore.agent.rolling_restart -e run_id=r2" in outcome.text
    assert (done(agents["a"]), done(agents["c"])) == ([], [])
    broken.write_text(broken.read_text().replace("shared_buffers = 'nonsense'\n", ""))
    trio[1].start()
    continued = controller.play("rolling_restart", run_id="r2", rolling_retry_failed=True)
    assert continued.status == 0, continued.text
    assert all(done(agent).count(RESTART) == 1 for agent in agents.values())


def test_replica_outside_of_the_run_stops_it_before_any_change(
    trio: Trio, agents: Agents, controller: Controller
) -> None:
    """After the switchover it would follow the old primary unnoticed."""
    outcome = controller.play("rolling_restart", run_id="r10", target="a,b")
    assert outcome.status != 0
    assert "nothing was changed: a has 2 replicas (walreceiver at 127.0.0.1, walreceiver" in outcome.text, outcome.text
    assert "-e rolling_other_replicas=true" in outcome.text
    assert [done(agent) for agent in agents.values()] == [[], [], []]


def test_failover_between_two_steps_is_noticed(trio: Trio, agents: Agents, controller: Controller) -> None:
    """c is promoted by hand after the preflight and before the run reaches c."""
    with controller.start("datastore.agent.rolling_restart", run_id="r4", rolling_settle=3) as playbook:
        eventually(lambda: agents["b"].queue() or agents["b"].finished(), "it has come to the first replica", 60)
        action = agents["c"].await_final(agents["c"].schedule("promote_slave_db", {"force": True}), 30)["action"]
        text, _ = playbook.communicate(timeout=700)
    assert action["state"] == "DONE", action
    assert playbook.returncode != 0
    assert "stopped at c" in text and "the role is primary, expected replica" in text, text
    assert (RESTART in done(agents["a"]), RESTART in done(agents["c"])) == (False, False)


def test_a_failover_promotes_a_replica_and_the_old_primary_is_rebuilt(
    trio: Trio, agents: Agents, controller: Controller
) -> None:
    refused = controller.play("failover")
    assert refused.status != 0 and "these are primaries: a; use datastore.agent.switchover" in refused.text
    trio[0].kill()
    outcome = controller.play("failover", run_id="f1", rolling_force="false")
    assert outcome.status == 0, outcome.text
    assert agents["b"].info(agents["b"].finished()[0]["id"])["action"]["args"] == {}, (
        "-e gives texts: this one is no force"
    )
    assert (done(agents["b"]), done(agents["c"])) == (["promote_slave_db"], ["replication.follow"])
    assert controller.play("failover", run_id="f1").status == 0, "the primary is that of this run"
    assert (len(agents["b"].finished()), len(agents["c"].finished())) == (1, 1)
    rebuilt = controller.play("rebuild_replica", target="a", primary="b")
    assert rebuilt.status == 0, rebuilt.text
    assert roles(agents) == {"a": "replica", "b": "primary", "c": "replica"}
    twice = controller.directory / "twice.yml"
    twice.write_text(json.dumps([{"import_playbook": "datastore.agent.switchover"}] * 2))
    switched = controller.run(str(twice), candidate="a", run_id="s1")
    assert switched.status == 0, switched.text
    assert done(agents["a"]).count("promote_slave_db") == 1
    assert roles(agents) == {"a": "primary", "b": "replica", "c": "replica"}


def test_run_killed_during_the_switchover_continues_and_repoints_the_other_replicas(
    redis_trio: RedisTrio, start_agent: StartAgent, tmp_path: Path
) -> None:
    a, b, c = redis_trio
    agents = {each.dir.name: agent_of(each, (a, b, c), start_agent) for each in (a, b, c)}
    reason = {"Action-Reason": "run k:1: OPS-17"}
    demotion = agents["a"].schedule("replication.demote", {"primary": "b"}, headers=reason)
    assert agents["a"].await_final(demotion, 30)["action"]["state"] == "DONE"
    controller = Controller(tmp_path / "controller", agents)
    continued = controller.play("switchover", run_id="k:1")
    assert continued.status == 0, continued.text
    assert [followed_by(each) for each in (a, b, c)] == [
        f"slave 127.0.0.1:{b.port}",
        "master :",
        f"slave 127.0.0.1:{b.port}",
    ]
    assert {name: len(agent.finished()) for name, agent in agents.items()} == {"a": 1, "b": 0, "c": 1}


@pytest.mark.parametrize(("lost", "acted"), [("a", {"b": 1, "c": 1}), ("b", {"b": 1})])
def test_host_lost_during_the_run_stops_the_run(
    redis_trio: RedisTrio, start_agent: StartAgent, tmp_path: Path, lost: str, acted: dict[str, int]
) -> None:
    """Ansible itself leaves out the host and continues: it would promote without the demotion."""
    lose = {"action": ["touch", str(tmp_path / f"{lost}.lost")], "check": ["echo", '{"status": "finished"}']}
    agents = {
        each.dir.name: start_agent(config=toml({**over(each), "external_actions": {"lose": lose}}))
        for each in redis_trio
    }
    outcome = by_ssh(tmp_path, agents).play("rolling_restart", kind="external.lose")
    assert outcome.status != 0 and f"unreachable: {lost}" in outcome.text, outcome.text
    assert {name: len(agent.finished()) for name, agent in agents.items() if agent.finished()} == acted, outcome.text


def by_ssh(tmp_path: Path, agents: Agents) -> Controller:
    """Connects to the hosts by a stand-in for ssh that works until the file NAME.lost exists."""
    (ssh := tmp_path / "ssh").write_text(f'''#!/bin/bash
[ -e "{tmp_path}/${{@: -2:1}}.lost" ] && exit 255
exec /bin/sh -c "${{@: -1}}"
''')
    ssh.chmod(0o755)
    hosts = {
        name: {
            "ansible_connection": "ssh",
            "ansible_ssh_executable": str(ssh),
            "ansible_python_interpreter": sys.executable,
            "agent_connection": {"url": f"http://127.0.0.1:{agent.port}"},
        }
        for name, agent in agents.items()
    }
    return Controller(tmp_path / "controller", {}, hosts=hosts)


def test_a_pattern_that_matches_no_host_fails(tmp_path: Path) -> None:
    outcome = Controller(tmp_path, {}).play("failover", target="nowhere")
    assert outcome.status != 0 and "no host of the inventory matches nowhere" in outcome.text, outcome.text


def test_rolling_deploy_ends_with_the_primary_and_stops_where_a_release_fails(
    trio: Trio, start_agent: StartAgent, tmp_path: Path
) -> None:
    (tmp_path / "origin").mkdir()
    origin = Origin(tmp_path / "origin")
    agents, releases = {}, {}
    for server in trio:
        name = server.dir.name
        (path := tmp_path / f"srv-{name}").mkdir()
        refuses_another = ["grep", "-q", f"host {name}", "hosts.txt"]
        shop = {"repository": str(origin.path), "path": str(path), "before": [refuses_another]}
        config = configured(server, peers=peers(server, trio)) + toml({"applications": {"shop": shop}})
        agents[name], releases[name] = start_agent(config=config), path / "current" / "hosts.txt"
    commit = origin.commit({"hosts.txt": "host b\nhost c\n"})
    outcome = Controller(tmp_path / "controller", agents).play("rolling_deploy", application="shop", git_ref=commit)
    assert outcome.status != 0
    assert "stopped at a" in outcome.text and "done: b, c" in outcome.text, outcome.text
    assert {name: file.exists() for name, file in releases.items()} == {"a": False, "b": True, "c": True}
    assert roles(agents) == {"a": "primary", "b": "replica", "c": "replica"}
