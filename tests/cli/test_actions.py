"""agentctl schedule, plan, list, info, wait and cancel against a running agent: output and exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.client import Client, Unreachable
from tests.agent_process import AgentProcess, StartAgent
from tests.cli.calling import COMMAND, Typed, call, environment, started
from tests.conformance.shapes import FAIL, LOOP, SUCCESS
from tests.kinds.configuring import toml
from tests.trust.guarded import DBA_TOKEN, PINGER_TOKEN, THREE

REFUSED_PORT = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with kinds that have a secret, disrupt and destroy."""
    secret = {"password": {"type": "string", "required": True, "secret": True}}
    done = {"action": ["true"], "check": ["sh", "-c", """echo '{"status":"finished"}'"""], "args": secret}
    plain = {name: value for name, value in done.items() if name != "args"}
    directory = tmp_path_factory.mktemp("external")
    caches = {"page": {"kind": "folder", "path": str(directory / "cache")}}
    config = toml(
        {
            "agent": {"kinds": ["tests.kinds.effects"]},
            "external_actions": {"secretive": done, "plain": plain, "one.same": plain, "two.same": plain},
            "caches": caches,
        }
    )
    started = AgentProcess(directory, config=config).start()
    yield started
    started.close()


# Exit status


def test_done_action_exits_with_0_and_prints_its_message(shared_agent: AgentProcess) -> None:
    ended = call(shared_agent, "schedule", "--wait", "ping", "count=2")
    assert (ended.status, ended.stdout.split("  ")[1:]) == (0, ["replicante.test.ping", "done: 2 of 2 pongs\n"])


def test_a_failed_action_exits_with_1(shared_agent: AgentProcess) -> None:
    ended = call(shared_agent, "schedule", "--wait", FAIL)
    assert (ended.status, "failed: failed, as it always does" in ended.stdout) == (1, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ping", "count=many"), "count: expected integer, got many"),
        (("ping", "count:=2,"), "count: expected JSON, got 2,"),
        (("ping", "cuont=2"), "replicante.test.ping has no argument cuont; it has count"),
        (("ping", "count"), "expected NAME=VALUE, got count"),
        (("ping", "count=-1"), "count: Must be greater than or equal to"),
        (("ping", "count=1", "count=2"), "count is given twice"),
        (
            ("ping", "--not-before", "soon"),
            "expected a time with a zone such as 2026-11-26T22:00:00+01:00, or a time span",
        ),
    ],
)
def test_refused_arguments_exit_with_2(shared_agent: AgentProcess, words: tuple[str, ...], sentence: str) -> None:
    ended = call(shared_agent, "schedule", *words)
    assert (ended.status, ended.stdout) == (2, "")
    assert sentence in ended.stderr


def test_a_cancelled_action_exits_with_3(busy_agent: AgentProcess) -> None:
    action_id = busy_agent.schedule(SUCCESS, {})
    assert call(busy_agent, "cancel", action_id[:13]).stdout == f"{action_id}  cancelled\n"
    ended = call(busy_agent, "wait", action_id)
    assert (ended.status, "cancelled: cancelled before it started" in ended.stdout) == (3, True)


def test_cancel_of_a_running_action_names_the_command_that_shows_its_end(busy_agent: AgentProcess) -> None:
    action_id = call(busy_agent, "info", "@running", "-o", "name").stdout.strip()
    ended = call(busy_agent, "cancel", "@running")
    assert (ended.status, ended.stdout) == (0, f"{action_id}  RUNNING\n")
    assert ended.stderr == f"cancel requested; agentctl wait {action_id[:8]} shows the end\n"
    assert call(busy_agent, "wait", action_id).status == 3
    busy_agent.occupy()


def test_an_unreachable_agent_exits_with_5() -> None:
    for url, sentence in (
        (REFUSED_PORT, "the agent does not answer: Connection refused"),
        ("unix:/nowhere/agent.sock", "the agent does not answer: No such file or directory"),
    ):
        ended = call(url, "queue")
        remedy = "start the agent there, or name another one: --url or -c"
        assert (ended.status, ended.stderr) == (5, f"{url}: {sentence}; {remedy}\n")


