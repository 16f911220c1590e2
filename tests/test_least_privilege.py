"""The agent as its own user, with the shipped units and rules: the permitted operations, and no others."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_inside import AgentInNode
from tests.agent_process import eventually
from tests.servers.node import Node
from tests.test_host_page import EXAMPLES

SHIPPED = Path(__file__).parents[1] / "systemd"
ACTIONS = "/api/3/stacks/default/actions"
NEEDS_A_PASSWORD = 2  # exit status of pkcheck if no rule permits the request
SECRET = "server-correct-horse"

UNIT_ACTION, TEMPLATE, HELPER = (
    next(each for each in EXAMPLES if each.startswith(beginning))
    for beginning in ("[external_actions.trim-journal]", "# /etc/systemd/system/trim-journal@", "#!/bin/sh")
)
"""The example in docs/host.rst, section "External actions as units"."""
CONFIGURATION = f"""
{UNIT_ACTION}
[agent]
kinds = ["patient"]
kinds_path = "/opt/kinds"
[service]
unit = "db@b"
[datastore]
kind = "redis"
url = "redis://127.0.0.1:6402"
password_file = "credential:redis"
primary = "redis://127.0.0.1:6401"
primary_password_file = "credential:redis"
[host]
services = ["listed.service"]
[services.web]
unit = "paused.service"
[processes.worker]
unit = "worker.service"
"""
REBOOT = '[host]\nreboot = ["systemctl", "--no-ask-password", "reboot"]'
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
DATABASE = "[Service]\nExecStart=/usr/bin/redis-server /etc/db/%i.conf\n"
SLEEPER = "[Service]\nExecStart=/bin/sleep 3600\n"
DROP_IN = "[Service]\nLoadCredential=redis:/etc/keys/redis\n"

PATIENT = '''
import os

from agent.jobs.jobs import ExitedJob, Jobs, RunningJob
from agent.kinds.base import Done, Failed, Kind, Running

SCRIPT = """echo started >>/var/lib/agent/started; id -un; cat /proc/self/cgroup
while [ ! -e /var/lib/agent/go ]; do sleep 0.05; done
sha256sum <"$CREDENTIALS_DIRECTORY/redis"; touch /usr/lib/mine"""


class Patient(Kind):
    """Start a job that waits for a file, and poll it until it has ended."""

    name = "patient.job"

    def step(self, step):
        jobs = Jobs(self.settings.agent.db.with_name("agent.db.jobs"))
        status = jobs.start(f"patient-{step.action.id}", ["sh", "-c", SCRIPT], env=dict(os.environ)).look()
        result = {"said": status.output, "note": status.note}
        if isinstance(status, RunningJob):
            return Running(result | {"pid": status.pid}, after=0.1)
        return Done(result) if isinstance(status, ExitedJob) else Failed(result)

    resume = step
'''


@pytest.fixture(scope="module")
def agent(node: Node) -> AgentInNode:
    """The running agent of the node."""
    found = AgentInNode(node)
    found.await_ready()
    return found


@pytest.fixture(scope="module")
def node(agent_venv: Path, start_node: Callable[..., Node]) -> Node:
    """A host with an agent of a replica, installed as in docs/privileges.rst."""
    host = start_node("least")
    host.run("ln", "-s", str(agent_venv), "/opt/agent")
    host.run("useradd", "--system", "--user-group", "--home-dir", "/var/lib/agent", "agent")
    for unit in ("agent.service", "agent-job@.service"):
        host.write(f"/etc/systemd/system/{unit}", (SHIPPED / unit).read_text())
    host.write("/etc/systemd/system/agent.service.d/here.conf", DROP_IN)
    host.write("/etc/dbus-1/system.d/agent.conf", (SHIPPED / "agent-dbus.conf").read_text())
    host.write("/etc/systemd/system/db@.service", DATABASE)
    for unit in ("listed", "paused", "worker", "other"):
        host.write(f"/etc/systemd/system/{unit}.service", SLEEPER)
    host.write("/etc/keys/redis", SECRET + "\n", 0o600)
    host.write("/etc/db/a.conf", database(6401))
    host.write("/etc/db/b.conf", database(6402) + "replicaof 127.0.0.1 6401\n")
    host.write("/opt/kinds/patient.py", PATIENT)
    for template in ("trim-journal", "other"):
        host.write(f"/etc/systemd/system/{template}@.service", TEMPLATE)
    host.write("/usr/local/bin/unit-action", HELPER, 0o755)
    host.write("/etc/agent/agent.toml", CONFIGURATION)
    host.systemctl("daemon-reload")
    host.systemctl("reload", "dbus")
    host.systemctl("start", "db@a", "db@b", "listed", "paused", "worker", "other")
    install_rule(host, CONFIGURATION)
    host.systemctl("start", "agent")
    return host


def database(port: int) -> str:
    return (
        f'bind 127.0.0.1\nport {port}\nsave ""\nrequirepass {SECRET}\nmasterauth {SECRET}\nrepl-diskless-sync-delay 0\n'
    )


def install_rule(node: Node, configuration: str, without: str = "nothing") -> None:
    """Install the rule for this configuration as root does; `without` is a verb to leave out."""
    node.write("/root/agent.toml", configuration)
    made = node.run("/opt/agent/bin/agentctl", "polkit", "/root/agent.toml")
    assert made.returncode == 0, made.stderr
    node.write("/etc/polkit-1/rules.d/50-agent.rules", made.stdout.replace(f'"{without}"', '"none"'))
    node.run("systemctl", "reset-failed", "polkit")
    node.systemctl("restart", "polkit")


def as_agent(node: Node, *argv: str) -> str:
    """The refusal for the agent's user; empty if permitted."""
    done = node.run(*argv, user="agent")
    assert done.returncode == 0 or done.stderr
    return done.stderr if done.returncode else ""


