"""agentctl, as a person types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent import cli, config_file


def test_config_check_finds_no_mistake_in_what_config_show_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["config", "show"]) == 0
    file = tmp_path / "agent.toml"
    file.write_text(capsys.readouterr().out)
    assert file.read_text() == config_file.document()
    assert cli.main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: no mistake found\n"


def test_config_check_names_the_option_what_was_expected_and_what_was_found(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[actions]\nqueue_limit = "many"\n')
    done = subprocess.run(
        [sys.executable, "-m", "agent.cli", "config", "check", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f'{file}: actions.queue_limit: expected a positive integer, got "many"\n'
    assert done.stdout == ""


def test_config_check_finds_a_module_of_kinds_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[agent]\nkinds = ["no_such_module"]\n')
    assert cli.main(["config", "check", str(file)]) == 1
    assert "agent.kinds: cannot import no_such_module" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "redis", "mongodb"])
def test_config_check_needs_none_of_the_credentials_that_only_the_unit_has(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    urls = {
        "postgresql": "postgresql:///postgres", "mysql": "mysql://agent@127.0.0.1",
        "redis": "redis://127.0.0.1", "mongodb": "mongodb://agent@127.0.0.1",
    }  # fmt: skip
    file.write_text(f"""
        [datastore]
        kind = "{kind}"
        url = "{urls[kind]}"
        password_file = "credential:one"
        primary_password_file = "credential:two"
        [applications.shop]
        repository = "https://git.example.com/shop.git"
        path = "/srv/shop"
        ssh_key = "credential:three"
        credentials = "credential:four"
        hook_secret = "credential:five"
        [caches.sessions]
        kind = "redis"
        url = "redis://127.0.0.1"
        password_file = "credential:six"
        [callbacks]
        urls = ["https://orchestrator.example.com/"]
        secret = "credential:seven"
    """)
    assert cli.main(["config", "check", str(file)]) == 0, capsys.readouterr().err
    assert not Path("/run/credentials/agent.service").exists()
