"""The modules of the collection, each run by Ansible against a real agent."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.ansible.controller import Controller
from tests.cli.calling import call
from tests.conformance.shapes import FAIL, SUCCESS
from tests.servers.redis import RedisServer

FLAG = "flag"
SECRET = "correct-horse-17"
LOOP = "replicante.test.loop"


@pytest.fixture
def agent(start_agent: StartAgent, tmp_path: Path) -> AgentProcess:
    return start_agent(config=f'[maintenance]\nflag = "{tmp_path / FLAG}"\n')


@pytest.fixture
def controller(agent: AgentProcess, tmp_path: Path) -> Controller:
    return Controller(tmp_path / "controller", {"db-1": agent})


def test_the_client_of_the_collection_is_the_agents() -> None:
    """Ansible sends a module without the agent's package; `cp agent/client.py ansible/plugins/module_utils/`."""
    copied = CHECKOUT / "ansible" / "plugins" / "module_utils" / "client.py"
    assert copied.read_bytes() == (CHECKOUT / "agent" / "client.py").read_bytes()


def test_an_action_of_a_run_is_scheduled_once(agent: AgentProcess, controller: Controller) -> None:
    call = {"kind": "replicante.test.ping", "args": {"count": "2"}, "run_id": "r1", "reason": "OPS-17"}
    ok, first = controller.task("db-1", "agent_action", **call)
    assert (ok, first["changed"], first["replayed"]) == (True, True, False)
    assert first["action"]["reason"] == "run r1: OPS-17"
    assert [each[:4] for each in first["result"]] == ["Pong", "Pong"]
    ok, again = controller.task("db-1", "agent_action", **call)
    assert (ok, again["changed"], again["replayed"]) == (True, False, True)
    assert again["action"]["id"] == first["action"]["id"]
    ok, other = controller.task("db-1", "agent_action", **call, step="second")
    assert (ok, other["replayed"]) == (True, False)
    ok, info = controller.task("db-1", "agent_info", gather=["queue", "datastore"], run_id="r1")
    assert ok and [each["kind"] for each in info["run_actions"]] == [call["kind"]] * 2
    assert (info["queue"], info["datastore"]) == ([], None)


def test_a_secret_is_shown_nowhere(start_agent: StartAgent, tmp_path: Path) -> None:
    action = 'action = ["true"]\ncheck = ["echo", "{\\"status\\": \\"finished\\"}"]\n'
    args = 'args = { table = { type = "string" }, password = { type = "string", secret = true } }\n'
    agent = start_agent(config=f"[external_actions.rotate]\n{action}{args}")
    controller = Controller(tmp_path / "controller", {"db-1": agent})
    call = {"kind": "external.rotate", "run_id": "r3", "args": {"table": "orders", "password": SECRET}}
    ok, done = controller.task("db-1", "agent_action", "-vvv", **call)
    assert ok and done["action"]["args"]["table"] == "orders", done
    assert SECRET not in json.dumps(done) and "orders" in json.dumps(done)
    other = call | {"args": {"table": "orders", "password": "another"}}
    ok, refused = controller.task("db-1", "agent_action", **other)
    assert not ok and refused["status"] == 409, "the key of the run does not depend on the secret"
    agent.stop()
    ok, unreachable = controller.task("db-1", "agent_action", "-vvv", **call, answer_timeout=1)
    assert not ok and unreachable["unreachable_agent"] and SECRET not in json.dumps(unreachable)


