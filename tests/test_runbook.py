"""docs/runbook.rst has every message that stops the start, and docs/observing.rst every alert."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.agent_process import CHECKOUT

RUNBOOK = (CHECKOUT / "docs/runbook.rst").read_text()
OBSERVING = (CHECKOUT / "docs/observing.rst").read_text()
CHECKS = (
    "agent/auth/secret_file.py",
    "agent/auth/tokens.py",
    "agent/auth/trusted_file.py",
    "agent/server/addresses_in_use.py",
    "agent/server/command_line.py",
    "agent/server/listeners.py",
    "agent/server/startup_checks.py",
    "agent/server/tls.py",
    "agent/server/unix_sockets.py",
)
RAISED = ("ConfigError", "SecretUnreadable", "Untrusted")
ADVICE = re.compile(r": (run|set|make|name|add|write|remove) .*")
"""The end of a message with the remedy; the runbook may say more."""


def sentences() -> Iterator[str]:
    """The messages of the checks at the start, with `…` for values."""
    for file in CHECKS:
        for call in ast.walk(ast.parse((CHECKOUT / file).read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in RAISED:
                for argument in call.args:
                    if isinstance(argument, ast.JoinedStr):
                        yield "".join(str(getattr(part, "value", "")) if isinstance(part, ast.Constant) else "…"
                                      for part in argument.values)  # fmt: skip


def parts(sentence: str) -> list[str]:
    """The constant parts of a message; none if the message only repeats another one."""
    return [part.strip(" :;(") for part in ADVICE.sub("", sentence).split("…") if len(part.strip(" :;(),")) > 8]


@pytest.mark.parametrize("sentence", sorted(set(sentences())))
def test_runbook_has_each_message_that_stops_the_start(sentence: str) -> None:
    page = " ".join(RUNBOOK.split())
    assert [part for part in parts(sentence) if part not in page] == []


def test_messages_that_stop_the_start_are_found() -> None:
    assert len([each for each in sentences() if parts(each)]) > 15


def test_each_alert_has_instructions() -> None:
    rules = yaml.safe_load((CHECKOUT / "monitoring/agent.rules.yml").read_text())
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    assert names and [name for name in names if f"\n``{name}``" not in OBSERVING] == []
