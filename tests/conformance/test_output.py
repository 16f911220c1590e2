"""`GET /output/<id>`: the output of an action's commands, while they run, in pieces and without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import PREFIX, AgentProcess, Response
from tests.conformance.shapes import SUCCESS, assert_error
from tests.kinds.configuring import toml
from tests.servers.shop import Origin

LIMIT = 1 << 20
SECRET = "correct-horse-staple"
LOUD = 1 << 30
TALK, ECHO, SHOUT = "external.talk", "external.echo", "external.shout"


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def awaits(gate: Path) -> str:
    return f"while [ ! -e {gate} ]; do sleep 0.05; done"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def agent(directory: Path) -> Iterator[AgentProcess]:
    """An agent whose commands print output, with an application to deploy and a service started by commands."""
    origin = Origin(directory)
    origin.commit({"version": "one"})
    finished = ["echo", '{"status": "finished"}']
    talk = sh(f"echo one; {awaits(directory / 'talk')}; echo two >&2")
    password = {"password": {"type": "string", "required": True, "secret": True}}
    before = sh(f"echo migrating; {awaits(directory / 'deploy')}; echo migrated")
    document: dict[str, Any] = {
        "actions": {"output_limit": LIMIT, "prune_keep": 50, "prune_interval": 0.2},
        "applications": {
            "shop": {"repository": str(origin.path), "path": str(directory / "srv"), "before": [before]},
        },
        "external_actions": {
            "talk": {"action": talk, "check": sh(f"echo checked >&2; {finished[0]} '{finished[1]}'")},
            "echo": {"action": ["cat"], "check": finished, "args": password},
            "shout": {"action": ["head", "-c", str(LOUD), "/dev/zero"], "check": finished, "timeout": 600},
        },
        "service": {
            "supervisor": "commands", "pid": sh(f"test -e {directory}/up && echo $PPID"), "stop": ["false"],
            "start": sh(f"echo starting; touch {directory}/up"), "interval": 0.1, "attempts": 1,
        },
    }  # fmt: skip
    started = AgentProcess(directory, config=toml(document)).start()
    yield started
    for gate in ("talk", "deploy"):
        (directory / gate).touch()
    started.close()


def output(agent: AgentProcess, action_id: object, query: str = "", prefer: str | None = None) -> Response:
    return agent.get(f"{PREFIX}/output/{action_id}{query}", headers={"Prefer": prefer}, timeout=30)


def read(agent: AgentProcess, action_id: object) -> str:
    """The stored output of a final action."""
    text, offset = b"", 0
    while True:
        piece = output(agent, action_id, f"?offset={offset}")
        text, offset = text + piece.body, int(piece.headers["X-Output-Next"])
        if piece.headers["X-Output-Complete"] == "true":
            return text.decode()


def performed(agent: AgentProcess, kind: str, args: Any, state: str = "DONE") -> str:
    action_id = agent.schedule(kind, args)
    assert agent.await_final(action_id, 60)["action"]["state"] == state
    return action_id


def test_output_is_readable_while_the_command_runs(agent: AgentProcess, directory: Path) -> None:
    action_id = agent.schedule(TALK, {})
    first = output(agent, action_id, "?offset=0", "wait=20")
    while not first.body.endswith(b"one\n"):
        first = output(agent, action_id, f"?offset={first.headers['X-Output-Next']}", "wait=20")
    assert agent.state(action_id) == "RUNNING"
    assert first.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert first.headers["X-Output-Complete"] == "false" and first.headers["Preference-Applied"] == "wait=20"
    offset = int(first.headers["X-Output-Next"])
    with ThreadPoolExecutor(1) as caller:
        following = caller.submit(output, agent, action_id, f"?offset={offset}", "wait=20")
        (directory / "talk").touch()
        assert following.result().body.startswith(b"two\n")
    agent.await_final(action_id)
    whole = output(agent, action_id)
    assert whole.body.decode().splitlines()[1:] == ["one", "two", "checked"]
    assert whole.body.startswith(b"$ sh -c 'echo one;")
    assert whole.headers["X-Output-Complete"] == "true" and whole.headers["X-Output-Truncated"] == "false"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert output(agent, action_id, f"?offset={offset}").body == whole.body[offset:]
    assert output(agent, action_id, f"?offset={offset}&limit=4").body == whole.body[offset : offset + 4]
    assert output(agent, action_id, "?offset=-8").body == b"checked\n"
    assert output(agent, agent.info(action_id)["action"]["async_action_id"]).body == whole.body


def test_secrets_are_masked(agent: AgentProcess) -> None:
    action_id = performed(agent, ECHO, {"password": SECRET})
    text = read(agent, action_id)
    assert SECRET not in text and json.loads(text.splitlines()[1])["args"] == {"password": "********"}
    for each in agent.directory.glob("agent.db.output/*/*"):
        assert SECRET.encode() not in each.read_bytes()


def test_gigabyte_of_output_grows_neither_memory_nor_database(agent: AgentProcess) -> None:
    [worker] = agent.workers()
    Path(f"/proc/{worker}/clear_refs").write_text("5")  # reset the peak
    before, files = memory(worker, "VmRSS"), database_size(agent)
    action_id = agent.schedule(SHOUT, {})
    assert agent.await_final(action_id, 600)["action"]["state"] == "DONE"
    assert agent.workers() == {worker}
    assert memory(worker, "VmHWM") - before < 16 << 20
    assert database_size(agent) - files < LIMIT
    assert sum(each.stat().st_size for each in agent.directory.glob(f"agent.db.output/{action_id}/*")) <= LIMIT
    text = read(agent, action_id)
    assert LIMIT / 2 <= len(text) <= LIMIT and text.startswith("$ head -c ") and text.endswith("\0\0\0")
    assert output(agent, action_id).headers["X-Output-Truncated"] == "true"
    assert int(output(agent, action_id, "?offset=-1").headers["X-Output-Next"]) >= LOUD


def memory(pid: int, field: str) -> int:
    """Bytes of memory that a process has (VmRSS) or had at most (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def database_size(agent: AgentProcess) -> int:
    """Bytes of the database's files: the file itself, its log and its index."""
    return sum(each.stat().st_size for each in agent.directory.glob("agent.db*") if each.is_file())


def test_output_of_a_deploy_continues_after_a_kill(agent: AgentProcess, directory: Path) -> None:
    action_id = agent.schedule("deploy", {})
    seen = b""
    while b"migrating\n" not in seen:
        seen += output(agent, action_id, f"?offset={len(seen)}", "wait=20").body
    agent.kill_all()
    (directory / "deploy").touch()
    agent.start()
    assert agent.await_final(action_id, 30)["action"]["state"] == "DONE"
    lines = read(agent, action_id).splitlines()
    assert [lines.count(each) for each in ("migrating", "migrated")] == [1, 1]
    assert any(line.startswith("$ git fetch ") for line in lines)


def test_output_has_the_commands_of_a_service(agent: AgentProcess) -> None:
    action_id = performed(agent, "replicante.service.start", {})
    command, *printed = read(agent, action_id).splitlines()
    assert command.startswith("$ sh -c 'echo starting;") and printed == ["starting"]


def test_an_action_without_commands_has_no_output(agent: AgentProcess) -> None:
    answer = output(agent, performed(agent, SUCCESS, {}), "", "wait=20")
    assert answer.body == b"" and answer.headers["X-Output-Complete"] == "true"
    assert answer.headers["X-Output-Next"] == "0"


def test_invalid_requests_of_the_output_are_refused(agent: AgentProcess) -> None:
    assert_error(output(agent, "nothing"), 404, "ActionNotFound")
    for query in ("?offset=x", "?limit=3", "?limit=2000000", "?tail=3"):
        assert_error(output(agent, "nothing", query), 400, "InvalidQuery")


def test_output_is_removed_with_the_action(agent: AgentProcess) -> None:
    old = performed(agent, ECHO, {"password": SECRET})
    assert read(agent, old)
    for _ in range(51):
        newest = agent.schedule(SUCCESS, {})
    agent.await_final(newest)
    while agent.get_info(old).status != 404 or (agent.directory / "agent.db.output" / old).exists():
        agent.await_final(agent.schedule(SUCCESS, {}))
    assert_error(output(agent, old), 404, "ActionNotFound")
