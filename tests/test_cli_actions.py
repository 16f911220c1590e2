"""agentctl schedule, plan, list, info, wait and cancel against a running agent: output and exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import FAIL, LOOP, SUCCESS
from tests.kinds.configuring import toml
from tests.trust.guarded import DBA_TOKEN, PINGER_TOKEN, THREE

REFUSED_PORT = "http://127.0.0.1:1"


def environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_")}
    return kept | {"PYTHONPATH": str(CHECKOUT), "AGENT_URL": url}


def url_of(agent: AgentProcess) -> str:
    return f"unix:{agent.socket}" if agent.socket else f"http://127.0.0.1:{agent.port}"


def agentctl(agent: AgentProcess | str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command, ended; `agent` may be an address."""
    url = agent if isinstance(agent, str) else url_of(agent)
    command = [sys.executable, "-m", "agent.cli", *words]
    return subprocess.run(
        command, env=environment(url), input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with kinds that have a secret, disrupt and destroy."""
    secret = {"password": {"type": "string", "required": True, "secret": True}}
    done = {"action": ["true"], "check": ["sh", "-c", """echo '{"status":"finished"}'"""], "args": secret}
    plain = {name: value for name, value in done.items() if name != "args"}
    directory = tmp_path_factory.mktemp("external")
    caches = {"page": {"kind": "folder", "path": str(directory / "cache")}}
    config = toml({"external_actions": {"secretive": done, "plain": plain}, "caches": caches})
    started = AgentProcess(directory, config=config).start()
    yield started
    started.close()


# Exit status


def test_a_done_action_exits_with_0_and_its_sentence(shared_agent: AgentProcess) -> None:
    ended = agentctl(shared_agent, "schedule", "ping", "count=2")
    assert (ended.returncode, ended.stdout.split("  ")[1:]) == (0, ["replicante.test.ping", "done: 2 of 2 pongs\n"])


def test_a_failed_action_exits_with_1(shared_agent: AgentProcess) -> None:
    ended = agentctl(shared_agent, "schedule", FAIL)
    assert (ended.returncode, "failed: failed, as it always does" in ended.stdout) == (1, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ping", "count=many"), "count: expected integer, got many"),
        (("ping", "count:=2,"), "count: expected JSON, got 2,"),
        (("ping", "cuont=2"), "replicante.test.ping has no argument cuont; it has count"),
        (("ping", "count"), "expected NAME=VALUE, got count"),
        (("ping", "count=-1"), "count: Must be greater than or equal to"),
        (("pong",), "unknown kind: pong; agentctl available lists the kinds of this agent"),
        (("ping", "--not-before", "soon"), "Not-Before must be a time as in RFC 3339"),
    ],
)
def test_refused_arguments_exit_with_2(shared_agent: AgentProcess, words: tuple[str, ...], sentence: str) -> None:
    ended = agentctl(shared_agent, "schedule", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr


def test_a_cancelled_action_exits_with_3(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    assert agentctl(busy_agent, "cancel", action_id[:13]).stdout == f"{action_id}  FAILED\n"
    ended = agentctl(busy_agent, "wait", action_id)
    assert (ended.returncode, "cancelled: cancelled before it started" in ended.stdout) == (3, True)


def test_an_unreachable_agent_exits_with_5() -> None:
    for url, sentence in (
        (REFUSED_PORT, "the agent does not answer: [Errno 111] Connection refused"),
        ("unix:/nowhere/agent.sock", "the agent does not answer: [Errno 2] No such file or directory"),
    ):
        ended = agentctl(url, "queue")
        assert (ended.returncode, ended.stderr) == (5, f"{url}: {sentence}\n")


def test_an_address_that_is_none_exits_with_2() -> None:
    ended = agentctl("db-1:8000", "queue")
    assert (ended.returncode, "expected unix:PATH, http://HOST:PORT or https://HOST:PORT" in ended.stderr) == (2, True)


def test_the_end_of_the_wait_exits_with_6(busy_agent: AgentProcess) -> None:
    running = busy_agent.queue()[0]["id"]
    ended = agentctl(busy_agent, "wait", "@running", "--wait-timeout", "0.5")
    assert (ended.returncode, f"{running} is not final after 0.5 s; it continues" in ended.stderr) == (6, True)


def test_an_unknown_action_exits_with_7(shared_agent: AgentProcess) -> None:
    assert agentctl(shared_agent, "info", "999999").returncode == 7


def test_a_final_action_cannot_be_cancelled_and_exits_with_8(shared_agent: AgentProcess) -> None:
    number = shared_agent.await_final(shared_agent.schedule(SUCCESS, {}))["action"]["async_action_id"]
    ended = agentctl(shared_agent, "cancel", str(number))
    assert (ended.returncode, ended.stderr) == (8, "the action is DONE already\n")


def test_a_token_is_read_from_a_file_and_a_wrong_one_exits_with_4(start_agent: StartAgent, tmp_path: Path) -> None:
    tokens, file = tmp_path / "tokens.toml", tmp_path / "token"
    tokens.write_text(THREE)
    tokens.chmod(0o600)
    agent = start_agent(config=toml({"api": {"tokens": str(tokens)}}))
    file.write_text(f"{DBA_TOKEN}\n")
    ended = agentctl(agent, "schedule", SUCCESS, "--token-file", str(file))
    assert (ended.returncode, ended.stderr.startswith("scheduled ")) == (0, True), ended.stderr
    for refused in ("wrong", PINGER_TOKEN):
        file.write_text(refused)
        assert agentctl(agent, "schedule", SUCCESS, "--token-file", str(file)).returncode == 4
    assert agentctl(agent, "queue").returncode == 4


# What is asked before, and what is never taken from the command line


def test_a_secret_is_read_from_a_file_or_standard_input_alone(external: AgentProcess, tmp_path: Path) -> None:
    refused = agentctl(external, "schedule", "secretive", "password=battery-staple")
    assert (refused.returncode, "password is a secret: give it as password=@FILE" in refused.stderr) == (2, True)
    (tmp_path / "secret").write_text("battery-staple\n")
    for word, stdin in ((f"password=@{tmp_path / 'secret'}", ""), ("password=@-", "battery-staple\n")):
        ended = agentctl(external, "schedule", "--yes", "secretive", word, stdin=stdin)
        assert ended.returncode == 0, ended.stderr
        assert "battery" not in ended.stdout + ended.stderr + refused.stderr


def test_a_dangerous_kind_needs_yes_without_a_terminal(external: AgentProcess) -> None:
    danger = {each["kind"]: each["danger"] for each in external.get("/api/unstable/actions/available").json}
    assert danger["external.secretive"] != "none"
    before = len(external.finished())
    ended = agentctl(external, "schedule", "secretive", "password=@-", stdin="battery-staple")
    assert (ended.returncode, "add --yes to schedule it without a terminal" in ended.stderr) == (2, True)
    assert len(external.finished()) == before


@pytest.mark.parametrize(("answer", "status"), [("n", 2), ("", 2), ("y", 0)])
def test_a_kind_that_disrupts_is_asked_for_on_a_terminal(external: AgentProcess, answer: str, status: int) -> None:
    before = len(external.finished())
    shown, code = on_a_terminal(external, ("schedule", "plain"), b"schedule it? [y/N] ", f"{answer}\n")
    assert (code, "external.plain" in shown) == (status, True), shown
    assert len(external.finished()) == before + (status == 0)


@pytest.mark.parametrize(("answer", "status"), [("y", 2), ("", 2), ("clear_caches", 0)])
def test_a_kind_that_destroys_asks_for_a_name(external: AgentProcess, answer: str, status: int) -> None:
    kept = external.directory / "cache" / "kept"
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    question = b"type clear_caches to schedule it: "
    shown, code = on_a_terminal(external, ("schedule", "clear_caches", 'caches:=["page"]'), question, f"{answer}\n")
    assert (code, kept.exists()) == (status, status != 0), shown


def on_a_terminal(agent: AgentProcess, words: tuple[str, ...], question: bytes, answer: str) -> tuple[str, int]:
    """What the command shows on a terminal where its question is answered so, and its exit status."""
    ours, its = os.openpty()
    command = [sys.executable, "-m", "agent.cli", *words]
    with subprocess.Popen(command, env=environment(url_of(agent)), stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        while question not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, answer.encode())
        with suppress(OSError):  # the end of the other side
            while piece := os.read(ours, 1024):
                shown += piece
        os.close(ours)
        return shown.decode(), process.wait(60)


# Ids and output


def test_an_action_is_named_by_number_prefix_and_place(start_agent: StartAgent) -> None:
    agent = start_agent()
    action_id = agent.schedule(SUCCESS, {})
    agent.await_final(action_id)
    for given in (action_id, action_id[:9], "1", "@last"):
        assert agentctl(agent, "info", given, "-o", "name").stdout == f"{action_id}\n"
    assert agentctl(agent, "info", "@running").stderr == "no recent action matches @running\n"


def test_json_output_is_that_of_the_api(busy_agent: AgentProcess) -> None:
    waiting = busy_agent.schedule(SUCCESS, {})
    listed = json.loads(agentctl(busy_agent, "queue", "-o", "json").stdout)
    assert [each["id"] for each in listed] == [each["id"] for each in busy_agent.queue()]
    assert json.loads(agentctl(busy_agent, "info", waiting, "-o", "json").stdout) == busy_agent.info(waiting)
    busy_agent.cancel(waiting)


def test_the_same_key_schedules_once(shared_agent: AgentProcess) -> None:
    words = ("schedule", SUCCESS, "--no-wait", "--key", "agentctl-1", "--reason", "ticket 7")
    first, again = (agentctl(shared_agent, *words).stdout for _ in range(2))
    assert first == again
    assert shared_agent.info(first.strip())["action"]["reason"] == "ticket 7"


def test_a_plan_is_printed(shared_agent: AgentProcess) -> None:
    ended = agentctl(shared_agent, "plan", "ping", "count=2")
    assert (ended.returncode, ended.stdout.startswith("unknown: replicante.test.ping would run")) == (0, True)


# The wait


def test_a_wait_survives_the_death_of_the_agent(start_agent: StartAgent) -> None:
    agent = start_agent()
    words = (sys.executable, "-m", "agent.cli", "schedule", LOOP, "target=8", "delay=0.5")
    with subprocess.Popen(
        words, env=environment(url_of(agent)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        eventually(lambda: [each for each in agent.queue() if each["state"] == "RUNNING"], "it runs", 20)
        agent.kill_all()
        agent.start()
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, "done: counted to 8" in stdout) == (0, True), stderr
    assert len(agent.finished()) == 1


def test_an_interrupted_wait_leaves_the_action_running(start_agent: StartAgent) -> None:
    agent = start_agent()
    words = (sys.executable, "-m", "agent.cli", "schedule", LOOP, "target=600", "delay=0.5")
    with subprocess.Popen(
        words, env=environment(url_of(agent)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        eventually(lambda: [each for each in agent.queue() if each["state"] == "RUNNING"], "it runs", 20)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    action_id = first.removeprefix("scheduled ").strip()
    assert (process.returncode, f"the action {action_id} continues" in stderr) == (6, True)
    assert agent.state(action_id) == "RUNNING"
