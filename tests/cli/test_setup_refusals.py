"""Refusals of `agentctl setup` before any change, each with its message."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest

from agent.cli.exits import Missing, Usage
from agent.cli.setup import certificate, files, host, plan, programs, record, units
from agent.cli.setup.accounts import account, mongodb, mysql, postgresql, redis
from agent.cli.setup.host import Server
from agent.cli.setup.listening import Listening
from tests.cli.calling import call
from tests.servers.redis import RedisServer

BY_HAND = "write /etc/agent/agent.toml by hand"
FOLDER = Path("/nonexistent")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "FILE", tmp_path / "setup.json")
    monkeypatch.setattr(account, "PASSWORD_FILE", tmp_path / "datastore.password")
    return tmp_path


def server(datastore: str, *, sockets: Sequence[str] = (), ports: Sequence[int] = (), folder: Path = FOLDER) -> Server:
    listens = Listening(tuple(sockets), tuple(ports))
    return Server(datastore, f"{datastore}.service", 1, "owner", folder, FOLDER, (), listens)


def refused(ask: Callable[[], object]) -> str:
    with pytest.raises((Usage, Missing)) as error:
        ask()
    return str(error.value)


def test_user_other_than_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    ended = call(None, "setup")
    assert (ended.status, ended.stderr) == (2, "setup writes files of root: run it as root\n")


def test_second_concurrent_setup_is_refused() -> None:
    with record.alone():
        for words in ((), ("--remove",)):
            ended = call(None, "setup", *words)
            message = "another agentctl setup runs on this host: wait for its end\n"
            assert (ended.status, ended.stderr) == (2, message)


def test_host_with_no_or_several_servers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "servers", lambda: iter(()))
    assert refused(lambda: host.find("redis")) == "redis does not run here as a unit of systemd: start it first"
    none = "none of postgresql, mariadb, mysql, redis, valkey, mongodb runs here as a unit of systemd: start it first"
    assert refused(lambda: host.find(None)) == none
    monkeypatch.setattr(host, "servers", lambda: iter((server("redis"), server("mysql"))))
    several = "several datastores run on this host, and an agent manages one: name it with --datastore: "
    assert refused(lambda: host.find(None)) == f"{several}redis (redis.service), mysql (mysql.service)"
    two = (server("redis"), replace(server("redis"), unit="redis@b.service"))
    monkeypatch.setattr(host, "servers", lambda: iter(two))
    several = "several datastores run on this host, and an agent manages one: name it with --unit: "
    assert refused(lambda: host.find("redis")) == f"{several}redis (redis.service), redis (redis@b.service)"
    assert host.find(None, "redis@b") is host.find("redis", "redis@b.service") is two[1]
    gone = "redis@c does not run here as a unit of systemd: start it first"
    assert refused(lambda: host.find(None, "redis@c")) == gone


def test_host_set_up_for_another_server_is_refused() -> None:
    record.write([{"what": "setup", "unit": "redis.service", "user": "agent"}])
    sentence = "this host is set up for redis.service with the user agent: run agentctl setup --remove first"
    assert refused(lambda: plan.changes(server("mysql"), "agent", tls=False)) == sentence


def test_foreign_file_damaged_record_and_missing_user_are_refused(place: Path) -> None:
    (place / "agent.toml").write_text("[agent]\n")
    sentence = "agent.toml was not written by setup: move it away, then run agentctl setup again"
    assert refused(lambda: files.write(place / "agent.toml", "", "a test")).endswith(sentence)
    record.FILE.write_text("{}")
    damaged = "is no record of setup: undo the changes of setup by hand, then remove the file"
    assert refused(record.read) == f"{record.FILE} {damaged}"
    sentence = "there is no user no-such-user on this host: create it first, or leave out --user"
    assert refused(lambda: list(units.user("no-such-user"))) == sentence


def test_failing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = ["sh", "-c", "echo no; exit 3"]
    assert refused(lambda: programs.run(failing, name="psql")) == "psql failed with status 3: no"
    missing = "/no/such/program: [Errno 2] No such file or directory: '/no/such/program'"
    assert refused(lambda: programs.run(["/no/such/program"])) == missing
    assert refused(lambda: programs.succeeds(["/no/such/program"])) == missing

    def run(argv: Sequence[str]) -> None:
        if argv[1:] == ["restart", "agent.service"]:
            raise Usage("systemctl restart agent.service failed with status 1: no")

    monkeypatch.setattr(programs, "run", run)
    monkeypatch.setattr(programs, "succeeds", lambda argv: True)
    failed = "systemctl restart agent.service failed with status 1: no"
    assert refused(units.start().make) == f"{failed}; run journalctl -u agent -n 20"


@pytest.mark.parametrize(
    ("ask", "extra"),
    [
        (lambda: mysql.account(server("mysql", sockets=["/s"]), "agent"), "mysql"),
        (lambda: mongodb.account(server("mongodb", ports=[1]), "agent"), "mongodb"),
        (lambda: redis.account(server("redis", ports=[1]), "agent"), "redis"),
    ],
)
def test_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object], extra: str) -> None:
    for module in ("pymysql", "pymongo", "redis"):
        monkeypatch.setitem(sys.modules, module, None)
    assert refused(ask) == f"the driver is missing: install the agent with its extra [{extra}]"


def test_tls_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    made = certificate.make(["db-1"], "root")
    assert refused(made.make) == "--tls needs the package cryptography: install the agent with its extra [mysql]"


def test_server_without_a_usable_address_is_refused() -> None:
    on_none = "redis.service listens neither on 127.0.0.1 nor on a unix socket"
    assert refused(lambda: redis.account(server("redis"), "agent")) == f"{on_none}: {BY_HAND}"
    on_no_port = "mongodb.service does not listen on 127.0.0.1: write /etc/agent/agent.toml by hand"
    assert refused(lambda: mongodb.account(server("mongodb"), "agent")) == on_no_port
    on_no_socket = f"mysql.service listens on no unix socket: configure one, or {BY_HAND}"
    assert refused(lambda: mysql.account(server("mysql"), "agent")) == on_no_socket


def test_standby_without_the_role_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "postmaster.pid").write_text("1\n/data\n0\n5432\n/run/postgresql\n")
    monkeypatch.setattr(programs, "run", lambda argv, **_: "t\n")  # in recovery, and no role
    sentence = "this server is a standby without the role agent: run agentctl setup on its primary first"
    assert refused(lambda: postgresql.account(server("postgresql", folder=place), "agent")) == sentence


class Cursor:
    """A stand-in for MySQL: answers to the statements with these words."""

    def __init__(self, answers: dict[str, object]) -> None:
        self._answers = answers
        self._found: object = None

    def execute(self, statement: str, values: Sequence[str] = ()) -> None:
        self._found = next(answer for words, answer in self._answers.items() if words in statement)

    def fetchone(self) -> tuple[object]:
        return (self._found,)


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (
            {"version()": "11.4.2-MariaDB", "mysql.user": 0, "read_only": 1},
            "this server is read-only and has no account agent: run agentctl setup on its primary first",
        ),
        (
            {"version()": "9.7.0", "mysql.user": 1, "read_only": 0},
            "MySQL has an account agent@localhost that setup did not make: drop it, or name another --user",
        ),
    ],
)
def test_account_that_cannot_be_created_in_mysql_is_refused(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, object], sentence: str
) -> None:
    @contextmanager
    def root(socket: str) -> Any:
        yield Cursor(answers)

    monkeypatch.setattr(mysql, "_root", root)
    assert refused(lambda: mysql.account(server("mysql", sockets=["/s"]), "agent")) == sentence


def test_failed_login_of_root_in_mysql_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(**login: object) -> None:
        raise pymysql.MySQLError(1045, "Access denied")

    monkeypatch.setattr(pymysql, "connect", connect)
    sentence = "root of the server at /s failed with error 1045; name root's password in $MYSQL_PWD"
    assert refused(lambda: mysql.account(server("mysql", sockets=["/s"]), "agent")) == sentence


def test_existing_user_of_mongodb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def admin(port: int) -> Any:
        yield SimpleNamespace(command=lambda name, user: {"users": [user]})

    monkeypatch.setattr(mongodb, "_admin", admin)
    sentence = "MongoDB has a user agent that setup did not make: drop it, or name another --user"
    assert refused(lambda: mongodb.account(server("mongodb", ports=[1]), "agent")) == sentence


def test_failed_login_of_the_mongodb_administrator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongodb, "MILLISECONDS", 50)
    sentence = "MongoDB on port 1 refused the command with error None"
    assert refused(lambda: mongodb.account(server("mongodb", ports=[1]), "agent")) == sentence


@pytest.mark.parametrize(
    ("aclfile", "sentence"),
    [
        ("", f"redis.service has no configuration file to keep users in: {BY_HAND}"),
        ("/users.acl", "redis has a user agent that setup did not make: delete it, or name another --user"),
    ],
)
def test_volatile_or_existing_users_of_redis_are_refused(
    monkeypatch: pytest.MonkeyPatch, aclfile: str, sentence: str
) -> None:
    @contextmanager
    def admin(url: str, file: Path | None) -> Any:
        yield SimpleNamespace(
            config_get=lambda name: {"aclfile": aclfile},
            info=lambda section: {"config_file": ""},
            acl_users=lambda: ["agent"],
        )

    monkeypatch.setattr(redis, "_admin", admin)
    assert refused(lambda: redis.account(server("redis", ports=[1]), "agent")) == sentence


def test_failed_login_of_the_redis_administrator_is_named(server_dir: Path) -> None:
    with RedisServer(server_dir / "redis", password="battery-staple", appendonly=False) as guarded:
        there = server("redis", sockets=[str(guarded.socket)])
        sentence = f"unix://{guarded.socket} refuses its user default: name its password in $REDISCLI_AUTH"
        assert refused(lambda: redis.account(there, "agent")) == sentence
    assert refused(lambda: redis.account(there, "agent")).startswith(f"unix://{guarded.socket}: Error ")
