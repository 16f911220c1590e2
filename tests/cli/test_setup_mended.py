"""`agentctl setup` after an interruption, and `--remove` after changes by others."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.auth.tokens import read
from agent.cli import setup
from agent.cli.exits import Usage
from agent.cli.setup import access, certificate, host, plan, programs, record, units
from agent.cli.setup.accounts import account, postgresql, redis, users_file
from agent.cli.setup.change import Change, Note
from agent.cli.setup.host import Server
from agent.cli.setup.listening import Listening
from tests.cli.calling import call
from tests.servers.postgresql import PostgresServer
from tests.servers.redis import RedisServer

NOWHERE = Path("/nonexistent")
SERVER = Server("redis", "redis.service", 1, "redis", NOWHERE, NOWHERE, (), Listening((), (1,)))
EMAIL = "admin@here"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(record, "FILE", tmp_path / "setup.json")
    monkeypatch.setattr(account, "PASSWORD_FILE", tmp_path / "datastore.password")
    monkeypatch.setattr(access, "TOKENS", tmp_path / "tokens.toml")
    monkeypatch.setattr(access, "TOKEN", tmp_path / "admin.token")
    monkeypatch.setattr(access, "FILE", tmp_path / "agent.toml")
    monkeypatch.setattr(certificate, "CERTIFICATE", tmp_path / "server.pem")
    monkeypatch.setattr(certificate, "KEY", tmp_path / "server.key")
    (tmp_path / "agent.toml").write_text(f'[agent]\ndb = "{tmp_path}/agent.db"\n')
    return tmp_path


def apply(change: Change) -> Note:
    """Make the change like `agentctl setup`; returns its note in the record."""
    assert change.note is not None
    record.add(change.note, begin=True)
    record.finish(change.note, change.make())
    return record.read()[-1]


def test_interrupted_change_is_made_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without its rights may look complete."""
    account_file, rights = place / "account", place / "rights"

    def make() -> None:
        is_first = not account_file.exists()
        account_file.touch()
        if is_first:
            raise KeyboardInterrupt
        rights.touch()

    change = Change("create the account", account_file.exists, make, {"what": "account", "user": "agent"})
    monkeypatch.setattr(host, "find", lambda datastore, unit: SERVER)
    monkeypatch.setattr(plan, "changes", lambda *args, **more: [change])
    monkeypatch.setattr(setup, "_prove", lambda *, ping: 0)
    call(None, "setup")
    assert account_file.exists() and not rights.exists()
    assert "create the account" in call(None, "setup").stderr
    assert rights.exists()
    assert "nothing to change" in call(None, "setup").stderr


def test_the_password_is_written_before_the_account_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a kill in between leaves an account with a lost password."""
    monkeypatch.setattr(units, "install", lambda: iter(()))
    monkeypatch.setattr(units, "user", lambda name: iter(()))
    made = account.Account({}, (Change("create the account", bool, lambda: None),), "battery-staple")
    order = plan._in_order(SERVER, "agent", made, (), "")
    assert f"write {account.PASSWORD_FILE}: " in next(order).description
    assert next(order).description == "create the account"


def test_programs_do_not_see_the_passwords_of_administrators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some programs run as the agent's user, who can read the environment of its processes."""
    for name in programs.OF_ADMINISTRATORS:
        monkeypatch.setenv(name, "battery-staple")
    assert "battery-staple" not in programs.run(["env"])
    assert "AGENT_CONFIG=x\n" in programs.run(["env"], more={"AGENT_CONFIG": "x"})


def test_a_certificate_of_an_operator_is_neither_replaced_nor_removed(place: Path) -> None:
    key, pem = place / "server.key", place / "server.pem"
    key.write_text("precious")
    with pytest.raises(Usage) as refused:
        certificate.make(["db-1"], "root")
    how = "and setup would replace it: move it away, or add the other file"
    assert str(refused.value) == f"only {key} exists, {how}"
    key.unlink()
    note = apply(certificate.make(["db-1"], "root"))
    key.write_text("precious")
    kept = f"kept {key}: it was changed since"
    assert certificate.undo(note) == f"removed {pem}; {kept}"
    assert key.read_text() == "precious" and not pem.exists()


def test_tokens_of_an_operator_are_kept(place: Path) -> None:
    """Also tokens of the identity of setup's own token, and after that token was revoked."""
    config = str(place / "agent.toml")
    tokens_file, token_file = place / "tokens.toml", place / "admin.token"
    token = ("token", "create", EMAIL, "--kinds", "*", "--file", str(tokens_file))
    assert call(None, *token, AGENT_CONFIG=config).status == 0
    before = tokens_file.read_text()
    note = apply(access.tokens(EMAIL, "root"))
    assert len(read(tokens_file)[0].by_email[EMAIL].tokens) == 2
    assert access.undo(note) == f"kept {tokens_file}: it has more identities"
    assert tokens_file.read_text().strip() == before.strip() and not token_file.exists()
    assert access.undo(note) == f"kept {tokens_file}: {EMAIL} was there before; run agentctl token list for its tokens"
    tokens_file.unlink()
    note = apply(access.tokens(EMAIL, "root"))
    revoke = ("token", "revoke", EMAIL, "--file", str(tokens_file))
    assert call(None, *revoke, AGENT_CONFIG=config).status == 0
    assert access.undo(note) == f"removed {tokens_file} and {token_file}"


