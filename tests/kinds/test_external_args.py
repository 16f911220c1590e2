"""Declared arguments of external actions: refusals, and secrets that are shown nowhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import InvalidArgs
from agent.kinds.base import MASK, Failed
from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import assert_error, assert_invalid_args
from tests.kinds.configuring import toml
from tests.kinds.performing import step_of
from tests.kinds.test_external import FINISHED, declared, external, sh

SECRET = 'correct "horse" \u00e4 staple'
ARGS = {
    "table": {"type": "string", "required": True, "description": "Which table"},
    "password": {"type": "string", "secret": True},
    "deep": {"type": "boolean"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "names": {"type": "list"},
    "more": {"type": "object"},
}
GIVEN = {"table": "users", "deep": True, "count": 3, "ratio": 0.5, "names": ["a", 1, None], "more": {"a": [1]}}


@pytest.mark.parametrize("missing", ["deep", "count", "ratio", "names", "more", None])
def test_declared_arguments_are_accepted(missing: str | None) -> None:
    given = {name: value for name, value in GIVEN.items() if name != missing}
    assert external(["true"], FINISHED, args=ARGS).load(given) == given


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("table", 1), ("table", None), ("deep", 1), ("count", "3"), ("count", 1.5), ("ratio", "1"), ("names", {}),
     ("more", []), ("other", 1), ("password", 7)],
)  # fmt: skip
def test_undeclared_arguments_are_refused(name: str, wrong: Any) -> None:
    with pytest.raises(InvalidArgs) as refused:
        external(["true"], FINISHED, args=ARGS).load(GIVEN | {name: wrong})
    assert name in (refused.value.details or {})


def test_missing_required_argument_and_a_list_are_refused() -> None:
    kind = external(["true"], FINISHED, args=ARGS)
    refused: tuple[Any, ...] = ({}, [], "users", None)
    for args in refused:
        with pytest.raises(InvalidArgs):
            kind.load(args)


def test_action_without_declared_arguments_accepts_none() -> None:
    kind = external(["true"], FINISHED, args={})
    assert kind.load({}) == {}
    with pytest.raises(InvalidArgs):
        kind.load({"table": "users"})


def test_declared_schema_is_published(start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(declared(["true"], FINISHED, args=ARGS)))
    [offered] = [each for each in agent.get(f"{PREFIX}/available").json if each["kind"] == "external.vacuum.full"]
    assert offered["args"]["required"] == ["table"]
    assert offered["args"]["properties"]["password"] == {"type": "string", "writeOnly": True}
    assert offered["args"]["properties"]["table"]["description"] == "Which table"
    assert_invalid_args(agent.post_schedule("external.vacuum.full", {"table": "t", "tabel": "t"}), "tabel")


# Secrets


@pytest.mark.parametrize("cut", range(16384, 16384 + len(SECRET.encode()) + 2))
def test_truncated_output_contains_no_part_of_a_secret(cut: int) -> None:
    """The output is `cut` bytes from the first byte of the secret on; the last 16384 bytes are kept."""
    padding = cut - len(SECRET.encode())
    printing = [sys.executable, "-c", f"import sys; sys.stdout.write({SECRET!r} + '.' * {padding}); sys.exit(1)"]
    kind = external(printing, FINISHED, args=ARGS)
    outcome = kind.step(step_of(kind, args={"table": "users", "password": SECRET}))
    assert isinstance(outcome, Failed)
    stdout = outcome.payload["stdout"]
    assert stdout.replace(SECRET, "").strip(".") == "", stdout[:40]


ECHOING = """
import json, sys
given = json.load(sys.stdin)
password = given["args"]["password"]
assert password == {secret!r}, "the command gets it"
report = {{"status": "{status}", "error": "no " + password, password: [password, {{"a": password}}]}}
sys.stderr.write(password)
print(json.dumps(report))
"""


@pytest.fixture
def agent(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    """An agent whose commands print the secret in every possible form."""
    actions = {}
    for status in ("finished", "failed", "running"):
        script = ECHOING.format(secret=SECRET, status=status)
        own = declared(["cat"], [sys.executable, "-c", script], args=ARGS)["external_actions"]["vacuum.full"]
        actions[status] = own
    garbage = declared(["true"], sh("cat; cat >&2"), args=ARGS)["external_actions"]["vacuum.full"]
    refusing = declared(sh("cat; exit 3"), FINISHED, args=ARGS)["external_actions"]["vacuum.full"]
    return start_agent(config=toml({"external_actions": actions | {"garbage": garbage, "refusing": refusing}}))


@pytest.mark.parametrize("how", ["finished", "failed", "garbage", "refusing", "running"])
def test_a_secret_that_the_commands_print_is_masked_everywhere(agent: AgentProcess, how: str) -> None:
    action_id = agent.schedule(f"external.{how}", {"table": "users", "password": SECRET})
    if how == "running":
        eventually(lambda: MASK in json.dumps(agent.info(action_id)["action"]["state_payload"]), "it is checked")
        agent.cancel(action_id)
    info = agent.await_final(action_id)
    assert info["action"]["args"] == {"table": "users", "password": MASK}
    assert MASK in json.dumps(info["action"]["state_payload"])
    shown = [
        agent.get_info(action_id).body.decode(),
        agent.get("/api/3/stacks/default/actions").body.decode(),
        agent.log_text(),
    ]
    for text in shown:
        for part in ("correct", "horse", "staple"):
            assert part not in text, text
    eventually(lambda: not holding(agent.directory), "no file of the agent has it", 3.0)


def holding(directory: Path) -> list[str]:
    """The files of the agent, except its configuration, that contain the secret."""
    spelled = (SECRET.encode(), json.dumps(SECRET)[1:-1].encode())
    files = [each for each in directory.rglob("*") if each.is_file() and each.name != "agent.toml"]
    return [each.name for each in files if any(one in each.read_bytes() for one in spelled)]


# The envelope of another protocol

ENVELOPE = {"action_id": None, "args": {"count": 1}, "created_ts": "2026-11-26T00:00:00Z", "requester": "API"}


@pytest.mark.parametrize("members", [set(ENVELOPE), {"args", "requester"}, {"action_id", "args"}])
@pytest.mark.parametrize("kind", ["external.vacuum.full", "replicante.test.ping"])
def test_the_envelope_of_another_protocol_is_refused_by_name(
    start_agent: StartAgent, members: set[str], kind: str
) -> None:
    agent = start_agent(config=toml(declared(["true"], FINISHED)))
    body = {name: value for name, value in ENVELOPE.items() if name in members}
    answer = agent.post_schedule(kind, body)
    assert_error(answer, 400, "InvalidArgs")
    assert f"the envelope of another protocol ({', '.join(sorted(members))})" in answer.json["error"]
    command = agent.post("/api/3/stacks/default/actions", json={"command": kind, **body})
    assert (command.status, command.json["variant"]) == (400, "InvalidArgs")
    assert agent.queue() == agent.finished() == []


def test_kind_with_declared_args_and_requester_accepts_them(start_agent: StartAgent, tmp_path: Path) -> None:
    args = {"args": {"type": "object"}, "requester": {"type": "string"}}
    agent = start_agent(config=toml(declared(sh(f"cat > {tmp_path}/stdin"), FINISHED, args=args)))
    given = {"args": {"a": 1}, "requester": "me"}
    assert agent.await_final(agent.schedule("external.vacuum.full", given))["action"]["state"] == "DONE"
    assert json.loads((tmp_path / "stdin").read_text())["args"] == given


@pytest.mark.parametrize("args", [{"args": {"a": 1}}, {"args": 1, "other": 2}, {"action_id": 1, "requester": 2}])
def test_arguments_that_resemble_an_envelope_are_accepted(start_agent: StartAgent, args: dict[str, Any]) -> None:
    agent = start_agent(config=toml(declared(["true"], FINISHED)))
    agent.schedule("external.vacuum.full", args)
