"""Accounts that `agentctl setup` creates in MySQL and in a server of MongoDB's protocol, which no node has."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import config, datastores
from agent.cli.setup import configuration, record
from agent.cli.setup.accounts import account, mongodb, mysql
from agent.cli.setup.accounts.account import Account
from agent.cli.setup.host import Server
from agent.cli.setup.listening import Listening
from agent.config import toml
from tests.servers.mongodb import MongoServer
from tests.servers.mysql import MySQLServer


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "FILE", tmp_path / "setup.json")
    monkeypatch.setattr(account, "PASSWORD_FILE", tmp_path / "datastore.password")
    return tmp_path


def server(datastore: str, sockets: tuple[str, ...] = (), ports: tuple[int, ...] = ()) -> Server:
    folder = Path("/nonexistent")
    return Server(datastore, f"{datastore}.service", 1, datastore, folder, folder, (), Listening(sockets, ports))


def logs_in(there: Server, made: Account) -> bool:
    """Whether the agent reads the server's state with the configuration that setup writes."""
    assert made.password is not None
    account.PASSWORD_FILE.write_text(made.password + "\n")
    account.PASSWORD_FILE.chmod(0o600)
    text = configuration.text(there, made.options, account.PASSWORD_FILE, ())
    settings = config.parse(toml.loads(text)).datastore
    assert settings is not None
    return datastores.of(settings).status().reachable


def test_mysql_account_is_created_and_dropped(mysql_server: MySQLServer) -> None:
    there = server("mysql", sockets=(str(mysql_server.socket),))
    made = mysql.account(there, "agent")
    (change,) = made.changes
    assert "without a resync" in change.description and not change.is_made() and change.note is not None
    change.make()
    assert change.is_made() and logs_in(there, made)
    assert mysql.account(there, "agent").password == made.password
    assert mysql.undo(change.note) == "dropped the account agent@localhost"
    assert not change.is_made() and mysql.undo(change.note) == ""


def test_mongodb_user_is_created_and_dropped(mongo_server: MongoServer) -> None:
    there = server("mongodb", ports=(mongo_server.port,))
    made = mongodb.account(there, "agent")
    (change,) = made.changes
    assert not change.is_made() and change.note is not None
    change.make()
    assert change.is_made() and logs_in(there, made)
    assert mongodb.undo(change.note) == "dropped the user agent of MongoDB"
    assert not change.is_made() and mongodb.undo(change.note) == ""
