"""A real application deployed in a node with systemd: two units behind nginx, under continuous requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent_inside import AgentInside
from tests.agent_process import CHECKOUT, eventually
from tests.kinds.configuring import toml
from tests.servers.node import Node
from tests.servers.shop import HEALTH, NGINX, UNIT, Origin, shop

ACTIONS = "/api/3/stacks/default/actions"
UNITS = ("shop@1.service", "shop@2.service")
ALWAYS_BACK = """
[Unit]
StartLimitIntervalSec=0
[Service]
Restart=always
RestartSec=100ms
UMask=0077
"""
CLIENT = """
import collections, http.client, json, os, time
seen = collections.Counter()
while not os.path.exists("/client.stop"):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read().decode()
        seen[body if answer.status == 200 else str(answer.status)] += 1
        connection.close()
    except Exception as error:
        seen[type(error).__name__] += 1
    time.sleep(0.003)
with open("/client.json", "w") as file:
    json.dump(seen, file)
"""


class Town:
    """The node: its agent, the repository of its application, and the steps that a test holds."""

    def __init__(self, node: Node, origin: Origin) -> None:
        self.node, self.origin = node, origin
        self.versions = 0
        node.write("/etc/systemd/system/shop@.service", UNIT)
        node.write("/usr/local/bin/shop-is-healthy", HEALTH, 0o755)
        node.write("/etc/nginx/nginx.conf", NGINX)
        node.write("/client.py", CLIENT)
        self.agent = AgentInside(node)
        node.write("/etc/systemd/system/agent.service.d/always.conf", ALWAYS_BACK)
        node.systemctl("daemon-reload")
        self.applications = {"shop": self.application(), "agent": self.the_agent(), "lost": LOST}
        self.agent.configure({"applications": self.applications})
        self.version = self.next_version()
        assert self.deploy()["action"]["state"] == "DONE", self.agent.log_text()
        node.systemctl("start", "nginx")
        node.systemctl("add-wants", "multi-user.target", "agent.service", "nginx.service", *UNITS)

    def application(self) -> dict[str, Any]:
        return SOURCE | {
            "path": "/srv/shop",
            "services": list(UNITS),
            "before": [["/bin/sh", "-c", "echo ran >> /before.ran; while [ -e /before.hold ]; do sleep 0.05; done"]],
            "health": ["/usr/local/bin/shop-is-healthy"],
            "health_timeout": 5.0,
        }

    def the_agent(self) -> dict[str, Any]:
        return SOURCE | {"path": "/srv/agent", "services": ["agent.service"], "health": ["test", "-e", "shop.py"]}

    def next_version(self) -> str:
        """Commit a working version; returns its name, with which it answers."""
        self.versions += 1
        self.hash = self.origin.commit(shop(f"v{self.versions}"))
        return f"v{self.versions}"

    def schedule(self, **args: Any) -> str:
        return self.agent.schedule("deploy", {"application": "shop"} | args)

    def deploy(self, **args: Any) -> Any:
        return self.agent.await_final(self.schedule(**args), timeout=60)

    def answers(self) -> list[str]:
        """The answer of each of the two units."""
        return [self.node.curl(f"http://127.0.0.1:900{number}/") for number in (1, 2)]

    def pids(self) -> list[str]:
        return [self.node.show(unit, "MainPID") for unit in UNITS]

    def starts(self) -> int:
        """The number of starts of a unit of the shop."""
        return len(self.node.read("/starts").split())

    @contextmanager
    def client(self) -> Iterator[dict[str, int]]:
        """A client that calls nginx continuously; its answers are counted."""
        seen: dict[str, int] = {}
        self.node.run("systemd-run", "--collect", "--unit=client", "/usr/bin/python3", "/client.py")
        try:
            yield seen
        finally:
            self.node.run("touch", "/client.stop")
            eventually(self.node.path("/client.json").exists, "the end of the client")
            eventually(lambda: self.node.show("client", "ActiveState") == "inactive", "its unit's end")
            seen.update(json.loads(self.node.read("/client.json")))
            self.node.run("rm", "/client.stop", "/client.json")

    @contextmanager
    def held(self, what: str) -> Iterator[None]:
        """Hold the command `before`, the `start` of the units, or their `health` meanwhile."""
        self.node.run("touch", f"/{what}.hold")
        self.node.run("rm", "-f", "/before.ran")
        try:
            yield
        finally:
            self.node.run("rm", "-f", f"/{what}.hold")

    def kill(self) -> None:
        """SIGKILL to all of the agent's unit; systemd starts it again."""
        before = self.node.show("agent", "NRestarts")
        self.node.systemctl("kill", "--signal=KILL", "agent")
        eventually(lambda: self.node.show("agent", "NRestarts") != before, "it is started again")
        self.agent.await_ready()

    def power_cut(self) -> None:
        """Cut the power of the node and boot it: its units and the agent start together; holds are released."""
        self.node.power_cut()
        for what in ("before", "start", "health"):
            self.node.path(f"/{what}.hold").unlink(missing_ok=True)
        self.node.boot()
        self.agent.await_ready()

    def current(self) -> str:
        """The commit that `current` leads to, by its name and by what lies there."""
        release = self.node.run("readlink", "/srv/shop/current").stdout.strip()
        assert self.node.run("test", "-s", f"/srv/shop/{release}/shop.py").returncode == 0
        return release.rpartition("-")[2]

    def reconfigure(self, applications: dict[str, Any]) -> None:
        """Kill the agent and start it with other applications."""
        self.node.write("/etc/agent.toml", toml({"applications": applications}))
        self.kill()

    def await_phase(self, action: str, phase: str, unit: str) -> None:
        """Wait until an action is in the phase, and has this unit up in it."""

        def there() -> Any:
            payload = self.agent.info(action)["action"]["state_payload"] or {}
            if payload.get("phase") != phase:
                return False
            begun = payload["back" if phase == "rollback" else "services"]
            return begun and (begun[-1]["unit"], begun[-1]["state"]) == (unit, "running")

        eventually(there, f"{action} in {phase}", 30)


