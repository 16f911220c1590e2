"""External actions with real scripts: their input, their reports, and their ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.kinds.base import Done, Failed, Running, StepResult
from agent.kinds.external import External
from tests.agent_process import AgentProcess
from tests.kinds.configuring import settings, toml
from tests.kinds.performing import perform, step_of
from tests.servers.process import await_that, is_alive

StartAgent = Callable[..., AgentProcess]

FINISHED = ["echo", '{"status": "finished"}']


def declared(action: list[str], check: list[str], **options: Any) -> dict[str, Any]:
    own = {"action": action, "check": check, "interval": 0.05, "timeout": 10} | options
    return {"external_actions": {"vacuum.full": own}}


def external(action: list[str], check: list[str], **options: Any) -> External:
    [kind] = External.offered(settings(declared(action, check, **options)))
    assert isinstance(kind, External)
    return kind


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


def reporting(*reports: str, into: Path) -> list[str]:
    """A check that prints one report after the other."""
    for number, report in enumerate(reports):
        (into / f"report-{number}").write_text(report)
    return sh(f'cd {into}; for report in report-*; do cat "$report"; rm "$report"; exit; done')


def failed(outcomes: list[StepResult]) -> Failed:
    last = outcomes[-1]
    assert isinstance(last, Failed) and last.payload["error"] == last.message
    assert set(last.payload) == {"status", "error", "command", "exit_status", "stdout", "stderr"}
    assert last.payload["status"] == "failed"
    return last


# Without an agent


def test_an_external_action_is_started_once_and_checked_until_it_is_finished(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    reports = ('{"status": "running", "table": 1}', '{"status": "running"}', '{"status": "finished", "tables": 2}')
    check = reporting(*reports, into=tmp_path)
    assert perform(external(sh(f"echo start >> {starts}"), check)) == [
        Running({"status": "started"}),
        Running({"status": "running", "table": 1}, after=0.05),
        Running({"status": "running"}, after=0.05),
        Done({"status": "finished", "tables": 2}, "external.vacuum.full has finished"),
    ]
    assert starts.read_text() == "start\n"


def test_commands_get_the_action_and_no_variables_of_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "correct-horse")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/agent.service")
    script = 'cat > {0}.stdin; env > {0}.env; echo \'{{"status": "finished"}}\''
    perform(external(*(sh(f"cd {tmp_path}; {script.format(name)}") for name in ("action", "check"))))
    for name in ("action", "check"):
        message = json.loads((tmp_path / f"{name}.stdin").read_text())
        assert message == {"args": {}, "headers": {}, "id": "a-1", "kind": "external.vacuum.full"}
        environment = dict(line.split("=", 1) for line in (tmp_path / f"{name}.env").read_text().splitlines())
        assert environment["PATH"] and environment["AGENT_ACTION"] == "a-1"
        assert not {"PGPASSWORD", "CREDENTIALS_DIRECTORY", "PYTHONPATH", "VIRTUAL_ENV"} & set(environment)


@pytest.mark.parametrize("args", [{"a": [1]}, [1, 2], "text", 7, None, True])
def test_any_json_is_an_argument(args: Any, tmp_path: Path) -> None:
    kind = external(sh(f"cat > {tmp_path}/stdin"), FINISHED)
    kind.step(step_of(kind, args=args))
    assert json.loads((tmp_path / "stdin").read_text())["args"] == args
    assert kind.load(args) is args and kind.split_secrets(args) == (args, {})


def test_a_reported_failure_is_the_message_of_the_action() -> None:
    report = '{"status": "failed", "error": "the disk is full"}'
    last = failed(perform(external(["true"], ["echo", report])))
    assert last.message == "the disk is full"
    assert last.payload == {
        "error": "the disk is full", "status": "failed", "command": ["echo", report],
        "exit_status": 0, "stdout": f"{report}\n", "stderr": "",
    }  # fmt: skip


@pytest.mark.parametrize("which", ["action", "check"])
def test_failed_command_fails_the_action_with_its_output(which: str) -> None:
    failing = sh("echo so far; echo no such table >&2; exit 3")
    last = failed(perform(external(*((failing, FINISHED) if which == "action" else (["true"], failing)))))
    assert last.payload | {"error": ""} == {
        "error": "", "status": "failed", "command": failing,
        "exit_status": 3, "stdout": "so far\n", "stderr": "no such table\n",
    }  # fmt: skip
    assert "exit status 3" in last.message


def test_a_report_with_a_failure_of_the_command_is_a_failure() -> None:
    last = failed(perform(external(["true"], sh('echo \'{"status": "finished"}\'; exit 1'))))
    assert "exit status 1" in last.message and "finished" in last.payload["stdout"]


def test_missing_command_fails_the_action() -> None:
    last = failed(perform(external(["/no/such/program", "-v"], FINISHED)))
    assert last.payload | {"error": ""} == {
        "error": "", "status": "failed", "command": ["/no/such/program", "-v"],
        "exit_status": None, "stdout": "", "stderr": "",
    }  # fmt: skip
    assert "/no/such/program was not found" in last.message


@pytest.mark.parametrize(
    "report",
    [
        "", "working on it", "[]", '"finished"', "null", "{}", '{"status": "done"}', '{"status": ["finished"]}',
        '{"status": "finished"} {"status": "failed"}', '{"status": "running", "left": NaN}', "[" * 9000,
    ],
)  # fmt: skip
def test_unreadable_report_fails_the_action_with_the_output(report: str) -> None:
    last = failed(perform(external(["true"], ["printf", "%s", report])))
    assert last.message.startswith("the report of printf")
    assert (last.payload["stdout"], last.payload["exit_status"]) == (report, 0)


def test_too_long_report_is_cut_and_fails_the_action() -> None:
    endless = [sys.executable, "-c", 'print(\'{"status": "running", "log": "\' + "x" * 10**6 + \'"}\')']
    last = failed(perform(external(["true"], endless)))
    assert "the report of " in last.message and "has 16384 bytes or more" in last.message
    assert len(last.payload["stdout"]) == 16384


@pytest.mark.parametrize(
    ("report", "why"),
    [
        ('{"status": "running", "rows": 1e999}', "cannot be read: a number is too large"),
        ('{"status": "running", "rows": -Infinity}', "cannot be read: -Infinity is not JSON"),
        ('{"status": "running", "status": "finished"}', "cannot be read: a member name comes twice in one object"),
        ('{"status": "running", "rows": ' + "[" * 80 + "]" * 80 + "}", "is nested deeper than 64 levels"),
    ],
)
def test_mistake_in_a_report_is_reported_in_one_sentence(report: str, why: str) -> None:
    last = failed(perform(external(["true"], ["printf", "%s", report])))
    assert last.message == f"the report of printf {why}"


@pytest.mark.parametrize("which", ["action", "check"])
def test_command_is_ended_with_its_children_after_the_timeout(which: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hanging = sh(f"sleep 1000 & echo $$ $! > {pids}; echo hanging; wait")
    commands = (hanging, FINISHED) if which == "action" else (["true"], hanging)
    last = failed(perform(external(*commands, timeout=0.4)))
    assert "took too long and was ended" in last.message and last.payload["stdout"] == "hanging\n"
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


def test_interrupted_action_continues_only_if_its_start_was_stored(tmp_path: Path) -> None:
    kind = external(sh(f"touch {tmp_path}/started"), FINISHED)
    interrupted = kind.resume(step_of(kind))
    assert isinstance(interrupted, Failed) and interrupted.payload["interrupted"] is True
    assert interrupted.payload["status"] == "failed"
    assert not (tmp_path / "started").exists()
    for known in ({"status": "started"}, {"status": "running"}):
        assert isinstance(kind.resume(step_of(kind, known)), Done)


# Through an agent


def test_arguments_and_headers_arrive_on_standard_input(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=toml(declared(sh(f"cat > {tmp_path}/stdin"), FINISHED, description="Vacuum it all.")))
    headers = {"X-Request-Id": "CH-7", "Authorization": "Bearer correct-horse"}
    action_id = agent.schedule("external.vacuum.full", ["users", {"deep": True}], headers=headers)
    info = agent.await_final(action_id)
    assert info["action"]["state"] == "DONE" and info["action"]["state_payload"] == {"status": "finished"}
    assert json.loads((tmp_path / "stdin").read_text()) == {
        "args": ["users", {"deep": True}],
        "headers": {"x-request-id": "CH-7"},
        "id": action_id,
        "kind": "external.vacuum.full",
    }
    offered = {each["kind"]: each for each in agent.get("/api/unstable/actions/available").json}
    assert offered["external.vacuum.full"] == {
        "kind": "external.vacuum.full", "description": "Vacuum it all.", "danger": "disrupts", "args": {},
    }  # fmt: skip


def test_failure_is_final_with_the_output_of_the_command(start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(declared(["true"], sh("echo nonsense; echo why >&2"))))
    action = agent.await_final(agent.schedule("external.vacuum.full", {}))["action"]
    assert action["state"] == "FAILED"
    assert (action["state_payload"]["stdout"], action["state_payload"]["stderr"]) == ("nonsense\n", "why\n")


def test_an_action_command_in_flight_when_the_agent_was_killed_is_ended_and_not_run_again(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    agent = start_agent(config=toml(declared(sh(f"echo $$ >> {pids}; exec sleep 1000"), FINISHED, timeout=100)))
    action_id = agent.schedule("external.vacuum.full", {})
    pid = int(await_that(lambda: pids.exists() and pids.read_text()))
    agent.kill_all()
    assert is_alive(pid)
    agent.start()
    action = agent.await_final(action_id)["action"]
    assert action["state"] == "FAILED" and action["state_payload"]["interrupted"] is True
    assert pids.read_text() == f"{pid}\n" and not is_alive(pid)


def test_a_check_in_flight_when_the_agent_was_killed_is_made_again(start_agent: StartAgent, tmp_path: Path) -> None:
    checks = tmp_path / "checks"
    first_hangs = f"echo $$ >> {checks}; [ $(wc -l < {checks}) -gt 1 ] || exec sleep 1000; {' '.join(FINISHED[:1])}"
    check = sh(f"{first_hangs} '{FINISHED[1]}'")
    agent = start_agent(config=toml(declared(["true"], check, timeout=100)))
    action_id = agent.schedule("external.vacuum.full", {})
    pid = int(await_that(lambda: checks.exists() and checks.read_text()))
    agent.kill_all()
    agent.start()
    assert agent.await_final(action_id)["action"]["state"] == "DONE"
    assert len(checks.read_text().splitlines()) == 2 and not is_alive(pid)
