"""The recipes for other engines: the script or the functions of each page are run unchanged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from jinja2 import Environment, StrictUndefined, meta

from tests.agent_process import CHECKOUT, AgentProcess, eventually
from tests.cli.calling import environment
from tests.conformance.shapes import FAIL, LOOP, SUCCESS

PROGRAMS = Path(sys.executable).parent
SHELL = {
    "rundeck": ([], {"RD_JOB_EXECID": "17", "RD_JOB_RETRYINITIALEXECID": "0"},
                {"RD_JOB_EXECID": "18", "RD_JOB_RETRYINITIALEXECID": "17"}),
    "stackstorm": (["exec-17"], {"ST2_ACTION_EXECUTION_ID": "exec-18"}, {"ST2_ACTION_EXECUTION_ID": "exec-19"}),
    "kubernetes": ([], {"JOB_UID": "u-17"}, {"JOB_UID": "u-17"}),
}  # fmt: skip
"""By page: the first arguments of the script, and its environment in the first attempt and in a retry."""
ENDLESS = {"target": 600, "delay": 1}


def blocks(engine: str, language: str) -> list[str]:
    """The code of a page in that language."""
    text = (CHECKOUT / f"docs/recipe-{engine}.rst").read_text()
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", text, re.M)
    return [textwrap.dedent(each) for each in found]


def environ(agent: AgentProcess, **more: str) -> dict[str, str]:
    return environment(agent, **more) | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}


@pytest.mark.parametrize("engine", SHELL)
def test_a_shell_recipe_runs_an_action_once_and_cancels_it(
    engine: str, shared_agent: AgentProcess, tmp_path: Path
) -> None:
    agent, (first, attempt, retry) = shared_agent, SHELL[engine]
    (script := tmp_path / "recipe.sh").write_text(blocks(engine, "sh")[0])

    def started(kind: str, args: dict[str, Any], variables: dict[str, str]) -> subprocess.Popen[str]:
        pairs = [f"{name}:={json.dumps(value)}" for name, value in args.items()]
        words = [json.dumps(args)] if engine == "stackstorm" else pairs
        env = environ(agent, **variables)
        return subprocess.Popen(["sh", script, *first, kind, *words], env=env, stdout=subprocess.PIPE, text=True)

    def ran(variables: dict[str, str]) -> tuple[int, Any]:
        with started("replicante.test.ping", {"count": 2}, variables) as process:
            text, _ = process.communicate(timeout=120)
        return process.returncode, json.loads(text)

    status, done = ran(attempt)
    assert (status, done["action"]["outcome"]) == (0, "done")
    assert ran(retry)[1]["action"]["id"] == done["action"]["id"]
    with started(LOOP, ENDLESS, attempt) as process:
        running = eventually(lambda: [each for each in agent.queue() if each["state"] == "RUNNING"], "it runs", 60)
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=120)
    assert process.returncode == 3 and agent.state(running[0]["id"]) == "FAILED", text


def test_stackstorm_recipe_uses_the_execution_id_of_the_workflow() -> None:
    """StackStorm renders it with `action_context` alone, and refuses names that it does not know."""
    environment = Environment(undefined=StrictUndefined)
    default = yaml.safe_load(blocks("stackstorm", "yaml")[0])["parameters"]["execution"]["default"]
    assert meta.find_undeclared_variables(environment.parse(default)) == {"action_context"}
    template = environment.from_string(default)
    assert template.render(action_context={"parent": {"execution_id": "17"}}) == "17"
    assert template.render(action_context={"user": "stanley"}) == ""


def test_the_rundeck_script_refuses_to_run_without_the_id_of_the_execution(shared_agent: AgentProcess) -> None:
    """Its key would be the same for every execution."""
    script = blocks("rundeck", "sh")[0]
    ended = subprocess.run(
        ["sh", "-s", SUCCESS], env=environ(shared_agent), input=script, text=True, capture_output=True
    )
    assert ended.returncode != 0 and "AcceptEnv RD_*" in ended.stderr, ended


def test_the_rundeck_job_has_the_members_of_its_format() -> None:
    """The members in the reference of Rundeck's format job-yaml; Rundeck ignores unknown members."""
    [job] = yaml.safe_load(blocks("rundeck", "yaml")[0])
    assert job.keys() <= {"name", "description", "loglevel", "retry", "options", "sequence", "nodefilters"}
    assert job.keys() >= {"name", "description", "loglevel", "sequence"} and job["loglevel"] == "INFO"
    assert job["retry"].keys() == {"retry", "delay"} and all(isinstance(each, str) for each in job["retry"].values())
    assert [each.keys() for each in job["options"]] == [{"name", "required"}]
    sequence, filters = job["sequence"], job["nodefilters"]
    assert sequence.keys() == {"keepgoing", "strategy", "commands"} and sequence["strategy"] in (
        "node-first",
        "step-first",
    )
    assert [each.keys() for each in sequence["commands"]] == [{"scriptfile", "args"}]
    assert filters.keys() == {"dispatch", "filter"} and filters["dispatch"] == {"threadcount": 1, "keepgoing": False}
    assert all(f"option.{each['name']}" in filters["filter"] for each in job["options"])