SOURCE = {"repository": "/srv/origin/origin.git", "timeout": 30.0}
LOST = SOURCE | {"path": "/srv/lost", "services": ["nosuch.service"]}


@pytest.fixture(scope="module")
def whole_town(module_dir: Path, start_node: Callable[..., Node]) -> Town:
    origin = Origin(module_dir)
    binds = [str(CHECKOUT), sys.prefix, f"{module_dir}:/srv/origin"]
    return Town(start_node("town", binds=binds), origin)


@pytest.fixture
def town(whole_town: Town) -> Town:
    """The node with a version that works on both units."""
    if set(whole_town.answers()) != {whole_town.version}:
        whole_town.version = whole_town.next_version()
        assert whole_town.deploy()["action"]["state"] == "DONE"
    return whole_town


def test_deploys_without_one_failed_request(town: Town) -> None:
    first = town.version
    with town.client() as seen:
        second = town.next_version()
        result = town.deploy()["action"]["state_payload"]
        assert result["git_hash"] == town.hash
        assert result["services"] == [
            {"unit": unit, "pid": pid} for unit, pid in zip(UNITS, town.pids(), strict=True)
        ]  # fmt: skip
        third = town.version = town.next_version()
        args = {"command": "deploy", "application": "shop", "git_ref": "main", "deployment_strategy": "rolling"}
        number = town.agent.post(ACTIONS, json=args).json["response"]["id"]
        action = eventually(
            lambda: found if (found := one(town, number))["finished_at"] else {}, "the end", 60
        )  # fmt: skip
    assert (action["finished_success"], action["finished_result"]["git_hash"]) == (True, town.hash)
    assert action["finished_result"]["servers_deployed"] == 1
    assert town.answers() == [third, third]
    print("requests by what answered them:", seen)
    assert set(seen) == {first, second, third} and sum(seen.values()) > 100


def one(town: Town, number: int) -> Any:
    return town.agent.get(f"{ACTIONS}/{number}").json["response"]


def broken_by_a_mistake() -> dict[str, str]:
    return {"shop.py": "this does not even compile"}


def broken_by_its_answers() -> dict[str, str]:
    return shop("broken", "503 Service Unavailable")


@pytest.mark.parametrize("broken", [broken_by_a_mistake, broken_by_its_answers])
def test_a_broken_version_is_rolled_back_without_downtime(town: Town, broken: Callable[[], dict[str, str]]) -> None:
    before = town.hash
    release = town.node.run("readlink", "/srv/shop/current").stdout
    town.origin.commit(broken())
    second = town.pids()[1]
    with town.client() as seen:
        action = town.deploy()["action"]
    assert action["state"] == "FAILED"
    assert action["state_payload"]["message"].startswith("shop@1.service")
    assert action["state_payload"]["message"].endswith(f"; rolled back to {before}")
    assert action["state_payload"]["phase"] == "restart"
    print("requests by what answered them:", seen)
    assert set(seen) == {town.version} and sum(seen.values()) > 100
    assert town.answers() == [town.version] * 2 and town.pids()[1] == second
    assert town.node.run("readlink", "/srv/shop/current").stdout == release


