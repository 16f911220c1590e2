"""An agent that cannot authenticate its callers serves nobody but its own machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import cli
from tests.agent_process import PREFIX, StartAgent
from tests.test_config import started_in_vain
from tests.trust.certificates import Authority
from tests.trust.guarded import DBA_TOKEN, THREE, StartGuarded, assert_refused, table, write_tokens

WARNING = "callers are not authenticated"


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "[::]:8000", "192.0.2.1:8000", "db-1.example.com:8000"])
def test_non_loopback_address_without_tokens_is_refused(tmp_path: Path, bind: str) -> None:
    message = started_in_vain(tmp_path, f'[api]\nbind = "{bind}"\n', AGENT_BIND="")
    assert "api.bind: expected a loopback address or unix:/path as long as neither api.tokens nor" in message
    assert bind in message


def test_tls_without_tokens_does_not_allow_a_non_loopback_address(tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.server()
    text = f'[api]\nbind = "0.0.0.0:8000"\n[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    assert "neither api.tokens nor api.tls.clients_ca is set" in started_in_vain(tmp_path, text, AGENT_BIND="")


def test_non_loopback_address_in_the_environment_is_refused(tmp_path: Path) -> None:
    assert "AGENT_BIND: expected a loopback address" in started_in_vain(tmp_path, "", AGENT_BIND="0.0.0.0:8000")


def test_agent_with_tokens_listens_anywhere_with_a_warning_without_tls(start_guarded: StartGuarded) -> None:
    everywhere = start_guarded(everywhere=True)
    assert_refused(everywhere.get(f"{PREFIX}/queue", headers={"Authorization": None}), 401, "Unauthenticated")
    assert everywhere.queue() == []
    assert WARNING not in everywhere.whole_log()
    assert everywhere.log_text().count("tokens travel unencrypted") == 1


@pytest.mark.parametrize("unix", [True, False])
def test_agent_without_tokens_warns_once_about_missing_authentication(start_agent: StartAgent, unix: bool) -> None:
    agent = start_agent(unix=unix)
    lines = [line for line in agent.log_text().splitlines() if WARNING in line]
    assert len(lines) == 1
    assert lines[0].startswith("WARNING ")


def test_agent_with_tokens_on_loopback_logs_no_warning(start_guarded: StartGuarded) -> None:
    assert "WARNING" not in start_guarded().whole_log()


# The file of tokens


def refused(tmp_path: Path, tokens: Path) -> str:
    """The message of an agent that does not start with this file."""
    text = started_in_vain(tmp_path, f'[api]\ntokens = "{tokens}"\n')
    assert text.startswith(f"agent: {tokens}: ")
    return text


def test_missing_tokens_file_stops_the_start(tmp_path: Path) -> None:
    assert "cannot be read: there is no such file" in refused(tmp_path, tmp_path / "tokens.toml")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_tokens_file_readable_or_writable_by_others_stops_the_start(
    tmp_path: Path, tokens_file: Path, mode: int
) -> None:
    tokens_file.chmod(mode)
    what = "write" if mode & 0o022 else "read"
    expected = f"users other than its owner may {what} it (mode {mode:04o}): run chmod 600 {tokens_file}"
    assert refused(tmp_path, tokens_file) == f"agent: {tokens_file}: {expected}"


def test_mistake_in_the_tokens_file_stops_the_start_and_is_located(tmp_path: Path) -> None:
    file = write_tokens(tmp_path / "tokens.toml", table("a@example.com", "x", ["*"]).replace('["*"]', "7"))
    assert refused(tmp_path, file).endswith("a@example.com.kinds: expected a list of texts, got 7")


def test_token_in_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    file = write_tokens(tmp_path / "tokens.toml", f'["a@example.com"]\nsha256 = "{DBA_TOKEN}"\n')
    message = refused(tmp_path, file)
    assert "a@example.com.sha256: expected 64 hexadecimal digits" in message
    assert DBA_TOKEN not in message


# The files of encryption


@pytest.mark.parametrize("wrong", ["certificate", "key", "clients_ca"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_tls_file_stops_the_start(
    tmp_path: Path, authority: Authority, wrong: str, content: str | None
) -> None:
    certificate, key = authority.server()
    files = {"certificate": certificate, "key": key, "clients_ca": authority.ca} | {wrong: tmp_path / "wrong.pem"}
    if content is not None:
        files[wrong].write_text(content)
    text = "[api.tls]\n" + "".join(f'{name} = "{file}"\n' for name, file in files.items())
    message = started_in_vain(tmp_path, text)
    assert f"api.tls.{wrong} {files[wrong]}" in message
    assert "cannot be used" in message


def test_reload_with_a_broken_tokens_file_admits_no_caller_until_corrected(
    start_guarded: StartGuarded, tokens_file: Path
) -> None:
    guarded = start_guarded()
    write_tokens(tokens_file, f"{THREE}[broken\n")
    assert guarded.get(f"{PREFIX}/queue").status == 200
    guarded.reload()
    assert_refused(guarded.get(f"{PREFIX}/queue"), 401, "Unauthenticated")
    assert "no token is valid until the file is corrected" in guarded.log_text()
    write_tokens(tokens_file)
    assert guarded.get(f"{PREFIX}/queue").status == 200


# The files of signing secrets

SIGNED_WITH = {
    "applications.shop.hook_secret": '[applications.shop]\nrepository = "/x"\npath = "/x"\nhook_secret = "{file}"\n',
    "callbacks.secret": '[callbacks]\nurls = ["http://127.0.0.1:1/"]\nsecret = "{file}"\n',
}


@pytest.mark.parametrize("option", SIGNED_WITH)
def test_unreadable_secret_stops_the_start_and_is_found_by_config_check(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret"
    text = SIGNED_WITH[option].format(file=file)
    assert started_in_vain(tmp_path, text) == f"agent: {option}: {file} cannot be read: No such file or directory"
    file.touch()
    assert cli.main(["config", "check", str(tmp_path / "agent.toml")]) == 1
    assert capsys.readouterr().err == f"{option}: {file} is empty\n"
    file.write_text("fifteen letters")
    assert cli.main(["config", "check", str(tmp_path / "agent.toml")]) == 1
    short = f"{option}: {file} holds 15 characters, and a signing key needs at least 16: make one with "
    assert capsys.readouterr().err == f"{short}openssl rand -hex 32\n"
    file.write_text("sixteen letters.")
    file.chmod(0o620)
    assert cli.main(["config", "check", str(tmp_path / "agent.toml")]) == 1
    message = f"{option}: {file}: users other than its owner may write it (mode 0620): run chmod 600 {file}\n"
    assert capsys.readouterr().err == message
    file.chmod(0o640)
    assert cli.main(["config", "check", str(tmp_path / "agent.toml")]) == 0


@pytest.mark.parametrize("option", SIGNED_WITH)
def test_credential_is_read_from_the_credentials_directory(tmp_path: Path, option: str) -> None:
    text = SIGNED_WITH[option].format(file="credential:one")
    message = started_in_vain(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path))
    missing = "the agent's unit passes no credential one: add LoadCredential=one:/path/of/the/file"
    assert message == f"agent: {option}: {missing}"


def test_unit_without_credentials_does_not_start(tmp_path: Path) -> None:
    text = SIGNED_WITH["callbacks.secret"].format(file="credential:one")
    message = started_in_vain(tmp_path, text, NOTIFY_SOCKET=str(tmp_path / "nobody"))
    assert message.startswith("agent: callbacks.secret: the agent's unit passes no credential one: ")


def test_path_that_may_be_the_secret_is_not_repeated(tmp_path: Path) -> None:
    text = SIGNED_WITH["callbacks.secret"].format(file="battery-staple")
    message = started_in_vain(tmp_path, text)
    assert message.startswith("agent: callbacks.secret: there is no such file; ") and "battery" not in message
