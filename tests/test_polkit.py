"""The polkit rule generated from a configuration; test_least_privilege.py tests it with polkit itself."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent import cli, config
from agent.errors import ConfigError
from agent.tools import polkit

EVERYTHING = r"""
[service]
unit = "postgresql@15-main"
[host]
services = ["shop@2.service", "listed.service"]
reboot = ["systemctl", "reboot"]
[applications.shop]
repository = "https://git.example.com/shop.git"
path = "/srv/shop"
services = ["shop@1.service", "shop@2.service"]
[services.web]
unit = "web\\x2dfront.service"
[processes.worker]
unit = "worker.service"
[processes.other]
pid_file = "/run/other.pid"
"""


def rule(configuration: str, user: str = "agent") -> str:
    return polkit.rule(config.parse(tomllib.loads(configuration)), user, "a test")


def variable(name: str, text: str) -> Any:
    """The value of a variable in the rule: JSON is JavaScript."""
    found = re.search(rf"var {name} = (.*?);\n", text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_rule_names_each_configured_unit_with_the_verbs_of_its_kinds() -> None:
    pause = ["freeze", "kill", "ref", "reset-failed", "restart", "thaw"]
    assert variable("units", rule(EVERYTHING)) == {
        "postgresql@15-main.service": ["reset-failed", "start", "stop"],
        "listed.service": ["reset-failed", "restart"],
        "shop@1.service": ["reset-failed", "restart"],
        "shop@2.service": ["reset-failed", "restart"],
        "web\\x2dfront.service": pause,
        "worker.service": pause,
        "reboot.target": ["start"],
    }


def test_rule_without_a_configuration_allows_only_jobs() -> None:
    empty = rule("")
    assert variable("units", empty) == {} and variable("others", empty) == []
    assert "agent-job@" in empty and variable("user", empty) == "agent"


def test_rule_names_templates_of_external_actions_only() -> None:
    own = '[external_actions.a]\naction = ["a"]\ncheck = ["b"]\n'
    assert "templates" not in rule(own) and rule(own) == rule("")
    text = rule(
        f'{own}unit = "b@.service"\n[external_actions.c]\naction = ["a"]\ncheck = ["b"]\nunit = "a\\\\x2d@.service"\n'
    )
    assert variable("templates", text) == ["a\\x2d@.service", "b@.service"] and variable("units", text) == {}


@pytest.mark.parametrize(
    "unit", ["vacuum.service", "vacuum@x.service", "vacuum@.timer", "@.service", "a b@.service", ""]
)
def test_unit_that_is_not_a_template_is_refused(unit: str) -> None:
    with pytest.raises(ConfigError, match="a template of services"):
        rule(f'[external_actions.a]\naction = ["a"]\ncheck = ["b"]\nunit = "{unit}"\n')


def test_reboot_is_allowed_only_if_configured() -> None:
    without = rule(EVERYTHING.replace("reboot =", "# reboot ="))
    assert "reboot" not in "\n".join(line for line in without.splitlines() if not line.startswith("//"))
    assert variable("others", rule(EVERYTHING)) == [
        "org.freedesktop.login1.reboot",
        "org.freedesktop.login1.reboot-ignore-inhibit",
        "org.freedesktop.login1.reboot-multiple-sessions",
    ]


def test_service_supervised_by_commands_is_not_in_the_rule() -> None:
    commands = '[service]\nsupervisor = "commands"\nunit = "x"\npid = ["a"]\nstart = ["b"]\nstop = ["c"]\n'
    assert variable("units", rule(commands)) == {}


def test_the_text_is_the_same_for_the_same_units_in_another_order() -> None:
    one = '[host]\nservices = ["a.service", "b.service", "a.service"]\n'
    other = '[host]\nservices = ["b.service", "a.service"]\n'
    assert rule(one) == rule(other)


@pytest.mark.parametrize("name", ['x"]; return 1; //', "a\\", "a\nb", "\u2028x", "*/", "</script>", "%(user)s"])
def test_names_are_quoted_in_the_rule(name: str) -> None:
    text = rule(f"[service]\nunit = {json.dumps(name)}\n", user=name)
    assert variable("user", text) == name
    assert variable("units", text) == {f"{name}.service": ["reset-failed", "start", "stop"]}
    assert len(text.splitlines()) == len(rule('[service]\nunit = "x"\n').splitlines())


def test_agentctl_prints_the_rule_for_the_given_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(EVERYTHING)
    assert cli.main(["polkit", str(file), "--user", "operator"]) == 0
    printed = capsys.readouterr().out
    assert printed == rule(EVERYTHING, "operator").replace("a test", str(file)) and printed.startswith("//")
    assert "run `agentctl polkit --write`" in printed


def test_agentctl_writes_the_rule_only_if_it_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, written = tmp_path / "agent.toml", tmp_path / "50-agent.rules"
    monkeypatch.setattr(polkit, "FILE", written)
    file.write_text(EVERYTHING)
    words = ["polkit", str(file), "--user", "operator", "--write"]
    assert cli.main(words) == 0
    assert written.read_text() == rule(EVERYTHING, "operator").replace("a test", str(file))
    assert written.stat().st_mode & 0o777 == 0o644
    before = written.stat()
    assert cli.main(words) == 0
    assert (written.stat().st_ino, written.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert capsys.readouterr().out == ""
    file.write_text("[service]\nunit = 5\n")
    assert cli.main(words) != 0 and written.read_text() == rule(EVERYTHING, "operator").replace("a test", str(file))


def test_agentctl_warns_that_no_configuration_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENT_CONFIG", raising=False)
    assert cli.main(["polkit"]) == 0
    captured = capsys.readouterr()
    assert captured.out == rule("").replace("a test", "the defaults")
    assert captured.err == "no configuration was found: this rule allows the agent its own jobs only\n"


def test_agentctl_prints_no_rule_of_a_configuration_with_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[host]\nservices = ["no unit"]\n')
    assert cli.main(["polkit", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "host.services.0: expected the full name of a unit" in captured.err