def test_strategy_parallel_restarts_both_at_once_and_none_restarts_no_unit(town: Town) -> None:
    town.version = town.next_version()
    history = town.deploy(deployment_strategy="parallel")["history"]
    begun = [(each["state_payload"] or {}).get("services") for each in reversed(history)]
    assert next(states for states in map(states_of, begun) if states) == ["noted", "noted"]
    assert town.answers() == [town.version] * 2
    town.next_version()
    pids = town.pids()
    action = town.deploy(deployment_strategy="none")["action"]
    assert (action["state"], action["state_payload"]["services"]) == ("DONE", [])
    assert town.pids() == pids and town.answers() == [town.version] * 2
    town.version = f"v{town.versions}"


def states_of(services: Any) -> list[str]:
    return [each["state"] for each in services or ()]


def test_failed_parallel_deploy_rolls_both_units_back(town: Town) -> None:
    town.origin.commit(broken_by_its_answers())
    action = town.deploy(deployment_strategy="parallel")["action"]
    assert action["state"] == "FAILED" and "; rolled back to " in action["state_payload"]["message"]
    assert town.answers() == [town.version] * 2


def test_a_unit_that_is_not_there_is_reported_before_anything_changes(town: Town) -> None:
    message = town.deploy(application="lost")["action"]["state_payload"]["message"]
    assert message == "systemd has no unit nosuch.service; `current` was not switched"
    assert town.node.run("ls", "-A", "/srv/lost", "/srv/lost/releases").stdout.split() == [
        "/srv/lost:", "releases", "repository", "/srv/lost/releases:",
    ]  # fmt: skip


def test_masked_unit_is_reported_before_the_switch(town: Town) -> None:
    release = town.node.run("readlink", "/srv/shop/current").stdout
    town.node.run("ln", "-s", "/dev/null", "/etc/systemd/system/shop@2.service")
    town.node.systemctl("daemon-reload")
    try:
        message = town.deploy()["action"]["state_payload"]["message"]
    finally:
        town.node.run("rm", "/etc/systemd/system/shop@2.service")
        town.node.systemctl("daemon-reload")
    why = "Unit shop@2.service is masked: run systemctl unmask shop@2.service"
    assert message == f"{why}; `current` was not switched"
    assert town.node.run("readlink", "/srv/shop/current").stdout == release


def test_a_unit_that_refuses_to_be_restarted_is_left_alone(town: Town) -> None:
    before, pids = town.hash, town.pids()
    town.origin.commit(broken_by_its_answers())
    drop_in = "/etc/systemd/system/shop@1.service.d/refuse.conf"
    town.node.write(drop_in, "[Unit]\nRefuseManualStart=yes\n")
    town.node.systemctl("daemon-reload")
    try:
        message = town.deploy()["action"]["state_payload"]["message"]
    finally:
        town.node.run("rm", drop_in)
        town.node.systemctl("daemon-reload")
    assert "Failed to restart shop@1.service: Operation refused" in message
    assert "Operation refused" in message and message.endswith(f"; rolled back to {before}")
    assert town.pids() == pids and town.answers() == [town.version] * 2


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_a_before_command_continues_while_the_agent_is_down(town: Town, how: str) -> None:
    version = town.next_version()
    with town.held("before"):
        action = town.schedule()
        eventually(town.node.path("/before.ran").exists, "the command runs", 20)
        unit = town.node.systemctl("list-units", "--plain", "--no-legend", "agent-job-deploy-*").split()[0]
        pid = town.node.show(unit, "MainPID")
        if how == "kill":
            town.kill()
        else:
            town.node.systemctl("restart", "agent")
            town.agent.await_ready()
        assert (town.agent.state(action), town.node.show(unit, "MainPID")) == ("RUNNING", pid)
    assert town.agent.await_final(action, timeout=60)["action"]["state"] == "DONE"
    assert town.node.read("/before.ran") == "ran\n"
    assert town.answers() == [version] * 2
    town.version = version