def test_invalid_address_exits_with_2() -> None:
    ended = call("db-1:8000", "queue")
    assert (ended.status, "expected unix:PATH, http://HOST:PORT or https://HOST:PORT" in ended.stderr) == (2, True)


def test_the_end_of_the_wait_exits_with_6(busy_agent: AgentProcess) -> None:
    running = busy_agent.queue()[0]["id"]
    for seconds in ("0", "0.5s"):
        ended = call(busy_agent, "wait", "@running", "--timeout", seconds)
        assert ended.status == 6
        assert ended.stderr.endswith(f"the wait has timed out; the action {running} continues\n")


def test_an_unknown_action_exits_with_7(shared_agent: AgentProcess) -> None:
    assert call(shared_agent, "info", "999999").status == 7
    for words in (("info", "abcdef"), ("info", "@running"), ("schedule", "pong"), ("schedule", "deploy")):
        assert call(shared_agent, *words).status == 7


def test_a_full_queue_exits_with_8_and_an_action_that_expired_with_3(start_agent: StartAgent) -> None:
    agent = start_agent(config="[actions]\nqueue_limit = 1\n")
    agent.occupy()
    waiting = call(agent, "schedule", SUCCESS, "--not-after", "3s").stdout.strip()
    full = call(agent, "schedule", SUCCESS)
    assert (full.status, full.stdout, "queue" in full.stderr) == (8, "", True)
    ended = call(agent, "wait", waiting)
    assert (ended.status, "expired: not started by" in ended.stdout) == (3, True)


