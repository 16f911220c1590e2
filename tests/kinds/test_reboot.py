"""`stack_reboot`: a node reboots once for each action; a refused or missing reboot fails with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from agent import clock
from agent.kinds.base import Done, NotOffered
from agent.kinds.stack_reboot import RebootResult, RebootServer
from tests.agent_inside import PORT, AgentInNode
from tests.agent_process import CHECKOUT, PREFIX, StartAgent, eventually
from tests.cli.calling import started
from tests.kinds.configuring import Document, settings, toml
from tests.kinds.performing import step_of
from tests.kinds.wires import WIRES, begin, finished, perform
from tests.servers.node import Node
from tests.servers.passage import passage
from tests.servers.process import await_that
from tests.web.browser import LOST, PATIENCE, visiting

expect.set_options(timeout=PATIENCE)

REBOOT = ["systemctl", "--no-ask-password", "reboot"]
AS_ROOT = "[Service]\nUser=root\nGroup=root\n"
DROP_IN = "/etc/systemd/system/agent.service.d/root.conf"
MARKS = "/var/lib/marks"
COUNTER = f"""
[Service]
Type=oneshot
ExecStart=/bin/sh -c "cat /proc/sys/kernel/random/boot_id >>{MARKS}.boots"
[Install]
WantedBy=multi-user.target
"""
SOCKET = "/var/lib/agent/agent.sock"
FOLLOWED = f"""
cat >/dev/null
n=$(($(cat {MARKS}.lines 2>/dev/null || echo 0) + 1))
echo $n >{MARKS}.lines
echo "line $n" >&2
test $n = 3 && systemctl --no-ask-password reboot
if test $n -ge 6; then echo '{{"status": "finished"}}'; else echo '{{"status": "running"}}'; fi
"""
"""A check that prints a line each time, reboots the host with the third, and has finished with the sixth."""
HANGS = ["/bin/sh", "-c", f"echo asked >>{MARKS}; exec sleep 25"]


class Shipped(AgentInNode):
    """The shipped unit in a node, run as root: other tests check the right to reboot."""

    def __init__(self, node: Node, venv: Path) -> None:
        super().__init__(node)
        node.run("ln", "-s", str(venv), "/opt/agent")
        node.run("useradd", "--system", "--user-group", "agent")
        node.write("/etc/systemd/system/agent.service", (CHECKOUT / "systemd" / "agent.service").read_text())
        node.write("/etc/systemd/system/boots.service", COUNTER)
        node.write(DROP_IN, AS_ROOT)
        node.systemctl("daemon-reload")
        # The agent does not start without a configuration.
        node.systemctl("enable", "agent")
        node.systemctl("enable", "--now", "boots")

    def configure(self, document: Document) -> Shipped:
        self.node.write("/etc/agent/agent.toml", toml(document))
        self.node.systemctl("daemon-reload")
        self.node.systemctl("restart", "agent")
        self.await_ready()
        return self

    def boots(self) -> list[str]:
        """The boot ids of the node, oldest first."""
        return self.node.read(f"{MARKS}.boots").split()


@pytest.fixture(scope="module")
def shipped(agent_venv: Path, start_node: Callable[..., Node]) -> Iterator[Shipped]:
    agent = Shipped(start_node("rebooted"), agent_venv)
    yield agent
    agent.close()


# In a node


def occupy(shipped: Shipped) -> None:
    """Keep the queue busy for a moment, so that later calls are accepted before the shutdown of the host."""
    shipped.schedule("replicante.test.loop", {"target": 2, "delay": 1})


def test_stack_reboot_reboots_once_and_the_queue_continues(shipped: Shipped) -> None:
    shipped.configure({"host": {"reboot": REBOOT}})
    for wire in WIRES:
        before = shipped.boots()
        occupy(shipped)
        seq = begin(shipped, wire, "stack_reboot")
        behind = begin(shipped, wire, "replicante.test.ping", count=1)
        shipped.node.boot_after_reboot()
        shipped.await_ready()
        assert finished(shipped, behind)["finished_success"] is True
        action = finished(shipped, seq)
        assert (action["finished_success"], action["resource_type"]) == (True, "Stack")
        assert RebootResult().validate(action["finished_result"]) == {}
        assert shipped.boots()[:-1] == before


def test_agentctl_follows_an_action_across_a_reboot(shipped: Shipped) -> None:
    check = ["sh", "-c", FOLLOWED]
    shipped.configure(
        {
            "api": {"bind": ["127.0.0.1:8000", f"unix:{SOCKET}"]},
            "external_actions": {"talk": {"action": ["sh", "-c", "echo begun"], "check": check, "interval": 0.1}},
        }
    )
    before = shipped.boots()
    url = f"unix:{shipped.node.root}{SOCKET}"  # the same file before and after the boot
    with started(url, "schedule", "talk", "--yes", "--wait", "--follow") as scheduling:
        shipped.node.boot_after_reboot()
        stdout, stderr = scheduling.communicate(timeout=120)
    assert scheduling.returncode == 0, stderr
    action_id = stdout.split()[0]
    assert f"{action_id}  external.talk  done: " in stdout
    assert shipped.boots()[:-1] == before
    kept = shipped.get(f"{PREFIX}/output/{action_id}").body.decode().splitlines()
    assert kept[1:] == ["begun", *(f"line {number}" for number in range(1, 7))]
    assert [line for line in stderr.splitlines() if line in kept] == kept


def test_maintenance_and_held_actions_survive_a_reboot(shipped: Shipped, browser: Browser) -> None:
    shipped.configure({"host": {"reboot": REBOOT}, "maintenance": {"holds": ["replicante.test.*"]}})
    on = perform(shipped, "actions", "maintenance_mode", value="on")["finished_result"]
    waiting = shipped.schedule("replicante.test.ping", {"count": 1})
    before = shipped.boots()
    with passage(shipped.node, PORT) as port, visiting(browser, shipped, port) as visit:
        page = visit.go()
        expect(page.get_by_role("status")).to_contain_text("1 waiting")
        seq = begin(shipped, "actions", "stack_reboot")
        expect(page.get_by_role("alert")).to_contain_text(LOST)
        shipped.node.boot_after_reboot()
        shipped.await_ready()
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator(f"#a{seq}")).to_contain_text("done")
        held = shipped.info(waiting)["action"]["async_action_id"]
        expect(page.locator(f"#a{held}")).to_contain_text("maintenance mode is on")
        visit.forget_lost_connections()
    assert finished(shipped, seq)["finished_success"] is True and shipped.boots()[:-1] == before
    action = shipped.info(waiting)["action"]
    assert (action["state"], action["held"]) == ("NEW", f"maintenance mode is on since {on['since']}")
    again = perform(shipped, "actions", "maintenance_mode", value="on")
    assert (again["finished_message"], again["finished_result"]) == ("maintenance mode is on already", on)
    assert shipped.state(waiting) == "NEW"
    assert perform(shipped, "actions", "maintenance_mode", value="off")["finished_result"]["maintenance"] is False
    assert shipped.await_final(waiting)["action"]["state"] == "DONE"


def test_power_cut_during_a_reboot_counts_as_the_reboot(shipped: Shipped) -> None:
    shipped.configure({"host": {"reboot": HANGS}})
    before = shipped.boots()
    seq = begin(shipped, "actions", "stack_reboot")
    behind = begin(shipped, "actions", "replicante.test.ping", count=1)
    await_that(shipped.node.path(MARKS).exists, 10, "the intent, and then the command")
    shipped.node.power_cut()
    shipped.node.boot()
    shipped.await_ready()
    assert finished(shipped, behind)["finished_success"] is True
    assert finished(shipped, seq)["finished_success"] is True
    assert len(shipped.boots()) == len(before) + 1
    assert shipped.node.read(MARKS) == "asked\n"


def test_reboot_command_killed_by_the_shutdown_is_no_failure(shipped: Shipped) -> None:
    shipped.configure({"host": {"reboot": ["sh", "-c", "systemctl --no-ask-password reboot; exit 1"]}})
    before = shipped.boots()
    occupy(shipped)
    seq = begin(shipped, "actions", "stack_reboot")
    shipped.node.boot_after_reboot()
    shipped.await_ready()
    assert finished(shipped, seq)["finished_success"] is True
    assert len(shipped.boots()) == len(before) + 1


def test_refused_reboot_fails_with_the_message_of_the_refusal(shipped: Shipped) -> None:
    shipped.node.path(DROP_IN).unlink()
    shipped.configure({"host": {"reboot": REBOOT}})
    before = shipped.boots()
    for wire in WIRES:
        action = perform(shipped, wire, "stack_reboot")
        assert action["finished_success"] is False
        assert action["finished_message"].startswith("systemctl --no-ask-password reboot failed with exit status 1: ")
        assert "authentication required" in action["finished_message"] or "denied" in action["finished_message"]
    assert shipped.boots() == before


# With a command that reboots nothing


def marking(marks: Path, more: str = "true", timeout: float = 1) -> Document:
    return {"host": {"reboot": ["sh", "-c", f"echo asked >>{marks}; {more}"], "reboot_timeout": timeout}}


def test_reboot_fails_if_the_host_stays_up(tmp_path: Path, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(marking(tmp_path / "marks")))
    for wire in WIRES:
        action = perform(agent, wire, "stack_reboot")
        assert action["finished_message"] == "this server received the request to reboot, but has not rebooted in 1 s"
    assert (tmp_path / "marks").read_text() == "asked\n" * 2


@pytest.mark.parametrize("more", ["exec sleep 20", "true"])
def test_killed_agent_requests_no_second_reboot(more: str, tmp_path: Path, start_agent: StartAgent) -> None:
    """Killed before and after the request was stored."""
    marks = tmp_path / "marks"
    agent = start_agent(config=toml(marking(marks, more, timeout=2)))
    action = agent.schedule("stack_reboot", {})
    phase = "intended" if "sleep" in more else "asked"
    eventually(lambda: agent.info(action)["action"]["state_payload"], "the intent")
    eventually(lambda: agent.info(action)["action"]["state_payload"]["phase"] == phase and marks.exists(), phase)
    agent.kill_all()
    agent.start()
    assert agent.cancel(action).status == 409
    final = agent.await_final(action)["action"]
    words = (
        "may have received the request to reboot before the agent was interrupted"
        if phase == "intended"
        else "received the request to reboot"
    )
    assert final["state"] == "FAILED"
    assert final["state_payload"] == {"message": f"this server {words}, but has not rebooted in 2 s"}
    assert marks.read_text() == "asked\n"


def test_missing_or_failing_reboot_command_is_reported(tmp_path: Path, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml({"host": {"reboot": ["sh", "-c", "echo not today >&2; exit 4"]}}))
    assert perform(agent, "actions", "stack_reboot")["finished_message"].endswith(
        "failed with exit status 4: not today"
    )
    agent = start_agent(config=toml({"host": {"reboot": ["/no/such/reboot"]}}))
    for wire in WIRES:
        assert "/no/such/reboot" in perform(agent, wire, "stack_reboot")["finished_message"]
    answer = agent.post_schedule("stack_reboot", {"server_uid": "another", "force": True})
    assert (answer.status, answer.json["details"]) == (400, {"force": ["Unknown field."]})
    answer = agent.post_schedule("stack_reboot", {"server_uid": "another"})
    assert answer.status == 400 and list(answer.json["details"]) == ["server"]


@pytest.mark.parametrize("phase", ["intended", "asked", "perhaps asked"])
@pytest.mark.parametrize("before", [{"boot_id": "another"}, {"init_started": 1}])
def test_new_boot_id_ends_the_action_in_every_phase(phase: str, before: dict[str, Any], tmp_path: Path) -> None:
    kind = RebootServer(settings(marking(tmp_path / "marks")))
    intended = kind.step(step_of(kind)).payload
    payload = intended | {"phase": phase, "since": 1e9} | before
    done = Done({"boot_id": clock.boot_id(), "previous_boot_id": payload["boot_id"]}, "this server has rebooted")
    assert kind.step(step_of(kind, payload)) == kind.resume(step_of(kind, payload)) == done
    assert not (tmp_path / "marks").exists()


@pytest.mark.parametrize("document", [{}, {"host": {}}])
def test_stack_reboot_without_a_command_is_not_offered(document: Any) -> None:
    with pytest.raises(NotOffered, match=r"set host.reboot in the configuration"):
        list(RebootServer.offered(settings(document)))