def systemctl(node: Node, *argv: str) -> str:
    return as_agent(node, "systemctl", "--no-ask-password", *argv)


def refused(answer: str) -> bool:
    return "authentication required" in answer or "Access denied" in answer


def done(agent: AgentInNode, action_id: str) -> Any:
    """The final payload of an action that must succeed."""
    action = agent.await_final(action_id, timeout=40)["action"]
    assert action["state"] == "DONE", action
    return action["state_payload"]


def test_a_listed_unit_is_restarted_by_an_action_on_either_wire(agent: AgentInNode) -> None:
    def pid() -> str:
        return agent.node.show("db@b", "MainPID")

    first = pid()
    done(agent, agent.schedule("replicante.service.restart", {}))
    second = pid()
    scheduled = agent.post(ACTIONS, json={"command": "replicante.service.restart"}).json["response"]
    eventually(lambda: agent.get(f"{ACTIONS}/{scheduled['id']}").json["response"]["finished_success"], "its end", 40)
    assert len({first, second, pid()}) == 3
    assert agent.node.run("ps", "-o", "user=", "-p", agent.node.show("agent", "MainPID")).stdout == "agent\n"


def test_restart_action_restarts_exactly_the_listed_units(agent: AgentInNode) -> None:
    units = ("listed", "paused", "worker", "other")
    before = {unit: agent.node.show(unit, "InvocationID") for unit in units}
    (restarted,) = done(agent, agent.schedule("restart", {}))["services"]
    assert (restarted["unit"], restarted["pid"]) == ("listed.service", agent.node.show("listed", "MainPID"))
    assert [unit for unit in units if agent.node.show(unit, "InvocationID") != before[unit]] == ["listed"]


def test_external_action_starts_only_an_instance_of_its_template(agent: AgentInNode) -> None:
    action_id = agent.schedule("external.trim-journal", {})
    unit = f"trim-journal@{action_id}.service"
    assert done(agent, action_id) == {"status": "finished", "error": "", "unit": unit}
    assert agent.node.show(unit, "Result") == "success" and agent.node.show(unit, "ActiveState") == "active"
    assert agent.node.run("ps", "-o", "user=", "-p", agent.node.show("agent", "MainPID")).stdout == "agent\n"
    other = "3f0f9a52-5d5c-4d0e-8f43-0a3a6f3f2a10"
    for name in (unit, f"trim-journal@{other}.service"):
        allowed = [verb for verb in ("start", "restart", "stop") if not refused(systemctl(agent.node, verb, name))]
        assert allowed == ["start", "stop"], name
    for name in ("trim-journal@mine", "trim-journal@", f"trim-journal@{other.upper()}", f"other@{other}", f"x{unit}"):
        assert systemctl(agent.node, "start", f"{name.removesuffix('.service')}.service"), name


