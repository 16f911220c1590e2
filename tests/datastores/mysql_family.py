"""MySQL and MariaDB with the helpers that the tests of their driver share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql

from agent import config
from agent.datastores.mysql.datastore import MySQL
from tests.agent_process import AgentProcess
from tests.kinds.configuring import toml
from tests.servers.cache import cached
from tests.servers.mariadb import MariaDBServer
from tests.servers.mysql import MySQLServer

AnyServer = MariaDBServer | MySQLServer
MAKES: dict[str, type[AnyServer]] = {"mariadb": MariaDBServer, "mysql": MySQLServer}


def options(server: AnyServer, **more: Any) -> dict[str, Any]:
    """`[datastore]` for the server, as root by its socket."""
    programs = {"programs": str(cached("mysql", "usr/bin"))} if isinstance(server, MySQLServer) else {}
    own = {"url": f"mysql+unix://root@{server.socket}", "timeout": 20, "data_directory": str(server.data)}
    return {"kind": "mysql"} | own | programs | more


def store(server: AnyServer, **more: Any) -> MySQL:
    """The driver for the server."""
    settings = config.parse({"datastore": options(server, **more)}).datastore
    assert settings
    return MySQL(settings)


def tcp(server: AnyServer, user: str) -> str:
    """A url of 127.0.0.1."""
    return f"mysql://{quote(user, safe='')}@127.0.0.1:{server.port}"


@contextmanager
def login(server: AnyServer, user: str, password: str, database: str | None = None) -> Iterator[pymysql.cursors.Cursor]:
    """A cursor of a client of 127.0.0.1; what the server refuses is raised as the driver does."""
    connection = pymysql.connect(
        host="127.0.0.1", port=server.port, user=user, password=password.encode(), database=database, autocommit=True,
        ssl_disabled=isinstance(server, MariaDBServer),
    )  # fmt: skip
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def refused(cursor: pymysql.cursors.Cursor, statement: str) -> bool:
    """Whether the server denies a statement to this user."""
    try:
        cursor.execute(statement)
    except pymysql.err.Error as error:
        assert re.search(r"denied|read.only", str(error)), error
        return True
    return False


def as_root(server: AnyServer, statement: str, *values: object) -> list[Any]:
    """The rows of a statement of root's."""
    connection = pymysql.connect(unix_socket=str(server.socket), user="root", autocommit=True, ssl_disabled=True)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def password_file(directory: Path, password: str) -> str:
    path = directory / "password"
    path.write_text(f"{password}\n")
    path.chmod(0o600)
    return str(path)


def await_in_step(replica: Any, primary: Any) -> None:
    """Await that a replica has applied what its primary, of the same make, has written until now."""
    replica.await_replica(primary)


# Agents over HTTP

SYNC_PASSWORD = "sync'pw\"#\\x"


def with_syncer(server: AnyServer) -> None:
    """The account for rebuilding others from this server; `mariadb-dump` and `mysqldump` need the most privileges."""
    more = ", BACKUP_ADMIN" if isinstance(server, MySQLServer) else ", SLAVE MONITOR"
    as_root(server, "CREATE USER syncer IDENTIFIED BY %s", SYNC_PASSWORD)
    as_root(
        server,
        "GRANT SELECT, RELOAD, PROCESS, LOCK TABLES, SHOW VIEW, EVENT, TRIGGER, REPLICATION SLAVE, REPLICATION CLIENT"
        f"{more} ON *.* TO syncer",
    )


def primary_options(server: AnyServer, directory: Path) -> dict[str, str]:
    """`datastore.primary` and the password for it."""
    return {"primary": tcp(server, "syncer"), "primary_password_file": password_file(directory, SYNC_PASSWORD)}


def configuration(server: AnyServer, **datastore: Any) -> str:
    """The agent.toml of a node that runs this server."""
    service = {
        "supervisor": "commands", "pid": server.pid_command, "start": server.start_command,
        "stop": server.stop_command, "interval": 0.1,
    }  # fmt: skip
    return toml({"service": service, "datastore": options(server, **datastore)})


def perform(agent: AgentProcess, kind: str, args: Any, *, fails: str | None = None) -> dict[str, Any]:
    """The end of an action: `payload`, `message` and `history`; it must succeed, or fail with these words."""
    return ended(agent, agent.schedule(kind, args), fails=fails)


def ended(agent: AgentProcess, action_id: str, *, fails: str | None = None) -> dict[str, Any]:
    info = agent.await_final(action_id, timeout=60)
    action = info["action"]
    payload = action["state_payload"]
    if fails is not None:
        assert action["state"] == "FAILED" and fails in payload["message"], info
    else:
        assert action["state"] == "DONE", info
    return {"payload": payload, "history": info["history"]}


def found_secrets(agents: list[AgentProcess], secrets: list[str]) -> list[str]:
    """The places that contain one of the secrets: log, answers, state."""
    found = []
    for agent in agents:
        answers = json.dumps([agent.info(each["id"]) for each in agent.finished()])
        places = {"log": agent.log.read_bytes(), "answers": answers.encode()}
        places["state"] = agent.db.read_bytes()
        for secret in secrets:
            forms = {secret, json.dumps(secret)[1:-1], quote(secret)}
            found += [
                f"{place} of {agent.directory.name}"
                for place, content in places.items()
                if any(form.encode() in content for form in forms)
            ]
    return found
