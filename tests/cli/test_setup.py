"""The parts of `agentctl setup` that need no booted host; tests/packages has the rest."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from agent.cli.exits import Usage
from agent.cli.setup import configuration, files, listening, record
from agent.cli.setup.accounts import mongodb, mysql, postgresql, redis
from agent.cli.setup.host import Server
from agent.cli.setup.listening import Listening
from tests.agent_process import CHECKOUT
from tests.cli.calling import call

DOCS = CHECKOUT / "docs"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "FILE", tmp_path / "setup.json")
    return tmp_path


def words(text: str) -> str:
    return " ".join(text.replace('"', "").split())


def test_listening_sockets_of_a_process_are_found(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as bound,
        socket.create_connection(tcp.getsockname()),
    ):
        unix.bind(str(tmp_path / "listens"))
        unix.listen()
        bound.bind(str(tmp_path / "only bound"))
        found = listening.of(os.getpid())
        port = tcp.getsockname()[1]
    assert port in found.ports
    assert [each for each in found.sockets if each.startswith(str(tmp_path))] == [str(tmp_path / "listens")]


def test_granted_rights_are_those_of_the_documentation() -> None:
    of_redis = words((DOCS / "redis.rst").read_text())
    assert f"ACL SETUSER agent on ><password> {redis.RIGHTS}" in of_redis
    of_mysql = words((DOCS / "mysql.rst").read_text())
    for grants in mysql.GRANTS.values():
        for grant in grants:
            assert words(grant.replace("%s@'localhost'", "agent")) in of_mysql, grant
    of_mongodb = words((DOCS / "mongodb.rst").read_text())
    assert "roles: [ userAdminAnyDatabase, dbAdminAnyDatabase, clusterAdmin, {role: read, db: local}]" in of_mongodb
    assert mongodb.ROLES[:3] == ["userAdminAnyDatabase", "dbAdminAnyDatabase", "clusterAdmin"]
    page = (DOCS / "postgresql.rst").read_text()
    for right in ("CREATEDB CREATEROLE", "pg_monitor", "pg_promote(boolean, integer), pg_reload_conf()",
                  "PARAMETER primary_conninfo, primary_slot_name, restore_command", "pg_checkpoint"):  # fmt: skip
        assert right in page and right in postgresql.CREATE + postgresql.CREATE_15


def test_file_is_written_and_removed_by_undo(place: Path) -> None:
    file = place / "new/agent.toml"
    change = files.write(file, "[agent]\n", "a test")
    assert not change.is_made() and change.note is not None
    record.add(change.note)
    change.make()
    assert change.is_made() and file.read_text() == "[agent]\n"
    assert files.write(file, "[agent]\n", "a test").is_made()
    assert files.undo(change.note) == f"removed {file}" and not file.parent.exists()
    assert files.undo(change.note) == ""


def test_packaged_file_without_options_is_restored_by_undo(place: Path) -> None:
    file = place / "agent.toml"
    file.write_text("# nothing is set\n")
    for text in ("[agent]\n", "[agent]\nnode = 'b'\n"):
        change = files.write(file, text, "a test")
        assert change.note is not None
        record.write([change.note])
        change.make()
    assert change.note is not None
    assert files.undo(change.note) == f"put back {file} as it was"
    assert file.read_text() == "# nothing is set\n" and place.exists()


def test_a_file_of_an_operator_is_neither_replaced_nor_removed(place: Path) -> None:
    file = place / "agent.toml"
    file.write_text("[agent]\nnode = 'mine'\n")
    with pytest.raises(Usage, match="move it away"):
        files.write(file, "[agent]\n", "a test")
    file.unlink()
    change = files.write(file, "[agent]\n", "a test")
    assert change.note is not None
    record.add(change.note)
    change.make()
    file.write_text("[agent]\nnode = 'changed'\n")
    assert files.write(file, "[agent]\n", "a test").is_made()
    assert files.undo(change.note) == f"kept {file}: it was changed since"
    assert file.read_text() == "[agent]\nnode = 'changed'\n"


def test_a_damaged_record_is_named(place: Path) -> None:
    record.FILE.write_text("{}")
    with pytest.raises(Usage, match="no record of setup"):
        record.read()


@pytest.mark.parametrize("tls_names", [(), ("db-1.example.com", "db-1")])
def test_written_configuration_has_no_mistake(tmp_path: Path, tls_names: tuple[str, ...]) -> None:
    nowhere = Path("/nonexistent")
    server = Server("valkey", "valkey-server.service", 1, "valkey", nowhere, nowhere, (), Listening((), (6379,)))
    file = tmp_path / "agent.toml"
    options = {"url": "redis://agent@127.0.0.1:6379"}
    text = configuration.text(server, options, Path("/etc/agent/datastore.password"), tls_names)
    file.write_text(text)
    checked = call(None, "config", "diff", str(file))
    assert checked.status == 0 and 'datastore = {"kind": "redis"' in checked.stdout, checked
    assert ("0.0.0.0:8000" in text) == bool(tls_names)
