"""A log line cannot be forged: text of callers and commands stays within its line."""

from __future__ import annotations

import inspect
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

from agent import clock, log
from agent.log.lines import one_line
from agent.log.setup import set_up
from agent.models import Action, Held, Request, Requester, State
from agent.server.logger import Logger
from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import SUCCESS
from tests.kinds.configuring import toml

FORGED = "INFO action 308fb8bc-79a1-49d9-bf71-1191d7d6c5d2 deploy of root@db-1 via API is DONE"
HOSTILE = f"a\n{FORGED}\r\x1b[2J\x1b]0;owned\x07\x00\x7f\x85\x9b31m\u2028{FORGED}\u2029\u202egnp.exe\ud800\v\f\x1c"
ESCAPED = "a\\nINFO action 308fb8bc"
LINE = re.compile(r"(?:(?:INFO|WARNING|ERROR) |agent: |\[[^\]]+\] \[\d+\] \[[A-Z]+\] ).*")


def lines_of(text: str) -> list[str]:
    """The lines as a terminal or any reader might see them; each must be one that the agent wrote."""
    lines = text.splitlines()
    for line in lines:
        assert LINE.fullmatch(line), line
        assert line.isprintable(), repr(line)
    return lines


# Every message of the log


def value_of(annotation: str) -> Any:
    """A hostile value for a type."""
    request = Request("k", {}, {}, {}, Requester.API, HOSTILE, ("Server", HOSTILE), clock.now())
    action = Action(1, HOSTILE, HOSTILE, {}, {}, "API", State.NEW, None, 1, 1, None, HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        raised = error
    known = {
        "str": HOSTILE, "int": 3, "float": 2.5, "bool": True, "Action": action, "list[str]": [HOSTILE],
        "list[int]": [1], "BaseException": raised, "BaseException | None": raised, "Sequence[str]": [HOSTILE],
        "Request": request, "Held": Held(1, HOSTILE, HOSTILE, HOSTILE, "API", State.NEW, None, False, None, HOSTILE),
    }  # fmt: skip
    return known[annotation]


MESSAGES = [
    each
    for each in vars(log).values()
    if inspect.isfunction(each) and each.__module__ == log.__name__ and not each.__name__.startswith("_")
]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """New text on standard error. Each test configures the log itself, on pytest's standard error."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers)
    monkeypatch.setattr(log.log, "level", log.log.level)
    monkeypatch.setattr("threading.excepthook", None)
    for limited in (log.refusals, log.unreadable, log.crowds):
        monkeypatch.setattr(limited, "filters", [])
    return lambda: capsys.readouterr().err


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: each.__name__)
def test_each_message_is_one_line(message: Callable[..., None], written: Callable[[], str]) -> None:
    set_up()
    cause(message)
    assert len(lines_of(written())) == 1


def test_each_log_message_is_an_event_with_fields(caplog: pytest.LogCaptureFixture, written: Callable[[], str]) -> None:
    set_up()
    logging.getLogger().addHandler(caplog.handler)
    for message in MESSAGES:
        cause(message)
    assert len({record.__dict__["event"] for record in caplog.records}) == len(MESSAGES), "each has a name of its own"
    for record in caplog.records:
        if "%" in record.msg:
            assert isinstance(record.args, dict), record.msg
            json.dumps(record.args, allow_nan=False)
        assert (record.filename, record.funcName) == (Path(__file__).name, cause.__name__), "it has the caller's place"


def cause(message: Callable[..., None]) -> None:
    """Log a message with hostile values."""
    parameters = inspect.signature(message, eval_str=False).parameters.values()
    message(*[value_of(_name(each.annotation)) for each in parameters])


def _name(annotation: Any) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else (str(annotation).replace("collections.abc.", "").replace("agent.models.", ""))
    )


def test_log_message_of_a_library_is_one_line_with_a_marked_traceback(written: Callable[[], str]) -> None:
    set_up()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("some.library").exception("it failed: %s", HOSTILE)
    first, *traced = written().split("\n")[:-1]
    assert first.startswith(f"ERROR it failed: {ESCAPED}")
    assert all(line.startswith("ERROR   | ") and line.isprintable() for line in traced)


def test_log_message_of_gunicorn_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logger = Logger(Config())
    logger.warning("Invalid request from %s", HOSTILE)
    assert len(lines_of(capsys.readouterr().err)) == 1


def test_printable_text_is_not_escaped() -> None:
    for text in ("", "plain", "Größe ≥ 3 \U0001f512", "a\\nb"):
        assert one_line(text) == text


# Through an agent


@pytest.fixture
def agent(start_agent: StartAgent) -> AgentProcess:
    report = json.dumps({"status": "failed", "error": HOSTILE})
    failing = {"action": ["true"], "check": [sys.executable, "-c", f"print({report!r})"]}
    return start_agent(config=toml({"external_actions": {"failing": failing}}))


def test_callers_and_commands_cannot_forge_a_log_line(agent: AgentProcess) -> None:
    failed = agent.await_final(agent.schedule("external.failing", {}))["action"]
    assert FORGED in failed["state_payload"]["error"]
    agent.await_final(agent.schedule(SUCCESS, {}, headers={"From": "\x9b31m@example.com"}))
    agent.post(f"/hooks/deploy/{'%0a' + FORGED.replace(' ', '%20')}%1b%5b2J", json={})
    eventually(lambda: "via API is FAILED" in agent.log_text(), "the end is logged")
    lines = lines_of(agent.log_text())
    assert not [line for line in lines if line.startswith(FORGED)]
    assert [line for line in lines if ESCAPED in line]


def test_agentctl_refuses_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[agent]\n"a\\u001b[2J\\n" = 1\n', encoding="utf-8")
    command = [sys.executable, "-P", "-m", "agent.cli", "config", "check", str(file)]
    tried = subprocess.run(command, env={"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False)
    assert tried.returncode != 0
    assert tried.stderr.rstrip("\n").isprintable()
