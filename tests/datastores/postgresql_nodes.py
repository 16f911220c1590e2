"""Two PostgreSQL servers with an agent each: their configurations, and the view of clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from agent import config, datastores
from agent.datastores.base import Datastore
from tests.agent_process import PREFIX, AgentProcess
from tests.kinds.configuring import Document, toml
from tests.servers.postgresql import PostgresServer
from tests.servers.process import await_that

NOT_LOOKED_AT = ("agent.toml",)
# Privileges of a resync's role on the primary in addition to REPLICATION.
FOR_RESYNC = """
    GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean),
        pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO replicator;
    GRANT pg_checkpoint TO replicator
"""


def document(server: PostgresServer, primary: PostgresServer | None = None, **options: Any) -> Document:
    """The configuration of the agent of `server`, which is to follow `primary` after a resync."""
    datastore: dict[str, Any] = {
        "kind": "postgresql",
        "url": server.dsn(),
        "timeout": 15,
        "data_directory": str(server.data),
        "programs": str(server.bin),
    }
    if primary is not None:
        # Beside the folder of the server, which belongs to another user than the agent.
        passwords = server.dir.with_name(f"{server.dir.name}.primary.password")
        passwords.write_text(primary.replication_password)
        passwords.chmod(0o600)
        datastore["primary"] = f"postgresql://replicator@127.0.0.1:{primary.port}/postgres"
        datastore["primary_password_file"] = str(passwords)
    commands = {"pid": server.pid_command, "start": server.start_command, "stop": server.stop_command}
    return {
        "agent": {"node": f"node-{server.dir.name}"},
        "service": {"supervisor": "commands", "interval": 0.1, **commands},
        "datastore": datastore | options,
    }


def configured(server: PostgresServer, primary: PostgresServer | None = None, **options: Any) -> str:
    """The same document as the text of a file."""
    return toml(document(server, primary, **options))


def datastore_of(server: PostgresServer, **options: Any) -> Datastore:
    """The driver without an agent."""
    parsed = config.parse({"datastore": document(server)["datastore"] | options})
    assert parsed.datastore
    return datastores.of(parsed.datastore)


def done(agent: AgentProcess, kind: str, args: Any, timeout: float = 30.0) -> Any:
    """The payload of an action that must succeed."""
    action = agent.await_final(agent.schedule(kind, args), timeout)["action"]
    assert action["state"] == "DONE", action
    return action["state_payload"]


def failed(agent: AgentProcess, kind: str, args: Any, timeout: float = 30.0) -> str:
    """The message of an action that must fail."""
    action = agent.await_final(agent.schedule(kind, args), timeout)["action"]
    assert action["state"] == "FAILED", action
    return str(action["state_payload"]["message"])


@contextmanager
def session(server: PostgresServer, user: str, password: str, database: str) -> Iterator[psycopg.Connection[Any]]:
    """A client that logs in over TCP with a password."""
    with psycopg.connect(
        host="127.0.0.1", port=server.port, user=user, password=password, dbname=database, autocommit=True
    ) as connection:
        yield connection


def query(server: PostgresServer, sql: str, database: str = "postgres") -> str:
    """The result of a query as superuser in a database."""
    return server.psql(sql, quote(database, safe=""))


def await_value(server: PostgresServer, sql: str, value: str, database: str = "postgres") -> None:
    """Wait until a query as superuser returns this value."""

    def gives() -> bool:
        try:
            return query(server, sql, database) == value
        except RuntimeError:
            return False

    await_that(gives, 10, f"{sql} gives {value}")


def assert_nowhere(secrets: list[str], agents: list[AgentProcess], *servers: PostgresServer) -> None:
    """Assert that no secret is in the agents' answers, logs and files, nor in the servers' logs."""
    places: dict[object, bytes] = {server.log: server.log.read_bytes() for server in servers}
    for agent in agents:
        places |= {each["id"]: agent.get(f"{PREFIX}/info/{each['id']}").body for each in agent.finished()}
        places |= {path: path.read_bytes() for path in files_of(agent)}
    found = [str(place) for place, text in places.items() if any(secret.encode() in text for secret in secrets)]
    assert not found, f"a secret is in {found}"


def files_of(agent: AgentProcess) -> list[Path]:
    return [path for path in agent.directory.rglob("*") if path.is_file() and path.name not in NOT_LOOKED_AT]
