"""The shipped unit, installed as on a real host: in a node with systemd, as its own user."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import PREFIX
from tests.servers.node import Node
from tests.servers.process import await_that

CHECKOUT = Path(__file__).parents[1]
PORT = 8000
IMPATIENT = "[Service]\nWatchdogSec=10\n"


@pytest.fixture(scope="module")
def node(agent_venv: Path, start_node: Callable[..., Node]) -> Node:
    host = start_node("unit")
    host.run("ln", "-s", str(agent_venv), "/opt/agent")
    host.run("useradd", "--system", "--user-group", "agent")
    host.write("/etc/agent/agent.toml", (CHECKOUT / "systemd" / "agent.toml").read_text())
    host.write("/etc/systemd/system/agent.service", (CHECKOUT / "systemd" / "agent.service").read_text())
    host.write("/etc/systemd/system/agent.service.d/impatient.conf", IMPATIENT)
    host.systemctl("daemon-reload")
    host.systemctl("enable", "--now", "agent")
    await_answer(host)
    return host


def call(node: Node, method: str, path: str, body: Any = None) -> Any:
    connection = node.http(PORT)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, f"{PREFIX}/{path}", sent, {"Content-Type": "application/json"} if sent else {})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def answers(node: Node) -> bool:
    try:
        return bool(call(node, "GET", "available"))
    except (OSError, ValueError):
        return False


def await_answer(node: Node) -> None:
    await_that(lambda: answers(node), 40, "the agent answers")


def state(node: Node, action_id: str) -> str:
    return str(call(node, "GET", f"info/{action_id}")["action"]["state"])


def worker(node: Node) -> str:
    """The pid of the worker inside the node: the newest gunicorn child, as a reload has two."""
    main = node.show("agent", "MainPID")
    children = node.run("cat", f"/proc/{main}/task/{main}/children").stdout.split()
    return [pid for pid in children if "gunicorn" in node.run("cat", f"/proc/{pid}/cmdline").stdout][-1]


def test_unit_runs_as_its_own_user_with_private_state(node: Node) -> None:
    assert node.systemctl("is-active", "agent") == "active"
    assert node.run("stat", "-c", "%U %a", "/var/lib/agent", "/var/lib/agent/agent.db").stdout.split() == [
        "agent", "700", "agent", "600",
    ]  # fmt: skip
    main = node.show("agent", "MainPID")
    assert node.run("ps", "-o", "user=", "-p", main).stdout.strip() == "agent"


def test_a_reload_keeps_the_running_action(node: Node) -> None:
    action_id = call(node, "POST", "schedule/replicante.test.loop", {"target": 8, "delay": 0.5})["id"]
    await_that(lambda: state(node, action_id) == "RUNNING", 10, "it runs")
    before = worker(node)
    node.systemctl("reload", "agent")
    await_that(lambda: worker(node) != before, 20, "another worker")
    await_that(lambda: state(node, action_id) == "DONE", 20, "it is done")


def cursor(node: Node) -> str:
    """The end of the journal."""
    return node.run("journalctl", "--lines=0", "--show-cursor").stdout.rpartition("-- cursor: ")[2].strip()


def logged(node: Node, since: str, priority: int) -> str:
    """The agent's own log entries of that priority since a cursor."""
    # Without --priority: combined with it, --after-cursor leaves out the first entry.
    shown = node.run("journalctl", "--unit=agent", "--after-cursor", since, "--output=json", "--no-pager").stdout
    lines = [line for line in map(json.loads, shown.splitlines()) if line["_TRANSPORT"] == "stdout"]
    return "\n".join(line["MESSAGE"] for line in lines if line["PRIORITY"] == str(priority))


