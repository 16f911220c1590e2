"""Two servers over HTTP from creation to deletion: failover, resync, disable; on both makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess, StartAgent
from tests.datastores.mysql_family import (
    MAKES,
    AnyServer,
    as_root,
    await_in_step,
    configuration,
    found_secrets,
    login,
    perform,
    primary_options,
    refused,
    with_syncer,
)
from tests.servers.process import await_that

PASSWORD = "correct-'horse\" %\\"


@pytest.fixture(params=MAKES)
def pair(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[tuple[AnyServer, AnyServer]]:
    """A primary and its replica."""
    with MAKES[request.param](server_dir / "a") as primary:
        with_syncer(primary)
        with primary.replica(server_dir / "b") as replica:
            yield primary, replica


def test_two_servers_exchange_roles_without_loss(
    pair: tuple[AnyServer, AnyServer], start_agent: StartAgent, tmp_path: Path
) -> None:
    old, new = pair
    on_old = start_agent(config=configuration(old, **primary_options(new, tmp_path)))
    on_new = start_agent(config=configuration(new, **primary_options(old, tmp_path)))
    create(on_old, old)
    await_in_step(new, old)
    old.kill()
    promote(on_new, new)
    old.start()
    as_root(old, "INSERT INTO `the shop`.t VALUES (99)")  # what only the old primary has
    resync(on_old, old, new)
    refuse_on_a_primary(on_new)
    disable(on_old, old)
    delete(on_new, new)
    assert found_secrets([on_old, on_new], [PASSWORD, old.replication_password, "sync'pw"]) == []


def create(agent: AgentProcess, server: AnyServer) -> None:
    perform(agent, "database_create", {"name": "the shop", "charset": "utf8mb4"})
    perform(agent, "database_create", {"name": "the shop"}, fails="the database the shop exists already")
    user = {"name": "seller", "password": PASSWORD, "databases": ["the shop"], "privileges": "owner"}
    perform(agent, "database_user_create", user)
    perform(agent, "database_user_create", user, fails="the user seller exists already")
    with login(server, "seller", PASSWORD, "the shop") as cursor:
        cursor.execute("CREATE TABLE t (x INT PRIMARY KEY)")
        cursor.execute("INSERT INTO t VALUES (1)")
        assert refused(cursor, "CREATE DATABASE other")


def promote(agent: AgentProcess, server: AnyServer) -> None:
    perform(agent, "database_create", {"name": "too soon"}, fails="is a replica: use its primary")
    done = perform(agent, "promote_slave_db", {})
    assert done["payload"]["role"] == "primary" and done["payload"]["writable"]
    assert perform(agent, "promote_slave_db", {})["payload"]["role"] == "primary"
    with login(server, "seller", PASSWORD, "the shop") as cursor:
        cursor.execute("INSERT INTO t VALUES (2)")


def resync(agent: AgentProcess, server: AnyServer, primary: AnyServer) -> None:
    perform(agent, "resync_slave_db", {}, fails="transactions that")
    done = perform(agent, "resync_slave_db", {"force": True})
    assert done["payload"]["discarded"][0]["amount"] == 1
    assert (done["payload"]["role"], done["payload"]["source"]) == ("replica", f"127.0.0.1:{primary.port}")
    assert done["payload"]["streaming"] and not done["payload"]["writable"]
    assert done["payload"]["method"] == ("dump" if isinstance(server, MAKES["mariadb"]) else "clone")
    assert any("phase" in (each["state_payload"] or {}) for each in done["history"])
    as_root(primary, "INSERT INTO `the shop`.t VALUES (3)")
    await_that(lambda: len(as_root(server, "SELECT x FROM `the shop`.t")) == 3, 10, "the row of the primary")
    assert as_root(server, "SELECT x FROM `the shop`.t") == [(1,), (2,), (3,)]
    with login(server, "seller", PASSWORD, "the shop") as cursor:
        assert refused(cursor, "INSERT INTO t VALUES (4)")


def refuse_on_a_primary(agent: AgentProcess) -> None:
    perform(agent, "resync_slave_db", {}, fails="follows this server: promote it first")
    perform(agent, "resync_slave_db", {"force": True}, fails="follows this server: promote it first")
    perform(agent, "disable_replication_slave_db", {}, fails="not a replica: this server is a primary")


def disable(agent: AgentProcess, server: AnyServer) -> None:
    done = perform(agent, "disable_replication_slave_db", {})
    assert done["payload"]["role"] == "standalone" and not done["payload"]["writable"]
    assert perform(agent, "disable_replication_slave_db", {})["payload"]["server"] == {}
    perform(agent, "database_delete", {"name": "the shop"}, fails="is read-only")
    with login(server, "seller", PASSWORD, "the shop") as cursor:
        assert refused(cursor, "INSERT INTO t VALUES (4)")


def delete(agent: AgentProcess, server: AnyServer) -> None:
    perform(agent, "database_user_delete", {"name": "seller"})
    perform(agent, "database_user_delete", {"name": "seller"}, fails="no user is called seller")
    perform(agent, "database_delete", {"name": "mysql"}, fails="belongs to the server")
    perform(agent, "database_delete", {"name": "the shop"})
    perform(agent, "database_delete", {"name": "the shop"}, fails="no database is called the shop")
    perform(agent, "replicante.store.stop", {})
    assert server.pid is None
