"""The driver on a real MySQL and a real MariaDB; refusals of the servers are reported without secrets."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from agent import datastores
from agent.datastores.base import (
    DatastoreDown,
    DatastoreError,
    DatastoreRefused,
    DatastoreUnreachable,
    DriverMissing,
    Role,
)
from agent.datastores.mysql import grants, users
from agent.datastores.mysql.datastore import MySQL
from agent.datastores.mysql.session import connect, quote
from agent.errors import ConfigError
from agent.plan import Would
from agent.util.stop import Stop
from tests.datastores.mysql_family import (
    MAKES,
    AnyServer,
    as_root,
    login,
    password_file,
    refused,
    store,
    tcp,
)
from tests.servers.process import await_that, free_port

HOSTILE = [
    "plain", "with space", "quo'te", 'double"quote', "back`tick", "100%", "%s", "a_b", "back\\slash", "x;-- drop",
    "ünïcødé", "名前", "{}", "select", "`; DROP DATABASE kept; --", "two\nlines", "-", "1", "CamelCase",
]  # fmt: skip
PASSWORD = 'it\'s "quite" \\ a % h#rse ü'


@pytest.fixture(scope="module", params=MAKES)
def server(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[AnyServer]:
    with MAKES[request.param](module_dir / request.param) as started:
        yield started


@pytest.fixture
def database(server: AnyServer) -> Iterator[str]:
    """A database with a table."""
    as_root(server, "CREATE DATABASE shop")
    as_root(server, "CREATE TABLE shop.t (x INT PRIMARY KEY)")
    yield "shop"
    as_root(server, "DROP DATABASE IF EXISTS shop")


# Databases


def test_a_database_of_any_name_is_created_and_deleted(server: AnyServer) -> None:
    driver = store(server)
    before = sorted(as_root(server, "SHOW DATABASES"))
    for name in HOSTILE:
        assert not driver.database_exists(name), name
        driver.create_database(name, {})
        assert driver.database_exists(name), name
    assert sorted(as_root(server, "SHOW DATABASES")) == sorted(before + [(name,) for name in HOSTILE])
    for name in HOSTILE:
        driver.delete_database(name, force=False)
    assert sorted(as_root(server, "SHOW DATABASES")) == before


def test_a_quoted_name_is_taken_literally(server: AnyServer) -> None:
    with connect(store(server).at, 5) as session:
        for name in HOSTILE:
            assert session.run("SELECT %s AS value, 1 AS {}", "100%", names=[name]) == [{"value": "100%", name: 1}]


def test_a_name_that_the_server_does_not_allow_is_refused(server: AnyServer) -> None:
    for name in ("trailing ", "x" * 65, "nul\0"):
        assert store(server).plan_create_database(name, {}).would is Would.REFUSE
        with pytest.raises(DatastoreRefused, match="the server refuses this name"):
            store(server).create_database(name, {})
        assert not store(server).database_exists(name)


def test_names_that_differ_in_case_or_a_space_are_different(server: AnyServer, database: str) -> None:
    assert store(server).database_exists(database)
    assert not store(server).database_exists(database.upper())
    assert not store(server).database_exists(f"{database} ")


def test_charset_and_collation_are_as_requested(server: AnyServer) -> None:
    created = store(server).create_database("thai", {"charset": "tis620", "collation": "tis620_bin"})
    assert "tis620_bin" in str(created)
    rows = as_root(server, "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = 'thai'")
    assert rows == [("tis620_bin",)]
    store(server).delete_database("thai", force=False)
    with pytest.raises(DatastoreRefused, match="Unknown character set: 'nonsense'"):
        store(server).create_database("thai", {"charset": "nonsense"})


def test_system_databases_are_recognized(server: AnyServer) -> None:
    for name in ("mysql", "MYSQL", "information_schema", "performance_schema", "sys"):
        assert store(server).is_system_database(name)


def test_database_in_use_is_deleted_only_with_force(server: AnyServer, database: str) -> None:
    as_root(server, "CREATE USER client IDENTIFIED BY 'pw'")
    as_root(server, f"GRANT ALL ON {database}.* TO client")
    with login(server, "client", "pw", database) as client:
        client.execute("BEGIN")
        client.execute("SELECT * FROM t")
        with pytest.raises(DatastoreRefused, match="in use by 1 connections; force ends them"):
            store(server).delete_database(database, force=False)
        assert store(server).delete_database(database, force=True) == {"connections_ended": 1}
        with pytest.raises(pymysql.err.Error):
            client.execute("SELECT 1")
    assert not store(server).database_exists(database)
    as_root(server, "DROP USER client")


# Users


def test_readonly_user_can_only_read(server: AnyServer, database: str) -> None:
    store(server).create_user("reader", PASSWORD, [database], "readonly")
    with login(server, "reader", PASSWORD, database) as cursor:
        cursor.execute("SELECT * FROM t")
        for statement in ("INSERT INTO t VALUES (1)", "CREATE TABLE u (x INT)", "DROP TABLE t", "CREATE DATABASE d"):
            assert refused(cursor, statement), statement
        assert refused(cursor, "SELECT * FROM mysql.user")
    store(server).delete_user("reader")


def test_readwrite_user_can_only_read_and_write(server: AnyServer, database: str) -> None:
    store(server).create_user("writer", PASSWORD, [database], "readwrite")
    with login(server, "writer", PASSWORD, database) as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        cursor.execute("DELETE FROM t")
        for statement in ("CREATE TABLE u (x INT)", "DROP TABLE t", "ALTER TABLE t ADD y INT", "CREATE USER x"):
            assert refused(cursor, statement), statement
    store(server).delete_user("writer")


def test_owner_has_all_rights_in_its_database_only(server: AnyServer, database: str) -> None:
    store(server).create_user("owner", PASSWORD, [database], "owner")
    with login(server, "owner", PASSWORD, database) as cursor:
        cursor.execute("CREATE TABLE u (x INT)")
        cursor.execute("DROP TABLE u")
        for statement in ("CREATE DATABASE other", "GRANT SELECT ON shop.* TO owner", "SET GLOBAL read_only = 1"):
            assert refused(cursor, statement), statement
        cursor.execute("DROP DATABASE shop")
        cursor.execute("CREATE DATABASE shop")
    store(server).delete_user("owner")


@pytest.mark.parametrize("name, other", [("a_b", "axb"), ("a%", "abc"), ("a\\b", "ab"), ("a\\_b", "a\\xb")])
def test_wildcard_in_a_database_name_grants_no_other_database(server: AnyServer, name: str, other: str) -> None:
    for each in (name, other):
        store(server).create_database(each, {})
    store(server).create_user("wild", PASSWORD, [name], "owner")
    with login(server, "wild", PASSWORD) as cursor:
        cursor.execute("SHOW DATABASES")
        seen = {row[0] for row in cursor.fetchall()}
        assert name in seen and other not in seen
        cursor.execute(f"CREATE TABLE {quote(name).replace('%%', '%')}.t (x INT)")
        assert refused(cursor, f"CREATE TABLE {quote(other)}.t (x INT)")
    store(server).delete_user("wild")
    for each in (name, other):
        store(server).delete_database(each, force=True)


@pytest.mark.parametrize("name", ["us'er", 'us"er', "us`er", "us%er", "us er", "üser", "x;--", "us@er", "us\\er"])
def test_user_with_any_name_logs_in(server: AnyServer, database: str, name: str) -> None:
    driver = store(server)
    created = driver.create_user(name, PASSWORD, [database], "readwrite")
    account = {"account": f"{name}@%", "databases": [database], "privileges": "readwrite"}
    assert created == account | {"proved_by": "login"}
    with login(server, name, PASSWORD, database) as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchall() == ((f"{name}@%",),)
    assert driver.delete_user(name) == {"accounts": [f"{name}@%"], "connections_ended": 0}
    assert not driver.user_exists(name)


def test_user_without_databases_can_only_log_in(server: AnyServer, database: str) -> None:
    store(server).create_user("nothing", PASSWORD, [], "owner")
    with login(server, "nothing", PASSWORD) as cursor:
        assert refused(cursor, "SELECT * FROM shop.t")
    store(server).delete_user("nothing")


def test_user_that_cannot_be_completed_is_removed(server: AnyServer, database: str) -> None:
    driver = store(server)
    wrong = {"nowhere": "there is no database nowhere", "mysql": "mysql belongs to the server"}
    for name, why in wrong.items():
        with pytest.raises(DatastoreRefused, match=why):
            driver.create_user("half", PASSWORD, [database, name], "owner")
        assert as_root(server, "SELECT host FROM mysql.user WHERE user = 'half'") == []
    with pytest.raises(DatastoreRefused, match="characters at most") as raised:
        driver.create_user("n" * 200, PASSWORD, [database], "owner")
    assert PASSWORD not in str(raised.value)


def test_a_grant_that_fails_leaves_no_account(
    server: AnyServer, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(grants.PRIVILEGES, "owner", "NO SUCH PRIVILEGE")
    with pytest.raises(DatastoreRefused):
        store(server).create_user("half", PASSWORD, [database], "owner")
    assert as_root(server, "SELECT host FROM mysql.user WHERE user = 'half'") == []


def test_unfinished_user_does_not_exist_and_can_be_completed(server: AnyServer, database: str) -> None:
    as_root(server, "CREATE USER left_over@%s IDENTIFIED BY 'old'", users.UNFINISHED)
    driver = store(server)
    assert not driver.user_exists("left_over")
    driver.create_user("left_over", PASSWORD, [database], "readonly")
    assert as_root(server, "SELECT host FROM mysql.user WHERE user = 'left_over'") == [("%",)]
    with pytest.raises(DatastoreRefused, match="the user left_over exists already"):
        driver.create_user("left_over", PASSWORD, [], "owner")
    driver.delete_user("left_over")


def test_accounts_of_one_name_on_several_hosts_are_one_user(server: AnyServer, database: str) -> None:
    for host in ("localhost", "10.0.0.0/255.0.0.0"):
        as_root(server, "CREATE USER many@%s IDENTIFIED BY 'pw'", host)
    assert store(server).user_exists("many")
    with pytest.raises(DatastoreRefused, match="exists already"):
        store(server).create_user("many", PASSWORD, [], "owner")
    deleted = store(server).delete_user("many")
    assert isinstance(deleted, dict) and len(deleted["accounts"]) == 2
    assert as_root(server, "SELECT host FROM mysql.user WHERE user = 'many'") == []


def test_connections_of_a_deleted_user_are_ended(server: AnyServer, database: str) -> None:
    store(server).create_user("leaving", PASSWORD, [database], "readonly")
    with login(server, "leaving", PASSWORD, database) as cursor:
        assert store(server).delete_user("leaving") == {"accounts": ["leaving@%"], "connections_ended": 1}
        with pytest.raises(pymysql.err.Error):
            cursor.execute("SELECT * FROM t")


def test_definer_is_not_deleted_and_its_objects_are_listed(server: AnyServer, database: str) -> None:
    driver = store(server)
    as_root(server, "SET GLOBAL log_bin_trust_function_creators = 1")
    driver.create_user("definer", PASSWORD, [database], "owner")
    for statement in (
        "CREATE VIEW shop.v AS SELECT 1 AS x",
        "CREATE PROCEDURE shop.p() SELECT 1",
        "CREATE TRIGGER shop.g BEFORE INSERT ON shop.t FOR EACH ROW SET NEW.x = 1",
        "CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    ):
        with login(server, "definer", PASSWORD, database) as cursor:
            cursor.execute(statement)
    with pytest.raises(DatastoreRefused, match=r"definer of event shop\.e, procedure shop\.p, trigger shop\.g, view"):
        driver.delete_user("definer")
    with login(server, "definer", PASSWORD, database):
        pass
    driver.delete_database(database, force=True)
    driver.delete_user("definer")


def test_system_users_and_the_agents_user_are_not_deleted(server: AnyServer) -> None:
    own = "mariadb.sys" if isinstance(server, MAKES["mariadb"]) else "mysql.sys"
    wrong = {"root": "the agent's own", own: "belongs to the server", "nobody": "no user is called nobody"}
    for name, why in wrong.items():
        with pytest.raises(DatastoreRefused, match=why):
            store(server).delete_user(name)


def test_statement_of_a_killed_agent_is_awaited(server: AnyServer, database: str) -> None:
    driver = store(server, timeout=1)
    with connect(store(server).at, 5) as killed:
        killed.wait_for_turn(1)
        for call in (lambda: driver.database_exists(database), lambda: driver.create_user("x", "y", [], "owner")):
            with pytest.raises(DatastoreUnreachable, match="still busy with an earlier statement of the agent"):
                call()
        assert driver.role().name == "primary"
    assert store(server).database_exists(database)  # the server needs a moment to notice the end of a connection


# Life and errors


def test_a_wrong_password_is_refused_and_never_shown(server: AnyServer, server_dir: Path) -> None:
    as_root(server, "CREATE USER IF NOT EXISTS agent@'127.0.0.1' IDENTIFIED BY 'right'")
    wrong = store(server, url=tcp(server, "agent"), password_file=password_file(server_dir, "wrong-horse"))
    assert wrong.is_up()
    with pytest.raises(DatastoreRefused, match="Access denied for user 'agent'") as raised:
        wrong.role()
    assert "horse" not in str(raised.value) and f"mysql://127.0.0.1:{server.port}" in str(raised.value)
    right = store(server, url=tcp(server, "agent"), password_file=password_file(server_dir, "right"))
    with connect(right.at, 5) as session:
        assert session.value("SELECT CURRENT_USER()") == "agent@127.0.0.1"
    with pytest.raises(DatastoreError, match="nowhere cannot be read: No such file"):
        store(server, password_file=f"{server_dir}/nowhere").role()


def test_error_message_of_the_server_shows_no_secret(server: AnyServer) -> None:
    with connect(store(server).at, 5) as session:
        for statement, value in (("GRANT NOTHING %s", "horse"), ("SET GLOBAL read_only = %s", "it's a \\ horse")):
            with pytest.raises(DatastoreRefused) as raised:
                session.run(statement, value, secret=value)
            assert "horse" not in str(raised.value) and " refuses: " in str(raised.value)


def test_a_server_without_replicas_and_source_is_standalone(server: AnyServer) -> None:
    assert store(server).role() == Role("primary", writable=True)
    assert not store(server).is_dirty()


def test_hanging_mysql_is_unreachable_and_not_down(server: AnyServer) -> None:
    pid = server.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DatastoreUnreachable) as raised:
            store(server, timeout=0.3).is_up()
        assert not isinstance(raised.value, DatastoreDown)
    finally:
        os.kill(pid, signal.SIGCONT)
    await_that(server.answers)


@pytest.mark.parametrize("url", ["mysql+unix://root@/nowhere/at/all.sock", "mysql://root@127.0.0.1:{port}"])
def test_mysql_is_down_if_nothing_listens(server: AnyServer, url: str) -> None:
    url = url.format(port=free_port())
    assert not store(server, url=url).is_up()
    with pytest.raises(DatastoreDown, match="nothing listens at"):
        store(server, url=url).role()


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:horse@h", "mysql://h:horse/", "mysql://u:horse@h/db", "mysql://u:horse@h?x=1", "mysql://u:horse@[::1",
        "mysql+unix://u:horse@h/x", "mysql+unix:///run/x.sock?user=horse", "mysql://u:horse@h:horse", "mysql://u:horse@",
    ],
)  # fmt: skip
def test_invalid_url_stops_the_start_and_is_not_repeated(server: AnyServer, url: str) -> None:
    for option in ("url", "primary"):
        with pytest.raises(ConfigError, match=rf"^datastore\.{option}: ") as raised:
            store(server, **{option: url})
        assert "horse" not in str(raised.value)


def test_mysql_shuts_down_with_its_data_saved(server: AnyServer, database: str) -> None:
    as_root(server, "INSERT INTO shop.t VALUES (42)")
    driver, pid = store(server), server.pid
    message = driver.shut_down(20, Stop())
    assert message.endswith(f"at mysql+unix://{server.socket} (pid {pid}) has shut down")
    assert server.pid is None and not driver.is_up() and driver.is_dirty()
    with pytest.raises(DatastoreDown, match="nothing listens"):
        driver.shut_down(5, Stop())
    server.start()
    assert as_root(server, "SELECT x FROM shop.t") == [(42,)]


def test_missing_driver_is_named_with_its_extra(server: AnyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MySQL, "driver", "a_driver_that_nobody_installed")
    with pytest.raises(DriverMissing, match=r"install the agent with its extra \[mysql\]"):
        datastores.of(store(server).settings)