def test_warnings_and_errors_have_their_priority_in_the_journal(node: Node) -> None:
    error, warning, info = 3, 4, 6
    since = cursor(node)
    call(node, "POST", "schedule/replicante.test.fail", {})
    await_that(lambda: "is FAILED: " in logged(node, since, warning), 10, "a warning of an action")
    node.run("kill", "-KILL", worker(node))
    await_that(lambda: "was sent SIGKILL!" in logged(node, since, error), 10, "an error of gunicorn")
    await_answer(node)
    configuration = node.read("/etc/agent/agent.toml")
    node.write("/etc/agent/agent.toml", "[api]\nthreads = 'many'\n")
    try:
        node.run("kill", "-HUP", node.show("agent", "MainPID"))
        await_that(lambda: "stays active" in logged(node, since, error), 20, "a reload that is refused")
        await_answer(node)
        node.systemctl("stop", "agent")
        node.run("systemctl", "start", "agent")
        expected = 'agent: /etc/agent/agent.toml: api.threads: expected a positive integer, got "many"'
        await_that(lambda: expected in logged(node, since, error).splitlines(), 20, "a start that is refused")
    finally:
        node.write("/etc/agent/agent.toml", configuration)
        node.run("systemctl", "reset-failed", "agent")
        node.systemctl("restart", "agent")
        await_answer(node)
    assert "replicante.test.fail of agent@unit via API started" in logged(node, since, info)
    assert not {"WARNING", "ERROR"} & set(logged(node, since, info).replace("[", " ").replace("]", " ").split())


@pytest.fixture
def configured(node: Node) -> Iterator[Callable[[str], None]]:
    """Write another configuration; the unit runs with the shipped one again afterwards."""
    before = node.read("/etc/agent/agent.toml")
    yield lambda text: node.write("/etc/agent/agent.toml", text)
    node.write("/etc/agent/agent.toml", before)
    node.run("systemctl", "reset-failed", "agent")
    node.systemctl("restart", "agent")


WRONG = pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[agent]\nkinds = ["no.such"]\n', "agent.kinds: cannot import no.such"),
        ('[api]\nthreads = "many"\n', 'api.threads: expected a positive integer, got "many"'),
        ('[api]\ntokens = "/etc/agent/no.toml"\n', "/etc/agent/no.toml: cannot be read"),
    ],
)


@WRONG
def test_a_start_with_a_wrong_configuration_fails_and_is_not_repeated(
    node: Node, configured: Callable[[str], None], text: str, message: str
) -> None:
    since = cursor(node)
    configured(text)
    assert node.run("systemctl", "restart", "agent").returncode != 0
    assert node.show("agent", "ActiveState") == "failed"
    assert node.show("agent", "ExecMainStatus") == "78"
    assert node.show("agent", "NRestarts") == "0"
    assert message in node.run("journalctl", "--unit=agent", "--after-cursor", since, "--no-pager").stdout


@WRONG
def test_a_reload_with_a_wrong_configuration_fails_and_changes_nothing(
    node: Node, configured: Callable[[str], None], text: str, message: str
) -> None:
    since, before = cursor(node), worker(node)
    configured(text)
    assert node.run("systemctl", "reload", "agent").returncode != 0
    assert node.show("agent", "ActiveState") == "active"
    assert message in node.run("journalctl", "--unit=agent", "--after-cursor", since, "--no-pager").stdout
    assert worker(node) == before
    assert answers(node)


def test_agent_answers_as_soon_as_the_unit_has_started(node: Node) -> None:
    for _ in range(3):
        node.systemctl("restart", "agent")
        assert answers(node)
        assert node.show("agent", "StatusText") == "Serving"


def test_a_worker_that_hangs_is_found_by_the_watchdog(node: Node) -> None:
    restarts = int(node.show("agent", "NRestarts"))
    node.run("kill", "-STOP", worker(node))
    await_that(lambda: int(node.show("agent", "NRestarts")) > restarts, 40, "systemd starts it anew")
    await_answer(node)
    action_id = call(node, "POST", "schedule/replicante.test.success", {})["id"]
    await_that(lambda: state(node, action_id) == "DONE", 10, "the queue goes on")


def test_accepted_actions_survive_a_power_cut_and_run_after_the_boot(node: Node) -> None:
    head = call(node, "POST", "schedule/replicante.test.loop", {"target": 10, "delay": 0.5})["id"]
    behind = call(node, "POST", "schedule/replicante.test.ping", {"count": 2})["id"]
    node.power_cut()
    node.boot()
    await_answer(node)
    await_that(lambda: state(node, behind) == "DONE", 40, "the queue goes on")
    assert state(node, head) == "DONE"