def test_an_empty_tokens_file_of_a_killed_setup_is_written_again(place: Path) -> None:
    """tee created the file, and its input ended early: root of this host could not call the agent."""
    tokens_file = place / "tokens.toml"
    tokens_file.touch(mode=0o600)
    note = apply(access.tokens(EMAIL, "root"))
    assert set(tomllib.loads(tokens_file.read_text())) == {"unix", EMAIL}
    (place / "admin.token").unlink()
    tokens_file.write_text("")
    assert access.undo(note) == f"removed {tokens_file} and {place / 'admin.token'}"


def out_of_time(argv: Sequence[str]) -> bool:
    raise Usage("systemctl disable: timed out after 120 seconds")


def test_an_account_that_cannot_be_dropped_stays_in_the_record(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """The server is down, or requires a password: the next run removes the account."""
    account_note = {"what": "account", "datastore": "redis", "user": "agent"}
    account_note |= {"url": "redis://127.0.0.1:1", "file": "/nonexistent/redis.conf"}
    record.write([{"what": "setup", "unit": "redis.service", "user": "agent"}, account_note, {"what": "units"}])
    monkeypatch.setattr(programs, "run", lambda argv, **more: "")
    with monkeypatch.context() as slow:
        slow.setattr(programs, "succeeds", out_of_time)
        assert call(None, "setup", "--remove").status == 2 and len(record.read()) == 3, "the agent still runs"
    monkeypatch.setattr(programs, "succeeds", lambda argv: True)
    ended = call(None, "setup", "--remove")
    assert ended.status == 1
    assert "kept account agent: redis://127.0.0.1:1: Error " in ended.stderr
    assert ended.stderr.endswith("; then run agentctl setup --remove again\n")
    assert record.read() == [account_note]
    monkeypatch.setitem(plan.UNDO_ACCOUNT, "redis", lambda note: "deleted")
    assert call(None, "setup", "--remove").status == 0 and not record.FILE.exists()


def test_a_server_without_peer_authentication_is_named() -> None:
    failing = ["sh", "-c", "echo fe_sendauth: no password supplied >&2; exit 2"]
    with pytest.raises(Usage) as refused:
        postgresql._exists(failing, "agent")
    why = "psql as the owner of the server failed with status 2: fe_sendauth: no password supplied"
    assert str(refused.value) == f"{why}; setup needs peer authentication of the owner in pg_hba.conf"


def test_role_that_owns_a_table_is_kept(postgres_server: PostgresServer) -> None:
    argv = [str(postgres_server.bin / "psql"), "-U", "postgres", "-h", str(postgres_server.dir)]
    psql = [*argv, "-p", str(postgres_server.port)]
    note = {"user": "agent", "psql": psql}
    for _ in range(2):
        postgresql._create(psql, "agent")
    postgres_server.psql("CREATE TABLE of_agent (); ALTER TABLE of_agent OWNER TO agent")
    why = "it owns databases or tables; run REASSIGN OWNED, then DROP ROLE"
    assert postgresql.undo(note) == f"kept the role agent of PostgreSQL: {why}"
    postgres_server.psql("DROP TABLE of_agent")
    assert postgresql.undo(note) == "dropped the role agent of PostgreSQL"


def test_edits_in_the_configuration_of_redis_are_kept(server_dir: Path) -> None:
    """CONFIG REWRITE would write the values of the running server."""
    of_root = server_dir / "folder/redis.conf"
    of_root.parent.mkdir()
    of_root.write_text("timeout 0")
    shutil.chown(of_root.parent, "nobody")
    users_file.add(str(of_root), "user agent on nopass")
    assert of_root.read_text() == "timeout 0\nuser agent on nopass\n"
    with RedisServer(server_dir / "redis", appendonly=False) as server:
        there = Server("redis", "redis.service", 1, "redis", NOWHERE, NOWHERE, (), Listening((str(server.socket),), ()))
        edited = f"{server.config.read_text()}maxmemory 100mb\nuser agentsmith on nopass +ping"
        server.config.write_text(edited)
        (change,) = redis.account(there, "agent").changes
        assert change.note is not None
        for _ in range(2):
            change.make()
        (line,) = server.config.read_text().removeprefix(f"{edited}\n").splitlines()
        assert line.startswith("user agent on ") and "agent" in server.cli("acl", "users").split()
        server.stop()
        server.start()
        assert "agent" in server.cli("acl", "users").split()
        assert redis.undo(change.note) == "deleted the user agent of Redis"
        assert server.config.read_text() == f"{edited}\n" and "agent" not in server.cli("acl", "users").split()
