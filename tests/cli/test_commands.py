"""The output of agentctl: lists, kinds, contexts, several agents, the file of a stopped agent, completion."""

from __future__ import annotations

import csv
import io
import json
import signal
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from agent.cli import printing, selection, session
from agent.cli.arguments import typed
from agent.cli.commands import MODULES, agentctl
from agent.cli.exits import Usage
from agent.cli.printing import yaml as written_yaml
from agent.cli.session import DEFAULT_URL
from tests.agent_process import CHECKOUT, PREFIX, AgentProcess, StartAgent, eventually
from tests.cli.calling import call, started, url_of
from tests.conformance.shapes import FAIL, PING, SUCCESS, moment


@pytest.fixture(scope="module")
def used(shared_agent: AgentProcess) -> AgentProcess:
    """The agent of this module with one action of each outcome that is quick to make."""
    for kind in (SUCCESS, FAIL):
        shared_agent.await_final(shared_agent.schedule(kind, {}, headers={"Action-Reason": "OPS-17"}))
    return shared_agent


# Forms of output


def test_every_output_format_lists_the_same_actions(used: AgentProcess) -> None:
    listed = used.get(f"{PREFIX}/list").json["items"]
    ids = [each["id"] for each in listed]
    assert json.loads(call(used, "list", "-o", "json").stdout) == listed
    assert [json.loads(line) for line in call(used, "list", "-o", "jsonl").stdout.splitlines()] == listed
    assert yaml.safe_load(call(used, "list", "-o", "yaml").stdout) == listed
    assert call(used, "list", "-o", "name").stdout.split() == ids
    rows = list(csv.reader(io.StringIO(call(used, "list", "-o", "tsv").stdout), delimiter="\t"))
    assert [row[0] for row in rows] == ["ID", *(each[:8] for each in ids)]
    assert call(used, "-o", "name", "list").stdout.split() == ids


def test_info_prints_an_action_in_every_output_format(used: AgentProcess) -> None:
    info = used.info("1")
    assert json.loads(call(used, "info", "1", "-o", "json").stdout) == info
    assert yaml.safe_load(call(used, "info", "1", "-o", "yaml").stdout) == info
    assert call(used, "info", "1", "-o", "name").stdout == f"{info['action']['id']}\n"
    table = call(used, "info", "1", "--history").stdout
    assert table.splitlines()[:2] == [f"id         {info['action']['id']}", "number     1"]
    assert "reason     OPS-17\n" in table and "Z  NEW\n" in table
    rows = dict(line.split("\t", 1) for line in call(used, "info", "1", "-o", "tsv").stdout.splitlines())
    assert (rows["outcome"], rows["message"]) == ("done", info["action"]["message"])


@pytest.mark.parametrize("value", [{}, [], None, "a: b\n", {"a": [], "b": {"c": [{"d": 1}, [2, "on"]]}, "no": True}])
def test_yaml_reads_back_as_the_same(value: object) -> None:
    assert yaml.safe_load(written_yaml(value)) == value


def test_control_characters_in_a_list_are_escaped(used: AgentProcess) -> None:
    call(used, "schedule", "--wait", PING, "count=1", "--reason", "r")
    used.await_final(used.schedule(PING, {"count": 1}, headers={"From": "x@example.com"}))
    printed = call(used, "kinds", "ping").stdout + call(used, "list").stdout
    assert "\x1b" not in printed


# Lists


def test_finished_is_filtered_by_how_actions_ended(used: AgentProcess) -> None:
    kinds = {line.split()[2] for line in call(used, "finished", "--state", "failed").stdout.splitlines()[1:]}
    assert kinds == {FAIL}
    assert call(used, "finished", "--kind", "*.success", "--since", "1h", "-o", "name").stdout.count("\n") == 1
    assert call(used, "finished", "--since", "2999-01-01T00:00:00Z", "-o", "json").stdout == "[]\n"
    refused = call(used, "finished", "--state", "lost")
    assert (refused.status, "--state: expected some of done, failed" in refused.stderr) == (2, True)


