"""Clients generated from openapi.json in Python and TypeScript: their types are valid and they call a real agent."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.agent_process import AgentProcess
from tests.servers.cache import cache_dir

GENERATORS = cache_dir() / "client-generators"
PYTHON = GENERATORS / "python" / "bin" / "python"
MODULES = GENERATORS / "node" / "node_modules"

PYTHON_ROUND_TRIP = """
import sys

from agent_client import Client
from agent_client.api.action_list import list_actions
from agent_client.api.async_actions import get_async_action
from agent_client.api.info import get_action
from agent_client.api.kinds import plan_replicante_test_ping, schedule_replicante_test_ping
from agent_client.models.action_list import ActionList
from agent_client.models.async_action_answer import AsyncActionAnswer
from agent_client.models.info import Info
from agent_client.models.plan_replicante_test_ping_body import PlanReplicanteTestPingBody
from agent_client.models.plan import Plan
from agent_client.models.schedule_replicante_test_ping_body import ScheduleReplicanteTestPingBody
from agent_client.models.scheduled import Scheduled
from agent_client.models.state import State

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
plan = plan_replicante_test_ping.sync(client=client, body=PlanReplicanteTestPingBody(count=2))
assert isinstance(plan, Plan) and plan.refusal is None
scheduled = schedule_replicante_test_ping.sync(
    client=client, body=ScheduleReplicanteTestPingBody(count=2), idempotency_key="python"
)
assert isinstance(scheduled, Scheduled)
found = get_action.sync(scheduled.id, client=client, prefer="wait=30, until=final")
while not isinstance(found, Info) or found.action.finished_ts is None:
    found = get_action.sync(scheduled.id, client=client, prefer="wait=30, until=final")
assert found.action.state is State.DONE and found.history[-1].state is State.NEW
page = list_actions.sync(client=client, state="DONE", limit=10)
assert isinstance(page, ActionList) and scheduled.id in [each.id for each in page.items]
number = str(found.action.async_action_id)
other = get_async_action.sync("default", number, client=client)
assert isinstance(other, AsyncActionAnswer) and other.response.finished_success is True
print(scheduled.id)
"""

TYPESCRIPT_ROUND_TRIP = """
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const client = createClient<paths>({ baseUrl: process.argv[2]! });
const scheduled = await client.POST("/api/unstable/actions/schedule/replicante.test.ping", {
  body: { count: 2 },
  params: { header: { "Idempotency-Key": "typescript" } },
});
const id: string = scheduled.data!.id;
let action: components["schemas"]["Action"] | undefined;
while (!action?.finished_ts) {
  const found = await client.GET("/api/unstable/actions/info/{action_id}", {
    params: { path: { action_id: id }, header: { Prefer: "wait=30, until=final" } },
  });
  action = found.data!.action;
}
const state: components["schemas"]["State"] = action.state;
if (state !== "DONE") throw new Error(state);
const refused = await client.POST("/api/unstable/actions/schedule/{kind}", {
  params: { path: { kind: "no.such" } },
  body: {},
});
if (refused.error!.variant !== "ActionNotAvailable") throw new Error(refused.error!.variant);
console.log(id);
"""


@pytest.fixture(scope="module")
def document(shared_agent: AgentProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(shared_agent.get("/openapi.json").body)
    return file


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command that must succeed."""
    ended = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, f"{command}:\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    return ended.stdout.strip()


def assert_done(agent: AgentProcess, action_id: str) -> None:
    assert agent.info(action_id)["action"]["state"] == "DONE"


def test_a_generated_python_client_has_sound_types_and_works(
    shared_agent: AgentProcess, document: Path, tmp_path: Path
) -> None:
    # Without the formatter: a ruff on the PATH would rewrite the annotations.
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    generate: Sequence[str | Path] = ("-m", "openapi_python_client", "generate", "--meta", "none")
    options = ("--config", tmp_path / "config.yaml", "--output-path", tmp_path / "agent_client")
    output = run(PYTHON, *generate, "--path", document, *options, cwd=tmp_path)
    missing = [line for line in output.splitlines() if line.startswith("WARNING parsing")]
    assert missing in ([], ["WARNING parsing GET /api/unstable/events within events."]), "it reads no JSON lines"
    (tmp_path / "round_trip.py").write_text(PYTHON_ROUND_TRIP)
    run(PYTHON, "-m", "mypy", "--strict", "round_trip.py", "agent_client", cwd=tmp_path)
    url = f"http://127.0.0.1:{shared_agent.port}"
    assert_done(shared_agent, run(PYTHON, "round_trip.py", url, cwd=tmp_path))


def test_generated_typescript_types_are_sound_and_a_client_works(
    shared_agent: AgentProcess, document: Path, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "round_trip.ts").write_text(TYPESCRIPT_ROUND_TRIP)
    run("node", MODULES / "openapi-typescript" / "bin" / "cli.js", document, "--output", "api.ts", cwd=tmp_path)
    options = ("--strict", "--module", "nodenext", "--target", "es2022", "--types", "node", "--outDir", ".")
    run("node", MODULES / "typescript" / "bin" / "tsc", *options, "round_trip.ts", "api.ts", cwd=tmp_path)
    assert_done(shared_agent, run("node", "round_trip.js", f"http://127.0.0.1:{shared_agent.port}", cwd=tmp_path))