def test_debug_prints_each_call_and_no_token(shared_agent: AgentProcess, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("battery-staple")
    ended = call(shared_agent, "queue", "--debug", "--token-file", str(tmp_path / "token"))
    assert ended.stderr.startswith("GET /api/unstable/actions/list?state=NEW%2CRUNNING&limit=500: 200 after 0.")
    assert "staple" not in ended.stderr


def test_a_final_action_cannot_be_cancelled_and_exits_with_8(shared_agent: AgentProcess) -> None:
    number = shared_agent.await_final(shared_agent.schedule(SUCCESS, {}))["action"]["async_action_id"]
    ended = call(shared_agent, "cancel", str(number))
    assert (ended.status, ended.stderr) == (8, f"{number}: the action is DONE already\n")


def test_a_token_is_read_from_a_file_and_a_wrong_one_exits_with_4(start_agent: StartAgent, tmp_path: Path) -> None:
    tokens, file = tmp_path / "tokens.toml", tmp_path / "token"
    tokens.write_text(THREE)
    tokens.chmod(0o600)
    agent = start_agent(config=toml({"api": {"tokens": str(tokens)}}))
    file.write_text(f"{DBA_TOKEN}\n")
    ended = call(agent, "schedule", SUCCESS, "--token-file", str(file))
    assert (ended.status, len(ended.stdout.strip())) == (0, 36), ended.stderr
    for refused in ("wrong", PINGER_TOKEN):
        file.write_text(refused)
        assert call(agent, "schedule", SUCCESS, "--token-file", str(file)).status == 4
    assert call(agent, "queue").status == 4


def test_ambiguous_kind_or_action_is_refused(external: AgentProcess, shared_agent: AgentProcess) -> None:
    kinds = call(external, "schedule", "same")
    assert (kinds.status, kinds.stderr) == (2, "several kinds end with same: external.one.same, external.two.same\n")
    letters: list[str] = []
    while len(letters) == len(set(letters)):
        letters += [each for each in shared_agent.schedule(SUCCESS, {})[0] if each in "abcdef"]
    several = call(shared_agent, "info", letters[-1])
    assert (several.status, f"several actions match {letters[-1]}: {letters[-1]}" in several.stderr) == (2, True)


# Confirmations, and secrets that are never taken from the command line


def test_a_secret_is_read_from_a_file_or_standard_input_alone(external: AgentProcess, tmp_path: Path) -> None:
    refused = call(external, "schedule", "secretive", "password=battery-staple")
    assert (refused.status, "password is a secret: use password=@FILE" in refused.stderr) == (2, True)
    (tmp_path / "secret").write_text("battery-staple\n")
    for word, stdin in ((f"password=@{tmp_path / 'secret'}", ""), ("password=@-", "battery-staple\n")):
        ended = call(external, "schedule", "--wait", "--yes", "secretive", word, stdin=stdin)
        assert ended.status == 0, ended.stderr
        assert "battery" not in ended.stdout + ended.stderr + refused.stderr


def test_a_dangerous_kind_needs_yes_without_a_terminal(external: AgentProcess) -> None:
    danger = {each["kind"]: each["danger"] for each in external.get("/api/unstable/actions/available").json}
    assert danger["external.secretive"] != "none"
    before = len(external.finished())
    ended = call(external, "schedule", "secretive", "password=@-", stdin="battery-staple")
    assert (ended.status, "add --yes to schedule it without a terminal" in ended.stderr) == (2, True)
    assert len(external.finished()) == before


@pytest.mark.parametrize(("answer", "status"), [("n", 2), ("", 2), ("y", 0)])
def test_kind_that_disrupts_is_confirmed_on_a_terminal(external: AgentProcess, answer: str, status: int) -> None:
    before = len(external.finished())
    shown, code = on_a_terminal(external, ("schedule", "plain"), (b"schedule it? [y/N] ", f"{answer}\n"))
    assert (code, "external.plain" in shown) == (status, True), shown
    assert len(external.finished()) == before + (status == 0)


@pytest.mark.parametrize(("answer", "status"), [("y", 2), ("", 2), ("clear_caches", 0)])
def test_kind_that_destroys_is_confirmed_by_its_name(external: AgentProcess, answer: str, status: int) -> None:
    kept = external.directory / "cache" / "kept"
    kept.parent.mkdir(exist_ok=True)
    kept.touch()
    question = b"type clear_caches to schedule it: "
    shown, code = on_a_terminal(external, ("schedule", "clear_caches", 'caches:=["page"]'), (question, f"{answer}\n"))
    assert (code, kept.exists()) == (status, status != 0), shown


def confirmed(agent: AgentProcess, kind: str, would: str, answer: str) -> tuple[int, str]:
    """Exit status and messages of a call on a terminal with this answer to every question."""
    ended = call(agent, "schedule", "--wait", kind, f"would={would}", stdin=Typed(f"{answer}\n"))
    assert ("done: did it" in ended.stdout) == (ended.status == 0)
    return ended.status, ended.stderr


@pytest.mark.parametrize("would", ["nothing", "change", "unknown", "disrupt"])
def test_a_kind_that_disrupts_is_confirmed_whatever_its_plan(external: AgentProcess, would: str) -> None:
    status, prose = confirmed(external, "tests.effect", would, "")
    assert (status, prose.count("schedule it? [y/N]"), would in prose) == (2, 1, True)


@pytest.mark.parametrize("kind", ["tests.effect", "tests.effect.harmless"])
@pytest.mark.parametrize(("answer", "status"), [("y", 2), ("", 2), ("{}", 0)])
def test_plan_that_destroys_is_confirmed_by_the_name_of_the_kind(
    external: AgentProcess, kind: str, answer: str, status: int
) -> None:
    ended, prose = confirmed(external, kind, "destroy", answer.format(kind))
    assert (ended, f"this destroys data; type {kind} to schedule it: " in prose) == (status, True)


@pytest.mark.parametrize(("answer", "status"), [("n", 2), ("y", 0)])
def test_a_harmless_kind_whose_plan_disrupts_is_confirmed(external: AgentProcess, answer: str, status: int) -> None:
    ended, prose = confirmed(external, "tests.effect.harmless", "disrupt", answer)
    assert (ended, "disrupt: would disrupt" in prose) == (status, True)


@pytest.mark.parametrize("would", ["nothing", "change", "unknown"])
def test_harmless_kind_with_a_harmless_plan_needs_no_confirmation(external: AgentProcess, would: str) -> None:
    status, prose = confirmed(external, "tests.effect.harmless", would, "")
    assert (status, "schedule it" in prose) == (0, False)


@pytest.mark.parametrize("would", ["disrupt", "destroy"])
def test_a_harmless_kind_needs_yes_without_a_terminal_if_its_plan_is_worse(external: AgentProcess, would: str) -> None:
    words = ("tests.effect.harmless", f"would={would}")
    refused = call(external, "schedule", *words)
    assert (refused.status, refused.stderr) == (
        2, f"tests.effect.harmless {would}s with these arguments: add --yes to schedule it without a terminal\n",
    )  # fmt: skip
    assert call(external, "schedule", "--wait", "--yes", *words).status == 0


@pytest.mark.parametrize(("kind", "questions"), [("tests.effect", 1), ("tests.effect.harmless", 0)])
def test_unavailable_plan_leaves_the_danger_of_the_kind(
    external: AgentProcess, kind: str, questions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Client.post

    def without_plans(self: Client, verb: str, *more: Any, **options: Any) -> Any:
        if verb == "plan":
            raise Unreachable("the agent does not answer")
        return post(self, verb, *more, **options)

    monkeypatch.setattr(Client, "post", without_plans)
    status, prose = confirmed(external, kind, "destroy", "y")
    assert (status, prose.count("schedule it? [y/N]"), prose.count("the plan is not available")) == (
        0, questions, questions,
    )  # fmt: skip


def test_refused_plan_is_printed_once_without_a_question(start_agent: StartAgent) -> None:
    agent = start_agent(config=toml({"datastore": {"kind": "redis", "url": REFUSED_PORT.replace("http", "redis")}}))
    shown, code = on_a_terminal(agent, ("schedule", "promote_slave_db"))
    assert (code, shown.count("nothing listens at"), "[y/N]" in shown) == (2, 1, False), shown
    assert "the action would fail now; --yes schedules it anyway" in shown
    assert agent.queue() == agent.finished() == []


def test_output_format_does_not_apply_to_the_output_of_commands(shared_agent: AgentProcess) -> None:
    ended = call(shared_agent, "-o", "json", "output", "@last")
    assert (ended.status, ended.stderr) == (
        2,
        "the output is printed unchanged: -o json does not apply\n",
    )


def on_a_terminal(agent: AgentProcess, words: tuple[str, ...], *dialogue: tuple[bytes, str]) -> tuple[str, int]:
    """The output of the command on a terminal with these answers, and its exit status."""
    ours, its = os.openpty()
    with subprocess.Popen([*COMMAND, *words], env=environment(agent), stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        for question, answer in dialogue:
            while question not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, answer.encode())
        with suppress(OSError):  # the end of the other side
            while piece := os.read(ours, 1024):
                shown += piece
        os.close(ours)
        return shown.decode(), process.wait(60)


def test_secret_is_read_from_the_terminal_and_not_shown(external: AgentProcess) -> None:
    words, first = ("schedule", "--yes", "secretive"), (b"password: ", "battery-staple\n")
    shown, code = on_a_terminal(external, words, first, (b"password again: ", "battery-staple\n"))
    assert (code, "done: " in shown, "staple" in shown) == (0, True, False), shown
    missing = call(external, "schedule", "--yes", "secretive")
    assert (missing.status, "password is a secret that is missing: use password=@FILE" in missing.stderr) == (
        2,
        True,
    )


def test_secret_typed_differently_the_second_time_is_not_sent(external: AgentProcess) -> None:
    before = len(external.finished())
    words, first = ("schedule", "--yes", "secretive"), (b"password: ", "battery-staple\n")
    shown, code = on_a_terminal(external, words, first, (b"password again: ", "battery-stable\n"))
    assert (code, "password: the two entries differ: nothing was sent" in shown) == (2, True), shown
    assert ("battery" in shown, len(external.finished())) == (False, before)


def test_a_file_that_cannot_be_read_exits_with_2(shared_agent: AgentProcess, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for words, sentence in (
        (("--token-file", "/no/such/token", "queue"), "the token file /no/such/token cannot be read: No such file"),
        (("--token-file", str(binary), "queue"), f"the token file {binary} is not text in UTF-8"),
        (("schedule", "ping", "count=@/no/such/count"), "count: the file /no/such/count cannot be read: No such file"),
        (("schedule", "ping", f"count=@{binary}"), f"count: the file {binary} is not text in UTF-8"),
    ):
        ended = call(shared_agent, *words)
        assert (ended.status, ended.stderr.startswith(sentence)) == (2, True), ended.stderr


# Ids and output


def test_an_action_is_named_by_number_prefix_and_place(start_agent: StartAgent) -> None:
    agent = start_agent()
    action_id = agent.schedule(SUCCESS, {})
    agent.await_final(action_id)
    for given in (action_id, action_id[:9], "1", "@last"):
        assert call(agent, "info", given, "-o", "name").stdout == f"{action_id}\n"
    assert call(agent, "info", "@running").stderr == "no action runs now\n"
    assert call(agent, "info", "zz").stderr == "no recent action has an id that begins with zz\n"


def test_json_output_is_that_of_the_api(busy_agent: AgentProcess) -> None:
    waiting = busy_agent.schedule(SUCCESS, {})
    listed = json.loads(call(busy_agent, "queue", "-o", "json").stdout)
    assert [each["id"] for each in listed] == [each["id"] for each in busy_agent.queue()]
    assert json.loads(call(busy_agent, "info", waiting, "-o", "json").stdout) == busy_agent.info(waiting)
    busy_agent.cancel(waiting)


def test_the_same_key_schedules_once(shared_agent: AgentProcess) -> None:
    words = ("schedule", SUCCESS, "--key", "agentctl-1", "--reason", "ticket 7")
    first, again = (call(shared_agent, *words).stdout for _ in range(2))
    assert first == again
    assert shared_agent.info(first.strip())["action"]["reason"] == "ticket 7"


def test_a_plan_is_printed(shared_agent: AgentProcess) -> None:
    ended = call(shared_agent, "plan", "ping", "count=2")
    assert (ended.status, ended.stdout.startswith("unknown: replicante.test.ping would run")) == (0, True)


# The wait


def interrupted(agent: AgentProcess) -> tuple[subprocess.Popen[str], str]:
    """A wait for a running action after a first Ctrl-C, and the id of the action."""
    process = started(agent, "schedule", "--wait", LOOP, "target=600", "delay=0.2")
    assert process.stderr is not None
    action_id = process.stderr.readline().removeprefix("scheduled ").strip()
    agent.await_state(action_id, "RUNNING", timeout=20)
    process.send_signal(signal.SIGINT)
    line = ""
    while "continues" not in line:
        line = process.stderr.readline()
        assert line, "it ended without a sentence"
    assert line == f"the action {action_id} continues: agentctl wait {action_id[:8]}; press Ctrl-C again to cancel it\n"
    return process, action_id


def test_ctrl_c_leaves_the_action_running_and_a_second_one_cancels_it(shared_agent: AgentProcess) -> None:
    process, action_id = interrupted(shared_agent)
    with process:
        process.communicate(timeout=60)
    assert (process.returncode, shared_agent.state(action_id)) == (6, "RUNNING")
    shared_agent.cancel(action_id)
    shared_agent.await_final(action_id)
    process, action_id = interrupted(shared_agent)
    with process:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, f"cancel requested: {action_id}" in stderr) == (3, True), stderr
    assert f"{action_id}  {LOOP}  cancelled" in stdout
