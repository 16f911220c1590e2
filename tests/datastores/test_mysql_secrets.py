"""No file of the server holds a password given to the agent: no binary log, no general log, no slow log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import DatastoreRefused, UserChanges
from agent.datastores.mysql import passwords
from agent.datastores.mysql.session import connect
from tests.datastores.mysql_family import MAKES, AnyServer, as_root, login, store
from tests.servers.process import free_port

PASSWORD = "clear-horse-7"


@pytest.fixture(scope="module", params=MAKES)
def logging(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[AnyServer]:
    """A server that logs every statement unchanged."""
    with MAKES[request.param](module_dir / request.param) as started:
        as_root(started, "CREATE DATABASE shop")
        for setting in ("general_log = ON", "slow_query_log = ON", "long_query_time = 0"):
            as_root(started, f"SET GLOBAL {setting}")
        if isinstance(started, MAKES["mysql"]):
            as_root(started, "SET PERSIST_ONLY log_raw = ON")
            started.stop()
            started.start()
            assert as_root(started, "SELECT @@log_raw") == [(1,)]
            as_root(started, "SET GLOBAL general_log = ON")
        yield started


def test_a_password_is_in_no_file_of_the_server(logging: AnyServer) -> None:
    as_root(logging, "CREATE USER seen IDENTIFIED BY 'horse-in-the-log'")
    assert files_with(logging, b"horse-in-the-log"), "the server logs what it is sent"
    store(logging).create_user("seller", PASSWORD, ["shop"], "readwrite")
    with login(logging, "seller", PASSWORD, "shop"):
        pass
    as_root(logging, "FLUSH LOGS")
    assert files_with(logging, PASSWORD.encode()) == []


def test_the_password_for_replication_is_in_no_log(logging: AnyServer) -> None:
    """The server stores it in plain text, because it must log in with it; no log has it."""
    with connect(store(logging).at, 5) as session:
        session.run(session.dialect.follow, "127.0.0.1", free_port(), "replicator", PASSWORD, secret=PASSWORD)
        session.run("RESET REPLICA ALL")
    logs = [each for each in files_with(logging, PASSWORD.encode()) if ".log" in each or "/bin." in each]
    assert logs == []


def test_hash_made_by_the_agent_equals_that_of_the_server(logging: AnyServer) -> None:
    if isinstance(logging, MAKES["mariadb"]):
        assert as_root(logging, "SELECT PASSWORD(%s)", PASSWORD) == [(passwords.native(PASSWORD),)]
        return
    as_root(logging, "CREATE USER twin IDENTIFIED WITH caching_sha2_password BY %s", PASSWORD)
    [(stored,)] = as_root(logging, "SELECT CAST(authentication_string AS BINARY) FROM mysql.user WHERE user = 'twin'")
    assert passwords.matches(PASSWORD, stored)
    assert not passwords.matches(f"{PASSWORD}x", stored)


def test_password_that_no_client_can_send_is_refused() -> None:
    passwords.caching_sha2("é" * 128)
    with pytest.raises(DatastoreRefused, match="more than 256 bytes: shorten it"):
        passwords.caching_sha2("é" * 129)


def test_password_policy_of_the_server_applies_to_a_hash(logging: AnyServer) -> None:
    if isinstance(logging, MAKES["mariadb"]):  # the server itself refuses
        as_root(logging, "INSTALL SONAME 'simple_password_check'")
        with pytest.raises(DatastoreRefused, match="strict-password-validation"):
            store(logging).create_user("weak", "all-lower-case", [], "readonly")
        as_root(logging, "UNINSTALL SONAME 'simple_password_check'")
        return
    as_root(logging, "INSTALL COMPONENT 'file://component_validate_password'")
    with pytest.raises(DatastoreRefused, match=r"rules: validate_password\.mixed_case_count = 1, number_count = 1$"):
        store(logging).create_user("weak", "all-lower-case", [], "readonly")
    store(logging).create_user("strong", "Mixed-Case-1", [], "readonly")
    with pytest.raises(DatastoreRefused, match=r"validate_password\.length = 8"):
        store(logging).update_user("strong", UserChanges(password="Ab-1"))
    as_root(logging, "UNINSTALL COMPONENT 'file://component_validate_password'")
    store(logging).delete_user("strong")


def files_with(server: AnyServer, secret: bytes) -> list[str]:
    """The files of the server, its log included, that contain these bytes."""
    return [str(each) for each in server.dir.rglob("*") if each.is_file() and secret in each.read_bytes()]