@pytest.mark.parametrize("where", ["start", "health"])
def test_deploy_killed_during_the_restart_restarts_each_unit_once(town: Town, where: str) -> None:
    town.version = town.next_version()
    starts = town.starts()
    with town.held(where):
        action = town.schedule()
        if where == "start":
            # At once: the request is hardly stored yet.
            eventually(lambda: town.starts() > starts, "the first is restarted", 20)
        else:
            town.await_phase(action, "restart", "shop@1.service")
        town.kill()
    assert town.agent.await_final(action, timeout=60)["action"]["state"] == "DONE"
    assert town.answers() == [town.version] * 2
    assert town.starts() == starts + 2


def test_deploy_killed_during_the_rollback_rolls_back(town: Town) -> None:
    before = town.hash
    town.origin.commit(broken_by_its_answers())
    starts = town.starts()
    with town.held("health"):
        action = town.schedule()
        town.await_phase(action, "rollback", "shop@1.service")
        town.kill()
    action = town.agent.await_final(action, timeout=60)["action"]
    assert action["state"] == "FAILED"
    assert action["state_payload"]["message"].endswith(f"; rolled back to {before}")
    assert town.answers() == [town.version] * 2
    assert town.starts() == starts + 2


def test_deploy_of_a_removed_application_fails_and_reports_its_state(town: Town) -> None:
    town.next_version()
    with town.held("health"):
        action = town.schedule()
        town.await_phase(action, "restart", "shop@1.service")
        town.reconfigure({"lost": LOST})
        message = town.agent.await_final(action)["action"]["state_payload"]["message"]
    town.reconfigure(town.applications)
    release = town.node.run("readlink", "/srv/shop/current").stdout.strip()
    assert message == (
        "deploy does not accept these arguments: application: Must be one of: lost; "
        f"/srv/shop/current stays switched to {release}; being restarted: shop@1.service; not restarted: shop@2.service"
        "; the step after that was interrupted and may or may not have taken effect"
    )
    assert town.current() == town.hash
    eventually(lambda: town.answers() == [f"v{town.versions}", town.version], "one of them runs it")


def test_deploy_that_restarts_the_agent_continues_afterwards(town: Town) -> None:
    pid = town.node.show("agent", "MainPID")
    action = town.schedule(application="agent")
    eventually(lambda: town.node.show("agent", "MainPID") not in (pid, "0"), "another agent", 60)
    town.agent.await_ready()
    info = town.agent.await_final(action, timeout=60)["action"]
    assert info["state"] == "DONE", info["state_payload"]
    assert info["state_payload"]["services"] == [
        {"unit": "agent.service", "pid": town.node.show("agent", "MainPID")}
    ]  # fmt: skip


def test_power_cut_during_the_command_before_fails_the_deploy_with_the_reason(town: Town) -> None:
    before = town.current()
    town.next_version()
    with town.held("before"):
        action = town.schedule()
        eventually(town.node.path("/before.ran").exists, "the command runs", 20)
        town.power_cut()
    payload = town.agent.await_final(action, timeout=60)["action"]["state_payload"]
    assert payload["message"].endswith(
        "was lost: the host was restarted while it ran; it may or may not have taken effect; `current` was not switched"
    )
    assert town.node.read("/before.ran") == "ran\n"
    assert town.current() == before
    eventually(lambda: town.answers() == [town.version] * 2, "the version before")


def test_after_a_power_cut_in_the_restart_both_units_run_the_new_version(town: Town) -> None:
    town.version = town.next_version()
    with town.held("health"):
        action = town.schedule()
        town.await_phase(action, "restart", "shop@1.service")
        town.power_cut()
    final = town.agent.await_final(action, timeout=60)["action"]
    assert (final["state"], final["state_payload"].get("git_hash")) == ("DONE", town.hash), final
    assert town.current() == town.hash and town.answers() == [town.version] * 2
    assert town.node.read("/before.ran") == "ran\n"


@pytest.mark.parametrize("phase", ["restart", "rollback"])
def test_after_a_power_cut_a_broken_version_goes_back_on_every_unit(town: Town, phase: str) -> None:
    """The boot starts the broken version on every unit, also on those that the deploy had not restarted yet."""
    before = town.current()
    town.origin.commit(broken_by_its_answers())
    with town.held("health"):
        action = town.schedule()
        town.await_phase(action, phase, "shop@1.service")
        town.power_cut()
    final = town.agent.await_final(action, timeout=60)["action"]
    assert final["state"] == "FAILED" and final["state_payload"]["phase"] == "restart"
    assert final["state_payload"]["message"].endswith(f"; rolled back to {before}")
    assert town.current() == before and town.answers() == [town.version] * 2
    assert town.node.read("/before.ran") == "ran\n"
