"""Actions of an agent killed at any moment end correctly, or with a failure that reports the state."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql
import pytest

from agent.datastores.mysql import incomplete_mark
from agent.datastores.mysql.programs import ESCAPES
from agent.datastores.mysql.session import connect
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.datastores.mysql_family import (
    MAKES,
    SYNC_PASSWORD,
    AnyServer,
    as_root,
    configuration,
    ended,
    login,
    perform,
    primary_options,
    store,
    with_syncer,
)
from tests.servers.stalling import stalled

SENT = 2_000_000
"""Bytes that a primary sends of a copy of more than ten millions before it stalls: a cancel always finds the copy."""
ESCAPED = SYNC_PASSWORD.translate(ESCAPES)
"""The password as written in an option file."""


@pytest.fixture(scope="module", params=MAKES)
def primary(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[AnyServer]:
    with MAKES[request.param](module_dir / "a") as started:
        with_syncer(started)
        as_root(started, "CREATE DATABASE big")
        as_root(started, "CREATE TABLE big.t (x INT PRIMARY KEY AUTO_INCREMENT, y LONGBLOB)")
        for _ in range(4):
            as_root(started, "INSERT INTO big.t (y) VALUES (REPEAT(RANDOM_BYTES(1000), 4000))")
        yield started


@pytest.fixture(scope="module")
def replica(primary: AnyServer, module_dir: Path) -> Iterator[AnyServer]:
    with primary.replica(module_dir / "b") as started:
        yield started


@pytest.fixture
def agent(replica: AnyServer, primary: AnyServer, start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    return start_agent(config=configuration(replica, **primary_options(primary, tmp_path)))


def kill_when(agent: AgentProcess, fact: Callable[[], object], what: str) -> None:
    eventually(fact, what, 30)
    agent.kill_all()
    agent.start()


def test_a_broken_replica_is_rebuilt_across_a_kill_of_any_process(
    agent: AgentProcess, replica: AnyServer, primary: AnyServer
) -> None:
    break_replication(replica, primary)
    perform(agent, "promote_slave_db", {}, fails="cannot apply the transactions that it received: ")
    with connect(store(replica).at, 5) as session:
        assert session.replica_status()[0]["Replica_IO_Running"] == "Yes", "nothing was changed"
    before = contents(replica)
    killed_resync_leaves_the_old_data(agent, replica)
    assert contents(replica) == before
    incomplete_server_is_refused_as_primary(agent, replica)
    resync_survives_three_kills_of_the_agent(agent, replica)
    assert not store(replica).is_dirty()
    assert as_root(replica, "SHOW DATABASES LIKE 'agent%'") == []
    assert contents(replica) == contents(primary)


def test_cancelled_resync_leaves_the_server_unchanged_with_a_message(
    replica: AnyServer, primary: AnyServer, start_agent: StartAgent, tmp_path: Path
) -> None:
    work, pid = replica.data.with_name("data.resync"), replica.pid
    with stalled(primary.port, SENT) as port:
        at = {"primary": f"mysql://syncer@127.0.0.1:{port}"}
        agent = start_agent(config=configuration(replica, **primary_options(primary, tmp_path) | at))
        action_id = agent.schedule("resync_slave_db", {"mode": "copy", "force": True})
        eventually(work.exists, "a copy is made", 30)
        assert agent.cancel(action_id).status == 200
        ended(agent, action_id, fails="this server is unchanged")
    assert replica.pid == pid and not work.exists() and not store(replica).is_dirty()


def break_replication(replica: AnyServer, primary: AnyServer) -> None:
    """Write a row on the replica that the primary also writes."""
    with login_as_root(replica) as root:
        if isinstance(replica, MAKES["mysql"]):
            root.execute("SET GLOBAL super_read_only = 0")
        root.execute("SET SESSION sql_log_bin = 0")
        root.execute("INSERT INTO big.t (x) VALUES (1000)")
    as_root(primary, "INSERT INTO big.t (x, y) VALUES (1000, 'right')")
    eventually(lambda: not store(replica).role().streaming, "the replica is broken")


def killed_resync_leaves_the_old_data(agent: AgentProcess, replica: AnyServer) -> None:
    """Neither files nor programs of the resync remain."""
    work = replica.data.with_name("data.resync")
    action_id = agent.schedule("resync_slave_db", {})
    eventually(work.exists, "a copy is made", 30)
    assert holding(SYNC_PASSWORD, Path("/proc").glob("[0-9]*/cmdline")) == []
    kill_the_job(agent, action_id)
    failed = ended(agent, action_id, fails="exit status -9")
    assert not failed["payload"]["dirty"] and not store(replica).is_dirty()
    assert not work.exists() and holding(str(work), Path("/proc").glob("[0-9]*/cmdline")) == []
    assert holding(ESCAPED, Path(tempfile.gettempdir()).glob("*")) == []


def incomplete_server_is_refused_as_primary(agent: AgentProcess, replica: AnyServer) -> None:
    """Also if it follows no source, or accepts writes, like MariaDB after a restart."""
    with connect(store(replica).at, 5) as session:
        session.run(session.dialect.make_resyncable)
        session.keep_out_of_binary_log()
        incomplete_mark.mark(session)
    role = perform(agent, "disable_replication_slave_db", {})["payload"]
    assert (role["role"], role["writable"]) == ("standalone", False) and store(replica).is_dirty()
    perform(agent, "promote_slave_db", {}, fails="is incomplete, so it cannot be a primary; resync it first")
    perform(agent, "database_create", {"name": "too soon"}, fails="is read-only")
    with let_write(replica):
        perform(agent, "promote_slave_db", {}, fails="is incomplete")
        perform(agent, "database_create", {"name": "too soon"}, fails="is incomplete: its last resync did not finish")
    assert not store(replica).role().writable and store(replica).is_dirty()


@contextmanager
def let_write(server: AnyServer) -> Iterator[None]:
    as_root(server, "SET GLOBAL read_only = OFF")
    yield
    as_root(server, "SET GLOBAL read_only = ON")


def resync_survives_three_kills_of_the_agent(agent: AgentProcess, replica: AnyServer) -> None:
    action_id = agent.schedule("resync_slave_db", {})
    kill_when(agent, lambda: agent.state(action_id) == "RUNNING", "it runs")
    kill_when(agent, replica.data.with_name("data.resync").exists, "a copy is made")
    kill_when(agent, lambda: not replica.data.with_name("data.resync").exists(), "the copy is in its place")
    assert ended(agent, action_id)["payload"]["streaming"]


def test_database_is_created_once_despite_a_kill_of_the_agent(primary: AnyServer, start_agent: StartAgent) -> None:
    agent = start_agent(config=configuration(primary))
    queued = agent.schedule("database_create", {"name": "first"})
    kill_when(agent, lambda: True, "it is scheduled")
    ended(agent, queued)
    with login_as_root(primary) as root:
        root.execute("FLUSH TABLES WITH READ LOCK")
        action_id = agent.schedule("database_create", {"name": "second"})
        kill_when(agent, lambda: creators(primary), "the server creates it")
        earlier = creators(primary)
        kill_when(agent, lambda: creators(primary) - earlier, "the next agent waits for that or creates it")
        root.execute("UNLOCK TABLES")
        ended(agent, action_id)
    for name in ("first", "second"):
        assert store(primary).database_exists(name)
        perform(agent, "database_create", {"name": name}, fails="exists already")
        perform(agent, "database_delete", {"name": name})


def test_user_is_created_completely_despite_a_kill_of_the_agent(primary: AnyServer, start_agent: StartAgent) -> None:
    agent = start_agent(config=configuration(primary))
    user = {"name": "whole", "password": "pass'word", "databases": ["big"], "privileges": "readonly"}
    with login_as_root(primary) as root:
        root.execute("FLUSH TABLES WITH READ LOCK")
        action_id = agent.schedule("database_user_create", user)
        kill_when(agent, lambda: "USER" in statements(primary), "the server creates it")
        root.execute("UNLOCK TABLES")
        ended(agent, action_id)
    with login(primary, "whole", "pass'word", "big") as cursor:
        cursor.execute("SELECT COUNT(*) FROM t")
    assert as_root(primary, "SELECT host FROM mysql.user WHERE user = 'whole'") == [("%",)]
    perform(agent, "database_user_delete", {"name": "whole"})


def contents(server: AnyServer) -> list[Any]:
    return as_root(server, "SELECT COUNT(*), SUM(LENGTH(y)), MAX(SHA2(y, 256)) FROM big.t")


def statements(server: AnyServer) -> str:
    """The statements that run on the server."""
    return str(as_root(server, "SHOW FULL PROCESSLIST"))


def creators(server: AnyServer) -> set[int]:
    """The connections that create a database or await their turn; the server may go on when the client is gone."""
    rows = as_root(server, "SHOW FULL PROCESSLIST")
    return {row[0] for row in rows if re.search("CREATE DATABASE|GET_LOCK", str(row))}


@contextmanager
def login_as_root(server: AnyServer) -> Iterator[Any]:
    connection = pymysql.connect(unix_socket=str(server.socket), user="root", autocommit=True, ssl_disabled=True)
    with closing(connection), connection.cursor() as cursor:
        yield cursor


def holding(text: str, paths: Iterable[Path]) -> list[Path]:
    """The files that contain the text."""
    found = []
    for path in paths:
        with suppress(OSError):
            if text.encode() in path.read_bytes():
                found.append(path)
    return found


def kill_the_job(agent: AgentProcess, action_id: str) -> None:
    """Send SIGKILL to the process of the resync only."""
    command = agent.directory / "agent.db.jobs" / f"resync-{action_id}" / "command"
    os.kill(json.loads(command.read_text())["pid"], signal.SIGKILL)
