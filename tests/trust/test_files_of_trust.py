"""A trusted file that another user owns or may write stops the start with the command that repairs it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import cli
from agent.auth import secret_file, trusted_file
from agent.auth.secret_file import SecretUnreadable
from agent.engine.lock import ExecutorLock
from tests.agent_process import AgentProcess
from tests.test_config import started_in_vain
from tests.trust.certificates import Authority
from tests.trust.guarded import write_tokens

NOBODY = 65534
REDIS = '[datastore]\nkind = "redis"\nurl = "redis://127.0.0.1:1"\n'
SECRETS = {
    "datastore.password_file": f'{REDIS}password_file = "{{file}}"\n',
    "datastore.peers.b.password_file": f'{REDIS}[datastore.peers.b]\nurl = "x"\npassword_file = "{{file}}"\n',
    "callbacks.secret": '[callbacks]\nurls = ["http://127.0.0.1:1/"]\nsecret = "{file}"\n',
    "applications.shop.ssh_key": '[applications.shop]\nrepository = "/x"\npath = "/x"\nssh_key = "{file}"\n',
    "applications.shop.known_hosts": '[applications.shop]\nrepository = "/x"\npath = "/x"\nknown_hosts = "{file}"\n',
    "caches.one.password_file": '[caches.one]\nkind = "redis"\nurl = "redis://127.0.0.1:1"\npassword_file = "{file}"\n',
}
OF_THE_DATABASE = ["agent.db", "agent.db-wal", "agent.db-shm", "agent.db.lock", "agent.db.key", "agent.db.jobs"]


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of an ended agent with all of its files."""
    agent = AgentProcess(tmp_path).start()
    agent.schedule("replicante.test.success", {}, headers={"Idempotency-Key": "one"})
    agent.kill_all()
    for name in OF_THE_DATABASE:
        path = tmp_path / name
        if name.endswith(".jobs"):
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    return tmp_path


@pytest.mark.parametrize("name", OF_THE_DATABASE)
def test_the_start_refuses_database_files_of_other_users(stopped: Path, name: str) -> None:
    path = stopped / name
    path.chmod(0o662)
    left = 600 if name.endswith((".lock", ".key")) else 640
    assert started_in_vain(stopped, "") == (
        f"agent: agent.db: {path}: users other than its owner may write it (mode 0662): run chmod {left} {path}"
    )
    path.chmod(0o600)
    os.chown(path, NOBODY, -1)
    message = started_in_vain(stopped, "")
    assert message == f"agent: agent.db: {path}: it belongs to nobody, not to root: run chown root {path}"


def test_database_readable_by_others_gets_mode_0600(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path).start()
    agent.kill_all()
    agent.db.chmod(0o644)
    agent.start()
    try:
        assert agent.db.stat().st_mode & 0o777 == 0o600
        assert f"{agent.db}: users other than its owner could read it (mode 0644): the mode is 0600" in agent.log_text()
    finally:
        agent.close()


@pytest.mark.parametrize("name", ["agent.db.lock", "agent.db.key"])
def test_lock_and_key_readable_by_others_stop_the_start(stopped: Path, name: str) -> None:
    path = stopped / name
    path.chmod(0o640)
    assert started_in_vain(stopped, "") == (
        f"agent: agent.db: {path}: users other than its owner may read it (mode 0640): run chmod 600 {path}"
    )


@pytest.mark.parametrize("name", ["agent.db.lock", "agent.db-wal", "agent.db.key"])
def test_symbolic_link_beside_the_database_stops_the_start(stopped: Path, name: str) -> None:
    (stopped / name).rename(stopped / "moved")
    (stopped / name).symlink_to("moved")
    message = started_in_vain(stopped, "")
    assert message == f"agent: agent.db: {stopped / name}: it is a symbolic link: run rm {stopped / name}"


def test_lock_is_not_taken_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "agent.db.lock").symlink_to("another")
    with pytest.raises(OSError, match="symbolic"):
        ExecutorLock(tmp_path / "agent.db").take()
    assert not (tmp_path / "another").exists()


def test_the_start_refuses_a_configuration_of_another_user(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.touch()
    file.chmod(0o664)
    expected = f"{file}: users other than its owner may write it (mode 0664): run chmod 644 {file}"
    assert started_in_vain(tmp_path, "") == f"agent: {expected}"


def test_reload_with_a_configuration_of_another_user_keeps_the_old_one(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path).start()
    try:
        os.chown(tmp_path / "agent.toml", NOBODY, -1)
        agent.reload()
        assert "it belongs to nobody" in agent.log_text()
        assert "stays active" in agent.log_text()
    finally:
        agent.close()


@pytest.mark.parametrize("option", SECRETS)
def test_the_start_refuses_a_secret_file_of_another_user(tmp_path: Path, option: str) -> None:
    file = tmp_path / "secret"
    file.write_text("a secret of twenty characters")
    file.chmod(0o602)
    message = started_in_vain(tmp_path, SECRETS[option].format(file=file))
    assert (
        message == f"agent: {option}: {file}: users other than its owner may write it (mode 0602): run chmod 600 {file}"
    )
    file.chmod(0o600)
    os.chown(file, NOBODY, -1)
    assert f"agent: {option}: {file}: it belongs to nobody" in started_in_vain(
        tmp_path, SECRETS[option].format(file=file)
    )


def test_secret_whose_owner_changed_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("a secret")
    assert secret_file.read(file) == "a secret"
    os.chown(file, NOBODY, -1)
    with pytest.raises(SecretUnreadable, match="it belongs to nobody"):
        secret_file.read(file)


@pytest.mark.parametrize("which", ["certificate", "key", "clients_ca"])
def test_the_start_refuses_tls_files_of_another_user(tmp_path: Path, authority: Authority, which: str) -> None:
    certificate, key = authority.server()
    files = {"certificate": certificate, "key": key, "clients_ca": authority.ca}
    own = {name: tmp_path / f"{name}.pem" for name in files}
    for name, file in files.items():
        own[name].write_bytes(file.read_bytes())
    own[which].chmod(0o666)
    text = "[api.tls]\n" + "".join(f'{name} = "{file}"\n' for name, file in own.items())
    message = started_in_vain(tmp_path, text)
    assert message.startswith(f"agent: api.tls.{which}: {own[which]}: users other than its owner may write it")


def test_folder_writable_by_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    file = write_tokens(folder / "tokens.toml")
    folder.chmod(0o777)
    message = started_in_vain(tmp_path, f'[api]\ntokens = "{file}"\n')
    assert message == (
        f"agent: api.tokens: {folder}: users other than its owner may write it (mode 0777): run chmod go-w {folder}"
    )
    folder.chmod(0o1777)
    trusted_file.check_file(file)


def test_config_check_reports_the_same_file_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f'[agent]\ndb = "{tmp_path}/agent.db"\n')
    file.chmod(0o646)
    assert cli.main(["config", "check", str(file)]) == 1
    expected = f"{file}: users other than its owner may write it (mode 0646): run chmod 644 {file}\n"
    assert capsys.readouterr().err == expected