def test_functions_of_the_airflow_recipe_run_and_cancel_an_action(
    shared_agent: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = SimpleNamespace(**executed(blocks("airflow", "python")[0]))
    for name, value in environ(shared_agent).items():
        monkeypatch.setenv(name, value)
    done = recipe.run_action(SUCCESS, key="airflow-1", reason="r")
    assert recipe.run_action(SUCCESS, key="airflow-1", reason="r")["action"]["id"] == done["action"]["id"]
    with pytest.raises(recipe.Ended, match="ended with 1"):
        recipe.run_action(FAIL, key="airflow-2", reason="r")
    monkeypatch.setenv("AGENT_URL", "http://127.0.0.1:1")
    with pytest.raises(recipe.Repeat, match="does not answer"):
        recipe.run_action("--timeout=1s", SUCCESS, key="airflow-3", reason="r")


def test_functions_of_the_temporal_recipe_run_and_cancel_an_action(
    shared_agent: AgentProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = SimpleNamespace(**executed(blocks("temporal", "python")[0]))
    for name, value in environ(shared_agent).items():
        monkeypatch.setenv(name, value)

    def run(kind: str, *args: str, key: str) -> Any:
        return recipe.run_action(kind, args, key, "r", lambda action_id: None)

    async def cancelled() -> None:
        task = asyncio.create_task(run(LOOP, "target=600", "delay=1", key="temporal-3"))
        while not shared_agent.queue():
            await asyncio.sleep(0.02)
        task.cancel()
        await task

    done = asyncio.run(run(SUCCESS, key="temporal-1"))
    assert asyncio.run(run(SUCCESS, key="temporal-1"))["action"]["id"] == done["action"]["id"]
    with pytest.raises(recipe.Ended, match="ended with 1"):
        asyncio.run(run(FAIL, key="temporal-2"))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    eventually(lambda: not shared_agent.queue(), "the action is cancelled", 60)


def test_temporal_recipe_is_cancelled_even_if_its_command_has_just_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of the signal replaced the cancellation, and the action continued."""
    recipe = SimpleNamespace(**executed(blocks("temporal", "python")[0]))

    class JustEnded:
        async def communicate(self) -> None:
            raise asyncio.CancelledError

        def kill(self) -> None:
            raise ProcessLookupError

        async def wait(self) -> int:
            return 0

    async def start(*words: str, **options: Any) -> JustEnded:
        return JustEnded()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(recipe.agentctl("json", "wait", "x"))


def test_every_code_block_of_a_recipe_parses() -> None:
    """Blocks that only the engine itself can run."""
    for page in sorted((CHECKOUT / "docs").glob("recipe-*.rst")):
        engine = page.stem.removeprefix("recipe-")
        for block in blocks(engine, "python"):
            compile(block, str(page), "exec")
        for block in blocks(engine, "yaml"):
            assert yaml.safe_load(block), page


def executed(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "recipe", "exec"), names)
    return names
