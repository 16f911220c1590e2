"""agentctl config: check, show, diff and schema."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from agent import cli
from agent.config import reference
from agent.datastores.redis.datastore import RedisDatastore
from tests.agent_process import CHECKOUT
from tests.cli.calling import call


def test_config_check_accepts_the_output_of_config_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "show"]) == 0
    file = tmp_path / "agent.toml"
    file.write_text(capsys.readouterr().out)
    assert file.read_text() == reference.document()
    assert cli.main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: no mistake found\n"


def test_config_check_names_option_expectation_and_value(tmp_path: Path) -> None:
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
def test_config_check_needs_no_credentials_of_the_unit(
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


WRONG = """
[actions]
queue_limit = "many"
qeue_limit = 7
timeouts = { deploy = -1, stack_reboot = 0 }
[api.tls]
crl = "clients.crl"
[host]
services = ["web", "web.service", 7]
[external_actions.vacuum]
action = ["/bin/true"]
check = ["/bin/true"]
args = { "a b" = { type = "string" }, table = { type = "text" }, full = {} }
[datastore]
kind = "oracle"
[datastore.peers.other]
password_file = 7
[services."a b"]
unit = "web.service"
[services.web]
unit = "web"
[caches.page]
kind = "folder"
[colour]
"""


def test_config_check_finds_all_mistakes_at_once(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(WRONG)
    ended = call(None, "config", "check", str(file))
    assert ended.status == 1
    found = [line.removeprefix(f"{file}: ").partition(": ") for line in ended.stderr.splitlines()]
    assert [(at, how.split(",")[0][:36]) for at, _, how in found] == [
        ("actions.queue_limit", "expected a positive integer"),
        ("actions.qeue_limit", "unknown option"),
        ("actions.timeouts.deploy", "expected a positive number"),
        ("actions.timeouts.stack_reboot", "expected a positive number"),
        ("api.tls.certificate", "expected a value"),
        ("api.tls.key", "expected a value"),
        ("host.services.0", "expected the full name of a unit"),
        ("host.services.2", "expected the full name of a unit"),
        ("external_actions.vacuum.args", "expected names of letters"),
        ("external_actions.vacuum.args.table.type", 'expected one of "string"'),
        ("external_actions.vacuum.args.full.type", "expected a value"),
        ("datastore.kind", 'expected one of "postgresql"'),
        ("datastore.peers.other.password_file", "expected a text"),
        ("datastore.peers.other.url", "expected a value"),
        ("datastore.url", "expected a value"),
        ("services", "expected a name of letters"),
        ("services.web.unit", "expected the full name of a unit"),
        ("caches.page.path", "expected a value"),
        ("colour", "unknown option"),
    ]


def test_the_start_prints_the_lines_of_config_check(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(WRONG)
    checked = call(None, "config", "check", str(file)).stderr.splitlines()
    started = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", str(CHECKOUT / "gunicorn.conf.py")],
        cwd=tmp_path,
        env=os.environ | {"AGENT_CONFIG": str(file), "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == os.EX_CONFIG
    assert started.stderr.splitlines() == [f"agent: {line}" for line in checked]
    assert len(checked) == 19


def test_config_check_finds_mistakes_in_several_files(tmp_path: Path) -> None:
    file, tokens = tmp_path / "agent.toml", tmp_path / "tokens.toml"
    file.write_text(
        f'[agent]\nkinds = ["no_such_module"]\ndb = "{tmp_path}/agent.db"\n'
        f'[api]\ntokens = "{tokens}"\n'
        f'[datastore]\nkind = "redis"\nurl = "redis://127.0.0.1"\npassword_file = "{tmp_path}/pw"\n'
    )
    for each in (file, tokens, tmp_path / "pw"):
        each.touch()
        each.chmod(0o666)
    lines = call(None, "config", "check", str(file)).stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "agent.kinds", str(file), str(tokens), "datastore.password_file",
    ]  # fmt: skip


def test_unknown_names_of_kinds_are_warnings(tmp_path: Path) -> None:
    file, tokens = tmp_path / "agent.toml", tmp_path / "tokens.toml"
    tokens.write_text('["you@example.com"]\nsha256 = "' + "0" * 64 + '"\nkinds = ["deplyo", "database_*"]\n')
    tokens.chmod(0o600)
    file.write_text(
        f'[api]\ntokens = "{tokens}"\n[actions]\ntimeouts = {{ resync_slave_bd = 60, deploy = 60 }}\n'
        'approval = ["database_delte", "deploy"]\n[windows.night]\nkinds = ["stack_rebot"]\nhours = "22:00-05:00"\n'
    )
    ended = call(None, "config", "check", str(file))
    assert (ended.status, ended.stdout) == (0, f"{file}: no mistake found\n")
    assert ended.stderr.splitlines() == [
        "warning: actions.timeouts: no kind is called resync_slave_bd; the closest is resync_slave_db: "
        "this time limits nothing",
        "warning: actions.approval: no kind matches database_delte; the closest is database_delete: it holds nothing",
        "warning: windows.night.kinds: no kind matches stack_rebot; the closest is stack_reboot: it holds nothing",
        f"warning: {tokens}: you@example.com: no kind matches deplyo; the closest is deploy: it permits nothing",
    ]
    assert call(None, "config", "check", "--strict", str(file)).status == 1


def test_kinds_with_the_same_missing_driver_share_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[datastore]\nkind = "redis"\nurl = "redis://127.0.0.1:1"\n')
    monkeypatch.setattr(RedisDatastore, "driver", "a_driver_that_is_missing")
    ended = call(None, "config", "check", str(file))
    (warning,) = ended.stderr.splitlines()
    assert warning.startswith("warning: database_create, database_delete, ")
    assert warning.endswith(
        "are not offered here: the Python package a_driver_that_is_missing is not installed: "
        "install the agent with its extra [redis]"
    )


def test_config_diff_shows_changed_options_without_passwords(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[actions]\nqueue_limit = 7\n[datastore]\nkind = "mysql"\nurl = "mysql://agent:staple@127.0.0.1"\n')
    printed = call(None, "config", "diff", str(file)).stdout
    assert printed.startswith("actions.queue_limit = 7\ndatastore = ")
    assert "mysql://agent:********@127.0.0.1" in printed and "staple" not in printed


def test_config_schema_accepts_the_output_of_config_show(tmp_path: Path) -> None:
    schema = json.loads(call(None, "config", "schema").stdout)
    Draft202012Validator.check_schema(schema)
    shown = re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", reference.document())
    Draft202012Validator(schema).validate(tomllib.loads(shown))
    errors = list(Draft202012Validator(schema).iter_errors(tomllib.loads(WRONG)))
    assert len(errors) > 5