def test_state_failed_is_filtered_past_newer_cancelled_actions(start_agent: StartAgent) -> None:
    agent = start_agent()
    failed = agent.schedule(FAIL, {})
    agent.await_final(failed)
    cancelled = [agent.schedule(SUCCESS, {}, headers={"Not-Before": "2999-01-01T00:00:00Z"}) for _ in range(3)]
    for each in cancelled:
        assert call(agent, "cancel", each).status == 0
    newest = cancelled[::-1]
    for words, found in (
        (("finished", "--state", "failed", "--limit", "1"), [failed]),
        (("list", "--state", "failed"), [failed]),
        (("list", "--state", "FAILED"), [*newest, failed]),
        (("list", "--state", "cancelled", "--limit", "2"), newest[:2]),
        (("list", "--state", "new,running"), []),
        (("finished", "--kind", "fail"), [failed]),
        (("list", "--kind", "fail", "--limit", "1"), [failed]),
        (("list", "--kind", "ail"), []),
        (("list", "--kind", "*.success"), newest),
    ):
        assert call(agent, *words, "-o", "name").stdout.split() == found, words
    assert json.loads(call(agent, "status", "-o", "json").stdout)["failed"] == "1 of the newest 4"
    agent.stop()
    offline = call(None, "--db", str(agent.db), "finished", "--state", "failed", "--limit", "1", "-o", "name")
    assert offline.stdout == f"{failed}\n"


def test_filters_are_applied_over_all_pages(monkeypatch: pytest.MonkeyPatch, used: AgentProcess) -> None:
    monkeypatch.setattr(selection, "PAGE", 1)
    ids = [each["id"] for each in used.get(f"{PREFIX}/list?kind={FAIL}").json["items"]]
    assert call(used, "finished", "--state", "failed", "-o", "name").stdout.split() == ids


def test_status_shows_what_runs_and_waits(used: AgentProcess) -> None:
    found = json.loads(call(used, "status", "-o", "json").stdout)
    assert found["running"] == "nothing" and found["waiting"] == 0
    assert found["agent"] == url_of(used) and found["datastore"].startswith("this node has no datastore")


def test_a_list_is_printed_again_after_each_change(used: AgentProcess) -> None:
    with started(used, "queue", "--watch", "-o", "json") as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "[]\n"
        held = used.schedule(SUCCESS, {}, headers={"Not-Before": "2999-01-01T00:00:00Z"})
        assert watching.stdout.readline() == "\n"
        assert json.loads(watching.stdout.readline())[0]["id"] == held
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=60)
    assert watching.returncode == 0
    with started(used, "info", held, "--follow") as following:
        assert following.stderr is not None
        assert following.stderr.readline().startswith("NEW  not before 2999-01-01T00:00:00Z")
        used.cancel(held)
        assert "cancelled: cancelled before it started" in following.communicate(timeout=60)[0]
    assert following.returncode == 3


def test_events_are_read_from_the_named_agent(used: AgentProcess) -> None:
    wire = used.get("/api/unstable/events").body.decode().splitlines()
    printed = call(used, "events")
    assert (printed.status, printed.stdout.splitlines()[: len(wire)]) == (0, wire)
    assert call(used, "events", "--since", "2999-01-01T00:00:00Z").stdout == ""
    with started(used, "events", "--follow") as following:
        assert following.stdout is not None
        action_id = used.schedule(SUCCESS, {})
        while json.loads(following.stdout.readline())["action_id"] != action_id:
            pass
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=60)
    assert following.returncode == 0


# Kinds


def test_kinds_lists_offered_and_missing_kinds(used: AgentProcess) -> None:
    names = call(used, "kinds", "-o", "name").stdout.split()
    assert PING in names and "deploy" not in names
    assert "deploy" in call(used, "kinds", "--missing").stdout
    assert "count (integer, at least 1, at most 100, default 1): " in call(used, "kinds", "ping").stdout
    missing = call(used, "schedule", "deploy")
    assert (missing.status, "deploy is not available on this node: " in missing.stderr) == (7, True)
    close = call(used, "schedule", "pimg")
    part = call(used, "kinds", "test")
    assert part.stderr.startswith("unknown kind: test; the closest is replicante.test.")
    assert "unknown kind: pimg; the closest is replicante.test.ping; agentctl kinds lists the kinds of" in close.stderr


