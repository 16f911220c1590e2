"""The session in README, typed on a terminal, prints the output shown there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.agent_process import CHECKOUT, AgentProcess, StartAgent
from tests.cli.calling import COMMAND, environment
from tests.kinds.configuring import toml

REPORT = "cat > /dev/null; echo collecting; sleep 1; echo 3 tables"
CONFIG = {
    "agent": {"node": "db-1", "test_kinds": True},
    "external_actions": {
        "report": {"action": ["/bin/sh", "-c", REPORT], "check": ["/bin/echo", '{"status": "finished"}']}
    },
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
PROMPT = "schedule it? [y/N] "
CHANGES = ("NEW", "RUNNING")
"""Lines whose number depends on the duration of the action."""


def session() -> list[tuple[str, str]]:
    """Each command of agentctl in the first part of README, with its output."""
    text = (CHECKOUT / "README.rst").read_text().partition("    $ curl")[0]
    indented = re.findall(r"^(?:    (.*)|)$", text, re.MULTILINE)
    pieces = "\n".join(indented).split("$ agentctl ")[1:]
    return [(command, printed) for command, _, printed in (piece.partition("\n") for piece in pieces)]


def comparable(printed: str) -> str:
    """The text with ids replaced by their order, and without times."""
    ids: list[str] = []
    for each in UUID.findall(printed):
        ids += [each] if each not in ids else []
    for number, each in enumerate(ids):
        printed = printed.replace(each, f"<id {number}>").replace(each[:8], f"<{number:06}>")
    lines = TIME.sub("<time>", printed).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip() and line.strip() not in CHANGES)


def typed(agent: AgentProcess, command: str, without_rich: Path) -> str:
    """The output of the command on a terminal; a question is answered with y."""
    env = environment(agent) | {"PYTHONPATH": f"{without_rich}:{CHECKOUT}"}
    ours, its = os.openpty()
    with subprocess.Popen([*COMMAND, *shlex.split(command)], env=env, stdin=its, stdout=its, stderr=its):
        os.close(its)
        shown, prompted = "", False
        with suppress(OSError):  # the end of the other side
            while piece := os.read(ours, 4096):
                shown += piece.decode()
                if PROMPT in shown and not prompted:
                    prompted = True
                    os.write(ours, b"y\n")
        os.close(ours)
    return shown.replace("\r\n", "\n").replace(f"127.0.0.1:{agent.port}", "127.0.0.1:8000")


def test_session_in_the_readme_prints_what_the_readme_shows(start_agent: StartAgent, tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError\n")  # the session was typed without the extra
    agent = start_agent(config=toml(CONFIG))
    expected = session()
    assert len(expected) > 9
    found = [(command, typed(agent, command, tmp_path)) for command, _ in expected]
    written = ["\n".join(f"$ {command}\n{printed}" for command, printed in each) for each in (expected, found)]
    assert comparable(written[1]) == comparable(written[0])