def test_external_action_names_its_failed_unit(agent: AgentInNode) -> None:
    broken = "/etc/systemd/system/trim-journal@.service.d/broken.conf"
    agent.node.write(broken, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    agent.node.systemctl("daemon-reload")
    try:
        action = agent.await_final(agent.schedule("external.trim-journal", {}), timeout=40)["action"]
    finally:
        agent.node.run("rm", broken)
        agent.node.systemctl("daemon-reload")
    assert (action["state"], action["state_payload"]["status"]) == ("FAILED", "failed")
    assert (
        action["state_payload"]["exit_status"] == 0
        and f"trim-journal@{action['id']}.service failed" in action["message"]
    )


PAUSABLE = [("service", "paused", {"service_name": "web"}), ("process", "worker", {"process_name": "worker"})]


@pytest.mark.parametrize(("what", "unit", "args"), PAUSABLE)
def test_a_unit_is_paused_resumed_and_restarted_by_actions(what: str, unit: str, args: Any, agent: AgentInNode) -> None:
    invocation = agent.node.show(unit, "InvocationID")
    for verb, state in (("pause", "frozen"), ("resume", "running"), ("pause", "frozen"), ("restart", "running")):
        done(agent, agent.schedule(f"{what}_{verb}", args))
        assert agent.node.show(unit, "FreezerState") == state
    assert agent.node.show(unit, "InvocationID") != invocation


@pytest.mark.parametrize(
    ("unit", "allowed"),
    [
        ("db@b", ["stop", "start", "reset-failed"]),
        ("listed", ["restart", "reset-failed"]),
        ("paused", ["freeze", "thaw", "restart", "kill", "reset-failed"]),
        ("worker", ["freeze", "thaw", "restart", "kill", "reset-failed"]),
        ("other", []),
        ("db@a", []),
        ("agent", []),
    ],
)
def test_polkit_rule_allows_only_the_verbs_that_the_actions_need(node: Node, unit: str, allowed: list[str]) -> None:
    verbs = ["freeze", "thaw", "stop", "start", "restart", "reload-or-restart", "kill", "set-property", "reset-failed"]
    more = {"set-property": ["--runtime"], "kill": ["--signal=CONT"]}
    tried = {
        verb: systemctl(node, *more.get(verb, []), verb, unit, *(["CPUWeight=50"] if verb == "set-property" else []))
        for verb in verbs
    }
    assert [verb for verb in verbs if not refused(tried[verb])] == sorted(allowed, key=verbs.index), tried
    assert node.systemctl("is-active", unit) == "active"


@pytest.mark.parametrize(
    "argv",
    [
        ["systemd-run", "--no-ask-password", "true"],
        ["systemd-run", "--no-ask-password", "--unit=agent-job@one.service", "true"],
        ["systemd-run", "--no-ask-password", "--unit=db@b.service", "--uid=0", "true"],
        ["systemctl", "--no-ask-password", "daemon-reload"],
        ["systemctl", "--no-ask-password", "disable", "db@b.service"],
        ["systemctl", "--no-ask-password", "reboot"],
        ["systemctl", "--no-ask-password", "poweroff"],
        ["systemctl", "--no-ask-password", "start", "reboot.target"],
        ["systemctl", "--no-ask-password", "isolate", "rescue.target"],
        # The rule permits a stop of this unit, and systemd checks a freeze like a stop.
        ["busctl", "call", *MANAGER, "FreezeUnit", "s", "db@b.service"],
    ],
)
def test_other_calls_to_systemd_are_refused(node: Node, argv: list[str]) -> None:
    assert refused(as_agent(node, *argv))


@pytest.mark.parametrize(
    ("message", "allowed"),
    [
        ("Authentication is required to start '$(unit)'.", True),
        ("Authentication is required to start transient unit '$(unit)'.", False),
    ],
)
@pytest.mark.parametrize("unit", ["agent-job@one.service", "db@b.service"])
def test_transient_unit_is_refused_even_if_systemd_passes_its_name(
    node: Node, unit: str, message: str, allowed: bool
) -> None:
    """Like the request of systemd 257 and later; only root may pass details to polkit."""
    details = {"unit": unit, "verb": "start", "polkit.message": message}
    ended = node.run(
        "pkcheck",
        *("--action-id", "org.freedesktop.systemd1.manage-units", "--process", node.show("agent", "MainPID")),
        *(word for name, value in details.items() for word in ("--detail", name, value)),
    )
    assert ended.returncode == (0 if allowed else NEEDS_A_PASSWORD), ended.stderr


def test_job_unit_may_be_started_but_not_restarted(node: Node) -> None:
    assert systemctl(node, "start", "agent-job@none.service") == ""
    assert refused(systemctl(node, "restart", "agent-job@none.service"))
    assert refused(systemctl(node, "start", "agent-job.service"))


def test_unit_missing_from_the_rule_fails_with_the_message_of_systemd(agent: AgentInNode) -> None:
    requests = [
        ("replicante.service.restart", {}, ""),
        ("restart", {}, "restart listed.service"),
        *((f"{what}_pause", args, f"freeze {unit}.service") for what, unit, args in PAUSABLE),
        *((f"{what}_restart", args, f"restart {unit}.service") for what, unit, args in PAUSABLE),
    ]
    install_rule(agent.node, "")
    try:
        ids = [agent.schedule(kind, args) for kind, args, _ in requests]
        action, *others = [agent.await_final(each, timeout=40)["action"] for each in ids]
    finally:
        install_rule(agent.node, CONFIGURATION)
    for (_, _, verb), other in zip(requests[1:], others, strict=True):
        assert other["state"] == "FAILED"
        assert f"the agent's user may not {verb} (see agentctl polkit): " in other["state_payload"]["message"]
    assert action["state"] == "FAILED"
    message = action["state_payload"]["message"]
    refusal = "the agent's user may not start db@b.service (see agentctl polkit): Failed to start db@b.service: "
    assert message.startswith(f"db@b is not stopped, as it could not be started again: {refusal}")
    assert message.endswith("authentication required") and "\n" not in message


def test_restart_without_the_right_to_reset_failed_waits_for_the_start_limit_first(agent: AgentInNode) -> None:
    node = agent.node
    limited = "/etc/systemd/system/listed.service.d/limit.conf"

    def restart_with_limit(seconds: int) -> Any:
        node.write(limited, f"[Unit]\nStartLimitIntervalSec={seconds}\nStartLimitBurst=1\n")
        node.systemctl("daemon-reload")
        node.systemctl("reset-failed", "listed")
        node.systemctl("restart", "listed")
        return agent.await_final(agent.schedule("restart", {}), timeout=40)["action"]

    install_rule(node, CONFIGURATION, without="reset-failed")
    try:
        assert restart_with_limit(2)["state"] == "DONE"
        pid = node.show("listed", "MainPID")
        refused = restart_with_limit(600)
        assert refused["state"] == "FAILED"
        assert "may be started 1 times in 600 s" in refused["state_payload"]["message"]
        assert "the agent's user may not reset-failed listed.service" in refused["state_payload"]["message"]
        assert node.systemctl("is-active", "listed") == "active" and node.show("listed", "MainPID") not in (pid, "0")
    finally:
        node.run("rm", limited)
        node.systemctl("daemon-reload")
        node.systemctl("reset-failed", "listed")
        install_rule(node, CONFIGURATION)


@pytest.fixture
def waiting(agent: AgentInNode) -> Iterator[str]:
    """An action whose job runs and waits for a file."""
    state = "/var/lib/agent"
    action_id = agent.schedule("patient.job", {})

    def works() -> bool:
        payload = agent.info(action_id)["action"]["state_payload"]
        return payload is not None and "0::" in payload["said"]

    eventually(works, "the job works", 20)
    yield action_id
    agent.node.run("touch", f"{state}/go")
    agent.await_final(action_id, timeout=40)
    agent.node.run("rm", "-f", f"{state}/go", f"{state}/started")


@pytest.mark.parametrize("end", ["restart", "kill -9"])
def test_a_job_continues_while_the_agent_is_restarted(agent: AgentInNode, waiting: str, end: str) -> None:
    node = agent.node
    before = agent.info(waiting)["action"]["state_payload"]
    unit = f"agent-job@patient-{waiting}.service"
    assert node.systemctl("is-active", unit) == "active" and node.show(unit, "User") == "agent"
    assert f"/{unit}" in before["said"] and before["said"].startswith("agent\n") and before["note"] == ""
    agent.end(end)
    node.run("touch", "/var/lib/agent/go")
    output = done(agent, waiting)["said"]
    assert output.startswith(before["said"]) and node.read("/var/lib/agent/started") == "started\n"
    # The agent's credentials, and the same few writable folders.
    assert hashlib.sha256(f"{SECRET}\n".encode()).hexdigest() in output
    assert "Read-only file system" in output


@pytest.mark.parametrize("end", ["restart", "kill -9"])
def test_a_resync_continues_while_the_agent_is_restarted(agent: AgentInNode, end: str) -> None:
    node = agent.node
    cli = ("redis-cli", "--no-auth-warning", "-a", SECRET, "-p")
    node.run(*cli, "6401", "set", "k", end)
    # The replica has writes of its own, and the primary delays the copy, so that the resync cannot end.
    node.run(*cli, "6402", "replicaof", "no", "one")
    node.run(*cli, "6402", "set", "k", "diverged")
    node.run(*cli, "6401", "config", "set", "repl-diskless-sync-delay", "600")
    try:
        action_id = agent.schedule("resync_slave_db", {"force": True})
        unit = f"agent-job@resync-{action_id}.service"
        eventually(lambda: node.show(unit, "ActiveState") == "active", "the job's unit", 20)
        invocation = node.show(unit, "InvocationID")
        agent.end(end)
        assert node.show(unit, "InvocationID") == invocation
        assert agent.state(action_id) == "RUNNING"
    finally:
        node.run(*cli, "6401", "config", "set", "repl-diskless-sync-delay", "0")
    assert done(agent, action_id)["streaming"] is True
    assert node.run(*cli, "6402", "get", "k").stdout == f"{end}\n"


def test_a_credential_is_in_no_row_no_log_and_no_property(agent: AgentInNode) -> None:
    done(agent, agent.schedule("resync_slave_db", {}))
    node = agent.node
    node.systemctl("stop", "agent")
    try:
        kept = node.run("grep", "-rl", SECRET, "/var/lib/agent", "/run/systemd", "/etc/systemd")
        journal = node.run("journalctl", "--boot", "--no-pager", "--output=json").stdout
        shown = node.run("systemctl", "show", "agent", "agent-job@x.service", "db@b").stdout
    finally:
        node.systemctl("start", "agent")
        agent.await_ready()
    assert kept.stdout == "" and "resync" in journal and "LoadState=loaded" in shown
    assert SECRET not in journal and SECRET not in shown
    # Only its owner and root may read it.
    assert refused_to_read(node, "nobody")


def refused_to_read(node: Node, user: str) -> bool:
    return "Permission denied" in node.run("cat", "/run/credentials/agent.service/redis", user=user).stderr


def test_root_may_check_and_read_a_configuration_with_credentials_outside_of_the_unit(node: Node) -> None:
    for words in (["config", "check"], ["polkit"]):
        made = node.run("/opt/agent/bin/agentctl", *words, "/root/agent.toml")
        assert (made.returncode, made.stderr) == (0, ""), words


def test_systemd_finds_nothing_wrong_with_the_units(node: Node) -> None:
    for unit in ("agent.service", "agent-job@one.service"):
        found = node.run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{unit}")
        assert (found.returncode, found.stderr) == (0, ""), unit


def test_the_units_are_sandboxed_alike() -> None:
    def sandbox(unit: str) -> list[str]:
        lines = (SHIPPED / unit).read_text().splitlines()
        words = ("User", "Group", "UMask", "WorkingDirectory", "NoNew", "Protect", "Private", "Restrict=", "Lock",
                 "RestrictA", "RestrictN", "RestrictS", "RestrictRe", "Capability", "SystemCall", "Keyring", "Limit",
                 "RemoveIPC")  # fmt: skip
        return [line for line in lines if line.startswith(words)]

    assert sandbox("agent.service") == sandbox("agent-job@.service") != []


@pytest.mark.parametrize("unit", ["agent.service", "agent-job@.service"])
def test_the_units_leave_little_exposed(unit: str) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=22", str(SHIPPED / unit)]
    rated = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout[-200:] + rated.stderr


# The last test: the agent's host goes down.


def test_host_is_rebooted_by_an_action_only_if_configured(agent: AgentInNode) -> None:
    node, configuration = agent.node, CONFIGURATION.replace("[host]", REBOOT)
    node.write("/etc/agent/agent.toml", configuration)
    node.systemctl("enable", "agent")
    agent.end("restart")
    refusal = agent.await_final(agent.schedule("stack_reboot", {}), timeout=40)["action"]
    assert refusal["state"] == "FAILED" and refused(refusal["state_payload"]["message"]), refusal
    install_rule(node, configuration)
    assert refused(systemctl(node, "poweroff"))
    action_id = agent.schedule("stack_reboot", {})
    node.boot_after_reboot()
    agent.await_ready()
    done(agent, action_id)
    assert node.run("ps", "-o", "user=", "-p", node.show("agent", "MainPID")).stdout == "agent\n"