def test_a_secret_is_in_no_log_of_the_host(
    start_agent: StartAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ansible logs the parameters of a module to the journal before it starts; in this test to a file."""
    (journal := tmp_path / "python" / "systemd").mkdir(parents=True)
    (journal / "__init__.py").touch()
    (journal / "daemon.py").write_text("def booted(): return True\n")
    sent = f"def sendv(*_): pass\ndef send(**fields): open({str(tmp_path / 'journal')!r}, 'a').write(repr(fields))\n"
    (journal / "journal.py").write_text(sent)
    monkeypatch.setenv("PYTHONPATH", str(journal.parent))
    action = 'action = ["true"]\ncheck = ["echo", "{\\"status\\": \\"finished\\"}"]\n'
    args = 'args = { password = { type = "string", secret = true } }\n'
    agent = start_agent(config=f"[external_actions.rotate]\n{action}{args}")
    controller = Controller(tmp_path / "controller", {"db-1": agent})
    assert controller.task("db-1", "agent_action", kind="external.rotate", args={"password": SECRET})[0]
    misspelt = {"kind": "external.rotate", "args": {"passwort": SECRET}}
    ok, refused = controller.task("db-1", "agent_action", "-vvv", **misspelt)
    assert not ok and "passwort" in refused["msg"] and SECRET not in json.dumps(refused), refused
    written = (tmp_path / "journal").read_text()
    assert written.count("Invoked with") == 2 and SECRET not in written, written


def test_action_of_a_run_counts_as_done_only_with_the_same_arguments(
    agent: AgentProcess, controller: Controller
) -> None:
    call = {"kind": "replicante.test.ping", "run_id": "nightly:17"}
    assert controller.task("db-1", "agent_action", **call, args={"count": 1}, reason="OPS: 17")[0]
    for count, done in (("1", True), ("2", False)):
        ok, info = controller.task("db-1", "agent_info", gather=[], **call, args={"count": count})
        assert ok and (len(info["run_actions"]), info["run_done"]) == (1, done), info


def test_failed_action_fails_the_task_again_unless_retry_failed_is_set(
    agent: AgentProcess, controller: Controller
) -> None:
    call = {"kind": FAIL, "run_id": "r2"}
    ok, first = controller.task("db-1", "agent_action", **call)
    assert not ok and first["msg"].startswith(f"{FAIL} failed: ")
    ok, again = controller.task("db-1", "agent_action", **call)
    assert not ok and "failed in an earlier pass of this run" in again["msg"]
    ok, retried = controller.task("db-1", "agent_action", **call, retry_failed=True)
    assert not ok and retried["action"]["id"] != first["action"]["id"]
    assert len(agent.finished()) == 2


def test_check_mode_asks_for_the_plan(agent: AgentProcess, controller: Controller) -> None:
    ok, planned = controller.task("db-1", "agent_action", "--check", "--diff", kind=SUCCESS)
    assert ok and planned["plan"]["kind"] == SUCCESS
    ok, refused = controller.task("db-1", "agent_action", "--check", kind=SUCCESS, args={"colour": "red"})
    assert not ok and "colour" in refused["msg"]
    assert agent.finished() == []


def test_maintenance_is_changed_only_where_it_differs(controller: Controller, tmp_path: Path) -> None:
    flag = tmp_path / FLAG
    assert controller.task("db-1", "agent_maintenance", "--check", enabled=True)[1]["changed"] and not flag.exists()
    assert controller.task("db-1", "agent_maintenance", enabled=True)[1]["changed"] and flag.exists()
    assert not controller.task("db-1", "agent_maintenance", enabled=True)[1]["changed"]
    assert controller.task("db-1", "agent_maintenance", enabled=False)[1]["changed"] and not flag.exists()


def test_a_wait_survives_a_killed_agent(agent: AgentProcess, controller: Controller) -> None:
    book = controller.directory / "wait.yml"
    connection = {"url": f"http://127.0.0.1:{agent.port}", "patience": 60}
    task = {"datastore.agent.agent_action": connection | {"kind": LOOP, "args": {"target": 30, "delay": 0.1}}}
    book.write_text(json.dumps([{"hosts": "db-1", "gather_facts": False, "tasks": [task]}]))
    with controller.start(str(book)) as playbook:
        eventually(agent.queue, "it runs", 60)
        agent.kill_all()
        agent.start()
        text, _ = playbook.communicate(timeout=700)
    action = agent.finished()[0]
    assert (playbook.returncode == 0) == (action["state"] == "DONE"), text
    assert len(agent.finished()) == 1


class Vanishing(BaseHTTPRequestHandler):
    """An agent that accepts an action and then disappears."""

    def do_GET(self) -> None:
        self._answer([] if self.path.endswith("/available") else None)

    def do_POST(self) -> None:
        self._answer({"id": "17"})

    def _answer(self, body: object) -> None:
        if body is not None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_lost_agent_is_reported_with_the_action_that_may_continue(controller: Controller) -> None:
    with HTTPServer(("127.0.0.1", 0), Vanishing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        ok, lost = controller.task("db-1", "agent_action", kind=SUCCESS, run_id="r9", url=url, patience=0)
        server.shutdown()
    assert not ok and lost["unreachable_agent"]
    assert "the action 17 may continue: see agentctl info 17, or run the task again with run_id r9" in lost["msg"], lost


def test_a_replica_that_only_connects_is_not_healthy(start_agent: StartAgent, tmp_path: Path, server_dir: Path) -> None:
    with RedisServer(server_dir / "a") as primary, RedisServer(server_dir / "b", replica_of=primary) as replica:
        replica.await_replica()
        agent = start_agent(config=f'[datastore]\nkind = "redis"\nurl = "{replica.url}"\n')
        controller = Controller(tmp_path / "controller", {"db-1": agent})
        ok, seen = controller.task("db-1", "agent_healthy", role="replica")
        assert ok and seen["datastore"]["streaming"] is True, seen
        primary.kill()
        eventually(lambda: agent.get("/api/unstable/datastore").json["streaming"] is False, "it has noticed", 30)
        ok, seen = controller.task("db-1", "agent_healthy", role="replica", timeout=0)
        source = f"127.0.0.1:{primary.port} (connecting)"
        assert not ok and seen["unmet"] == [f"the replica does not stream from {source}"], seen
        assert "not streaming (connecting)" in call(agent, "status").stdout
        assert controller.task("db-1", "agent_healthy", role="replica", streaming=False, timeout=0)[0]


@pytest.mark.parametrize(
    ("module", "params", "sentence"),
    [
        ("agent_action", {"kind": "replicante.test.pong"}, "replicante.test.p"),
        ("agent_action", {"kind": SUCCESS, "url": "ftp://x"}, "expected unix:PATH, http://HOST:PORT or https://HOST"),
        ("agent_action", {"kind": SUCCESS, "token_file": "/nowhere"}, "token_file: /nowhere cannot be read"),
        ("agent_action", {"kind": SUCCESS, "token_file": "/dev/null"}, "token_file: /dev/null is empty"),
        ("agent_action", {"kind": SUCCESS, "run_id": ""}, "run_id: expected 1 to 100 letters"),
        ("agent_healthy", {"timeout": 0}, "this node has no datastore"),
    ],
)
def test_each_failure_of_a_module_is_one_sentence(
    controller: Controller, module: str, params: dict[str, object], sentence: str
) -> None:
    ok, result = controller.task("db-1", module, **params)
    assert not ok and sentence in result["msg"], result
