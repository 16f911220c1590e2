"""`agentctl token create` prints a token once and stores its hash."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest.mock import ANY

import pytest

from agent import cli
from agent.auth import token_file
from agent.auth.tokens import Tokens
from tests.agent_process import PREFIX
from tests.conformance.shapes import PING
from tests.trust.guarded import DBA, DBA_TOKEN, StartGuarded, bearer, write_tokens

NEW = "you@example.com"


def created(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["token", "create", *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.count("\n") == 1
    return printed.out.strip()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["token", "create", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.strip()


def test_tokens_file_has_the_hash_and_not_the_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.toml"
    token = created(capsys, NEW, "--kinds", "replicante.service.*", "deploy", "--file", str(file))
    assert len(token) >= 40
    assert token not in file.read_text()
    assert tomllib.loads(file.read_text()) == {
        NEW: {
            "kinds": ["replicante.service.*", "deploy"],
            "read_only": False,
            "tokens": [{"sha256": hashlib.sha256(token.encode()).hexdigest(), "created": ANY}],
        }
    }
    assert file.stat().st_mode & 0o7777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_content_of_the_tokens_file_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = f"# mine\n{write_tokens(tmp_path / 'tokens.toml').read_text()}# the end"
    file = write_tokens(tmp_path / "tokens.toml", before)
    token = created(capsys, NEW, "--read-only", "--file", str(file))
    assert file.read_text().startswith(before)
    known = Tokens(file)
    found, old = known.by_token(token), known.by_token(DBA_TOKEN)
    assert found is not None
    assert (found.email, found.read_only) == (NEW, True)
    assert old is not None
    assert old.email == DBA


def test_two_tokens_always_differ(tmp_path: Path) -> None:
    made = {token_file.create(tmp_path / "tokens.toml", f"{number}@example.com", ["*"]) for number in range(20)}
    assert len(made) == 20


def test_tokens_created_concurrently_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    command = [sys.executable, "-m", "agent.cli", "token", "create", "--kinds", "*", "--file", str(file)]
    running = [
        subprocess.Popen([*command, f"{number}@example.com"], stdout=subprocess.PIPE, text=True) for number in range(6)
    ]
    made = [each.communicate(timeout=60)[0].strip() for each in running]
    known = Tokens(file)
    assert all(known.by_token(token) for token in made)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([NEW], "name its kinds"),
        (["nobody", "--kinds", "*"], "nobody: expected an e-mail"),
        (['a"b@example.com', "--kinds", "*"], "expected an e-mail"),
        ([NEW, "--kinds", ""], f"{NEW}.kinds: expected a list of texts"),
        ([DBA, "--kinds", "*"], f"{DBA} exists already"),
    ],
)
def test_invalid_arguments_of_token_create_change_nothing(
    tokens_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = tokens_file.read_text()
    assert message in refused(capsys, *arguments, "--file", str(tokens_file))
    assert tokens_file.read_text() == before


def test_broken_tokens_file_is_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_tokens(tmp_path / "tokens.toml", "[broken\n")
    assert "not TOML" in refused(capsys, NEW, "--kinds", "*", "--file", str(file))
    file.write_text("")
    os.chmod(file, 0o644)
    file.write_text("# nobody yet\n")
    assert "users other than its owner may read it" in refused(capsys, NEW, "--kinds", "*", "--file", str(file))
    assert file.read_text() == "# nobody yet\n"


def test_missing_folder_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, NEW, "--kinds", "*", "--file", str(tmp_path / "nowhere" / "tokens.toml"))
    assert f"there is no folder {tmp_path}/nowhere: run install -d -o " in message


def test_new_token_is_valid_at_once(
    start_guarded: StartGuarded, tokens_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = start_guarded()
    monkeypatch.setenv("AGENT_CONFIG", str(guarded.directory / "agent.toml"))
    token = created(capsys, NEW, "--kinds", "replicante.test.*")  # the file that the configuration names
    assert guarded.post_schedule(PING, {}, headers=bearer(token)).status == 200
    assert guarded.get(f"{PREFIX}/queue", headers=bearer(DBA_TOKEN)).status == 200