def test_can_prints_yes_for_a_permitted_kind(used: AgentProcess) -> None:
    assert (call(used, "can", "ping").stdout, call(used, "can", "ping").status) == (f"yes: {PING}\n", 0)


def test_a_kind_shows_the_values_and_the_default_of_its_arguments() -> None:
    properties = {
        "privileges": {"type": "string", "enum": ["readonly", "owner"], "default": "readonly", "description": "What."},
        "password": {"type": "string", "writeOnly": True},
    }
    found = {"kind": "k", "danger": "none", "description": "D.", "args": {"properties": properties}}
    found["args"]["required"] = ["password"]  # type: ignore[index]
    assert printing.kind(found).splitlines() == [
        "k (danger: none)",
        "  D.",
        "  privileges (string, one of readonly owner, default readonly): What.",
        "  password (string, required, secret)",
    ]


# Arguments


KIND = {
    "kind": "example",
    "args": {
        "properties": {
            "caches": {"type": "array", "items": {"type": "string"}},
            "names": {"type": ["string", "array"]},
            "lag": {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+(MB|s)$"}]},
            "switch": {"enum": [True, 1, "on", "true", "1", False, 0, "off", "false", "0"]},
            "force": {"type": "boolean"},
            "share": {"type": "number"},
            "ref": {"type": ["string", "null"]},
            "any": {},
        }
    },
}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ('caches=["page"]', ["page"]), ("names=7", "7"), ('names:=["a","b"]', ["a", "b"]),
        ("lag=16", 16), ("lag=16MB", "16MB"),
        ("lag=a lot", "a lot"), ("switch=on", "on"), ("force=true", True), ("share=0.5", 0.5), ("ref=7", "7"),
        ("ref:=null", None),
        ("any=a=b", "a=b"), ("ref=a:=b", "a:=b"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_the_kind_declares_it(word: str, value: object) -> None:
    assert list(typed(KIND, [word]).values()) == [value]


def test_list_written_as_a_text_is_refused_with_an_example() -> None:
    with pytest.raises(Usage, match=r"""caches: expected array, got page; write caches:='\["page"\]'"""):
        typed(KIND, ["caches=page"])


def test_action_is_scheduled_again_with_a_changed_argument(used: AgentProcess) -> None:
    first = call(used, "schedule", "--wait", PING, "count=2", "-o", "name").stdout.strip()
    again = call(used, "again", first[:12], "--wait", "-o", "json")
    other = call(used, "again", first, "count=1", "--wait", "-o", "json")
    assert [json.loads(each.stdout)["action"]["args"] for each in (again, other)] == [{"count": 2}, {"count": 1}]
    assert json.loads(again.stdout)["action"]["id"] != first


def test_time_span_is_sent_as_a_start_time(used: AgentProcess) -> None:
    held = call(used, "schedule", SUCCESS, "--not-before", "2h", "--not-after", "3h").stdout.strip()
    action = used.info(held)["action"]
    assert action["state"] == "NEW" and action["not_before"] < action["not_after"]
    assert held[:8] in call(used, "queue").stdout
    assert call(used, "cancel", held).status == 0


# A lost answer


def test_schedule_is_retried_with_the_same_key_after_a_lost_answer(used: AgentProcess) -> None:
    before = len(used.finished())
    with losing_answers(used, lose=2) as (url, seen):
        ended = call(url, "schedule", SUCCESS)
    assert ended.status == 0, ended.stderr
    keys = {each for each in seen if each}
    assert (len(seen), len(keys)) == (3 + seen.count(""), 1)
    used.await_final(ended.stdout.strip())
    assert len(used.finished()) == before + 1


class losing_answers:
    """A proxy that passes calls on and closes the connection in place of the first answers of schedule calls."""

    def __init__(self, agent: AgentProcess, lose: int) -> None:
        self.port, self.left = agent.port, lose
        self.seen: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> tuple[str, list[str]]:
        threading.Thread(target=self.serve, daemon=True).start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}", self.seen

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client:
                    self.answer(client)

    def answer(self, client: socket.socket) -> None:
        call = client.recv(65536)
        if call.startswith(b"POST") and not call.partition(b"\r\n\r\n")[2]:
            call += client.recv(65536)
        with socket.create_connection(("127.0.0.1", self.port)) as agent:
            agent.sendall(call.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            answered = b"".join(iter(lambda: agent.recv(65536), b""))
        headers = dict(line.partition(": ")[::2] for line in call.decode().split("\r\n\r\n")[0].lower().split("\r\n"))
        self.seen.append(headers.get("idempotency-key", ""))
        if b"/schedule/" in call and self.left:
            self.left -= 1
        else:
            client.sendall(answered)


# Contexts


def test_contexts_are_kept_in_a_file_of_the_callers_own(used: AgentProcess, tmp_path: Path) -> None:
    file = tmp_path / "folder" / "contexts.toml"
    env = {"AGENT_CONTEXTS": str(file)}
    assert call(None, "context", "add", "db-1", url_of(used), **env).status == 0
    assert call(None, "context", "add", "db-2", "http://127.0.0.1:1", "--token-file", "/t", **env).status == 0
    assert call(None, "context", "use", "db-1", **env).status == 0
    assert file.stat().st_mode & 0o7777 == 0o600
    assert call(None, "context", "list", **env).stdout.splitlines() == [
        f"  default  {DEFAULT_URL}",
        f"* db-1  {url_of(used)}",
        "  db-2  http://127.0.0.1:1",
    ]
    data = json.loads(call(None, "-o", "json", "context", "list", **env).stdout)
    assert data[2] == {"name": "db-2", "in_use": False, "url": "http://127.0.0.1:1", "token_file": "/t"}
    assert call(None, "queue", **env).status == 0  # the context in use
    assert call(None, "-c", "db-2", "queue", **env).stderr.startswith("the token file /t cannot be read: ")
    assert call("http://127.0.0.1:1", "-c", "db-1", "queue", **env).status == 0
    assert call(None, "context", "test", "db-1", **env).stdout == f"{url_of(used)} answers\n"
    assert call(None, "context", "use", "db-2", **env).status == 0
    removed = call(None, "context", "remove", "db-2", **env)
    assert (removed.status, removed.stderr) == (0, f"commands use the agent of this host now, {DEFAULT_URL}\n")
    unknown = call(None, "-c", "db-2", "queue", **env)
    assert (unknown.status, unknown.stderr) == (7, f"{file}: no context db-2; it has db-1\n")
    assert call(None, "--url", "x", "-c", "db-1", "queue", **env).stderr == "give --url or --context, not both\n"
    file.chmod(0o644)
    refused = call(None, "-c", "db-1", "queue", **env)
    why = f"{file}: other users can read or change it: run chmod 600 {file}\n"
    assert (refused.status, refused.stderr) == (2, why)
    file.chmod(0o600)
    for text, sentence in (("[", "not TOML"), ("[contexts.a]\n", "contexts.a: expected url, and perhaps token_file")):
        file.write_text(text)
        assert sentence in call(None, "queue", **env).stderr


def test_context_is_used_only_if_named_or_chosen(
    monkeypatch: pytest.MonkeyPatch, used: AgentProcess, tmp_path: Path
) -> None:
    """With a socket of an agent on this host, as on the host of a datastore."""
    (socket_of_host := tmp_path / "agent.sock").touch()
    monkeypatch.setattr(session, "SOCKET", str(socket_of_host))
    local, env = f"unix:{socket_of_host}", {"AGENT_CONTEXTS": str(tmp_path / "contexts.toml")}

    def answered(*words: str) -> tuple[int, str, str]:
        ended = call(None, *words, **env)
        return ended.status, ended.stdout, ended.stderr

    def in_use() -> str:
        return call(None, "context", "list", **env).stdout.partition("* ")[2].splitlines()[0]

    added = "added; agentctl -c db-1 … uses it, and after agentctl context use db-1 every command\n"
    assert answered("context", "add", "db-1", url_of(used)) == (0, "", added)
    assert in_use() == f"default  {local}"
    assert local.removeprefix("unix:") in call(None, "queue", **env).stderr, "the agent of this host is called"
    assert answered("-c", "db-1", "queue", "-o", "name") == (0, "", "")
    back = "back to the agent of this host: agentctl context use default"
    assert answered("context", "use", "db-1") == (0, "", f"commands use db-1, {url_of(used)}, now; {back}\n")
    assert in_use() == f"db-1  {url_of(used)}"
    note = f"context db-1: {url_of(used)}; the agent of this host: -c default\n"
    assert answered("queue", "-o", "name") == (0, "", note)
    assert local.removeprefix("unix:") in call(None, "-c", "default", "queue", **env).stderr
    assert answered("context", "use", "default") == (0, "", f"commands use default, {local}, now\n")
    assert in_use() == f"default  {local}"
    overridden = call("http://127.0.0.1:1", "context", "use", "db-1", **env).stderr
    assert overridden.endswith("$AGENT_URL is set: commands use http://127.0.0.1:1 instead\n")
    for words in (("add", "default", local), ("remove", "default")):
        assert call(None, "context", *words, **env).stderr.startswith("default is the agent of this host: ")


# Several agents


def test_context_with_an_invalid_address_is_refused(tmp_path: Path) -> None:
    refused = call(None, "context", "add", "db-1", "db-1:8000", AGENT_CONTEXTS=str(tmp_path / "contexts.toml"))
    assert (refused.status, refused.stderr) == (
        2, "db-1:8000: expected unix:PATH, http://HOST:PORT or https://HOST:PORT\n",
    )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_empty_list_and_an_unauthenticated_caller_are_named(start_agent: StartAgent) -> None:
    agent = start_agent()
    nothing = call(agent, "queue")
    assert nothing.stderr == "no action runs or waits; agentctl finished shows the ended ones\n"
    assert call(agent, "list", "--kind", "ping").stderr == "no action matches\n"
    assert call(agent, "queue", "-o", "json").stderr == ""
    assert call(agent, "whoami").stdout.split("\n")[0].split() == ["user", "unauthenticated"]


def test_status_shows_the_action_that_ended_last(start_agent: StartAgent) -> None:
    agent = start_agent()
    agent.occupy()
    running, waiting = agent.queue()[0]["id"], agent.schedule(SUCCESS, {})
    agent.cancel(waiting)
    ended = moment(agent.info(waiting)["action"]["finished_ts"])
    eventually(lambda: (datetime.now(UTC) - ended).total_seconds() > 1, "the next second: times have no fraction")
    agent.cancel(running)
    agent.await_final(running)
    assert f"last       {running[:8]}" in call(agent, "status").stdout


def test_a_command_runs_on_several_agents_until_too_many_fail(used: AgentProcess) -> None:
    up, down = url_of(used), "http://127.0.0.1:1"
    ended = call(None, "--on", f"{up},{down},{up}", "queue", "-o", "json")
    assert ended.status == 5
    assert ended.stdout == f"{up}: []\n"
    assert f"{down}: {down}: the agent does not answer" in ended.stderr
    assert ended.stderr.endswith(f"not run after 1 failed: {up}\n")
    ended = call(None, "queue", "--on", f"{down},{up},{up}", "--serial", "2", "--max-failures", "1", "-o", "json")
    assert (ended.status, ended.stdout) == (5, f"{up}: []\n" * 2)


# An agent that is down


@pytest.mark.parametrize("killed", [True, False])
def test_db_option_reads_the_file_of_a_stopped_agent_without_a_change(start_agent: StartAgent, killed: bool) -> None:
    agent = start_agent()
    ids = [agent.schedule(kind, {}) for kind in (SUCCESS, FAIL)]
    infos = [agent.await_final(each) for each in ids]
    db = ("--db", str(agent.db))
    running = call(None, *db, "queue")
    assert (running.status, running.stderr) == (2, f"an agent runs on {agent.db}: run the command without --db\n")
    listed = agent.get(f"{PREFIX}/list").json["items"]
    if killed:
        agent.kill_all()
    else:
        agent.stop()
    # The kernel releases the lock of a killed worker with its process.
    eventually(lambda: call(None, *db, "queue").status == 0, "no agent runs")
    before = contents(agent.directory)
    shown = call(None, *db, "list", "-o", "json")
    assert (shown.stderr, json.loads(shown.stdout or "null")) == ("", listed)
    assert call(None, *db, "queue", "-o", "json").stdout == "[]\n"
    assert call(None, *db, "finished", "--state", "failed", "-o", "name").stdout == f"{ids[1]}\n"
    assert json.loads(call(None, *db, "info", ids[0][:9], "-o", "json").stdout) == infos[0]
    assert call(None, *db, "info", "999").status == 7
    refused = call(None, *db, "cancel", ids[0])
    assert (refused.status, refused.stderr) == (2, "--db changes nothing: the agent does not run\n")
    assert call(None, *db, "datastore").stderr.startswith("--db supports only queue, finished, list and info")
    assert contents(agent.directory) == before


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The files below it, each with the time of its last change."""
    found = [each for each in folder.rglob("*") if each.is_file() and each.name != "agent.log"]
    return {str(each): (each.read_bytes(), each.stat().st_mtime_ns) for each in found}


def test_file_that_is_not_an_agent_database_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert call(None, "--db", str(other), "queue").status == 7
    other.write_bytes(b"no database at all " * 200)
    assert f"{other} is no database of an agent" in call(None, "--db", str(other), "queue").stderr
    other.write_bytes(b"")
    assert f"{other} has schema 0, and this agentctl reads" in call(None, "--db", str(other), "queue").stderr


# Help and completion


@pytest.mark.parametrize("name", MODULES)
def test_every_command_has_help(name: str) -> None:
    shown = CliRunner().invoke(agentctl, [name, "--help"])
    assert shown.exit_code == 0
    assert "Usage: " in shown.output and ("Exit status:" in shown.output or "Commands:" in shown.output)


def test_an_unknown_command_names_the_closest() -> None:
    ended = call(None, "schedul", "ping")
    assert (ended.status, "unknown command schedul; the closest is schedule" in ended.stderr) == (2, True)


def completed(agent: AgentProcess, *words: str, **env: str) -> list[str]:
    typed = {"COMP_WORDS": " ".join(("agentctl", *words)), "COMP_CWORD": str(len(words))}
    ended = call(agent, _AGENTCTL_COMPLETE="bash_complete", **typed, **env)
    return [line.partition(",")[2] for line in ended.stdout.splitlines() if line]


def test_commands_kinds_arguments_and_ids_are_completed(used: AgentProcess) -> None:
    assert completed(used, "sched") == ["schedule"]
    assert completed(used, "schedule", "pin") == ["ping"]
    assert completed(used, "schedule", "replicante.test.pi") == [PING]
    assert completed(used, "schedule", "ping", "co") == ["count="]
    newest = used.get(f"{PREFIX}/list?limit=1").json["items"][0]["id"]
    assert completed(used, "info", newest[:30]) == [newest]
    assert completed(used, "wait", "@") == ["@last", "@running"]
    assert completed(used, "--url", "http://127.0.0.1:1", "info", "@") == []
    assert completed(used, "finished", "--kind", "replicante.test.pi") == [PING]
    assert completed(used, "finished", "--state", "done,f") == ["done,failed"]


def test_contexts_are_completed(used: AgentProcess, tmp_path: Path) -> None:
    file = str(tmp_path / "contexts.toml")
    for name in ("db-1", "db-2"):
        assert call(None, "context", "add", name, url_of(used), AGENT_CONTEXTS=file).status == 0
    listed = call(None, "context", "list", "-o", "name", AGENT_CONTEXTS=file)
    assert listed.stdout == "default\ndb-1\ndb-2\n"
    assert completed(used, "-c", "d", AGENT_CONTEXTS=file) == ["default", "db-1", "db-2"]
    for words in (("context", "use", "db-"), ("context", "remove", "db-"), ("-c", "db-")):
        assert completed(used, *words, AGENT_CONTEXTS=file) == ["db-1", "db-2"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_exists_for_each_shell(shell: str) -> None:
    ended = call(None, "completion", shell)
    assert (ended.status, "_AGENTCTL_COMPLETE" in ended.stdout) == (0, True)


def test_manual_page_is_generated_from_the_help() -> None:
    printed = call(None, "config", "man").stdout
    shipped = (CHECKOUT / "docs" / "agentctl.1").read_text()
    assert shipped == printed, "run: make docs (agentctl config man > docs/agentctl.1)"
    assert all(f".SS {name} " in printed for name in MODULES)


def test_version_is_that_of_the_package() -> None:
    assert call(None, "version").stdout.startswith("agentctl 0.")
