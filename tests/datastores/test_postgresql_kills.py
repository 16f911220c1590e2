"""An agent killed at any moment of a change of PostgreSQL completes it and reports it correctly."""

from __future__ import annotations

import psycopg
import pytest

from tests.agent_process import StartAgent, eventually
from tests.datastores.postgresql_nodes import configured, query, session
from tests.servers.postgresql import PostgresServer

CHANGES = 0x6167656E74
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'agent' AND {}"


def count(server: PostgresServer, condition: str) -> int:
    return int(query(server, WAITING.format(condition)))


def test_agent_killed_before_a_creation_creates_the_database(
    postgres_server: PostgresServer, start_agent: StartAgent
) -> None:
    agent = start_agent(config=configured(postgres_server))
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (CHANGES,))
        action_id = agent.schedule("database_create", {"name": "early"})
        eventually(lambda: count(postgres_server, "wait_event = 'advisory'"), "the first look waits")
        agent.kill_all()
        assert query(postgres_server, "SELECT count(*) FROM pg_database WHERE datname = 'early'") == "0"
    agent.start()
    assert agent.await_final(action_id, 20)["action"]["state"] == "DONE"
    assert query(postgres_server, "SELECT current_database()", "early") == "early"


def test_agent_killed_during_a_creation_finds_the_database(
    postgres_server: PostgresServer, start_agent: StartAgent
) -> None:
    query(postgres_server, "CREATE DATABASE origin")
    agent = start_agent(config=configured(postgres_server))
    with psycopg.connect(postgres_server.dsn(database="origin")):  # for 5 seconds it waits for its template
        action_id = agent.schedule("database_create", {"name": "amid", "template": "origin"})
        eventually(lambda: count(postgres_server, "query ~ '^CREATE DATABASE' AND state = 'active'"), "it is created")
        agent.kill_all()
    agent.start()
    action = agent.await_final(action_id, 20)["action"]
    assert action["state"] == "DONE" and action["state_payload"]["database"] == "amid", action
    assert query(postgres_server, "SELECT current_database()", "amid") == "amid"


@pytest.mark.parametrize("kind", ["database_create", "database_delete"])
def test_agent_killed_after_a_change_reports_it_as_done(
    kind: str, postgres_server: PostgresServer, start_agent: StartAgent
) -> None:
    name = "late"
    query(postgres_server, "DROP DATABASE IF EXISTS late")
    if kind == "database_delete":
        query(postgres_server, "CREATE DATABASE late")
    wanted = "1" if kind == "database_create" else "0"
    agent = start_agent(config=configured(postgres_server))
    action_id = agent.schedule(kind, {"name": name})
    look = "SELECT count(*) FROM pg_database WHERE datname ~ '^late'"
    eventually(lambda: query(postgres_server, look) == wanted, "the change")
    agent.kill_all()
    agent.start()
    assert agent.await_final(action_id, 20)["action"]["state"] == "DONE"
    assert query(postgres_server, look) == wanted


def test_agent_killed_while_creating_a_user_completes_it(
    postgres_server: PostgresServer, start_agent: StartAgent
) -> None:
    """The role exists and its grants wait for a lock: it does not count as a user until it is complete."""
    query(postgres_server, "CREATE DATABASE locked")
    query(postgres_server, "CREATE TABLE t (x int)", "locked")
    agent = start_agent(config=configured(postgres_server))
    args = {"name": "u", "password": "correct-horse", "databases": ["locked"], "privileges": "readonly"}
    with psycopg.connect(postgres_server.dsn(database="locked")) as other:
        # The row of the catalogue that a GRANT changes.
        other.execute("GRANT SELECT ON t TO pg_monitor")
        action_id = agent.schedule("database_user_create", args)
        eventually(lambda: count(postgres_server, "wait_event_type = 'Lock'"), "the grant waits")
        agent.kill_all()
        assert query(postgres_server, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'u'") == "f"
    agent.start()
    action = agent.await_final(action_id, 30)["action"]
    assert action["state"] == "DONE", action
    with session(postgres_server, "u", "correct-horse", "locked") as client:
        client.execute("SELECT * FROM t")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.execute("INSERT INTO t VALUES (1)")
