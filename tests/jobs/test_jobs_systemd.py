"""With systemd a job has its own unit, which outlives the agent's unit and not the host."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.agent_process import CHECKOUT, eventually
from tests.servers.node import CODE, Node
from tests.supervisors.asking import BINDS

JOBS = "/var/lib/agent-test/jobs"
WORK = f"cat; while [ ! -e {JOBS}.go ]; do sleep 0.05; done; id -u; echo done >>{JOBS}.effect"

START = f"""
import os
from pathlib import Path
from agent.jobs.jobs import Jobs
job = Jobs(Path({JOBS!r})).start("one", ["sh", "-c", {WORK!r}], stdin=b"given$HOME ", env=dict(os.environ))
"""
LOOK = f"""
import json
from dataclasses import asdict
from pathlib import Path
from agent.jobs.jobs import Jobs
status = Jobs(Path({JOBS!r})).find("one").look()
print(json.dumps({{"is": type(status).__name__, **asdict(status)}}))
"""
UNIT = """
[Service]
Environment=PYTHONPATH={code}
ExecStart=/usr/bin/python3 /etc/starter.py
"""
TEMPLATE = f"""
[Service]
Type=exec
User=daemon
ExecStart=/usr/bin/python3 -I {CODE}/agent/jobs/runner.py {{jobs}}/%i
"""
ALLOWED = """
polkit.addRule(function(action, subject) {
    if (subject.user == "daemon" && /^agent-job@/.test(action.lookup("unit")))
        return polkit.Result.YES;
});
"""


@pytest.fixture(scope="module")
def host(start_node: Callable[..., Node]) -> Node:
    """A node with a service that starts a job and stays."""
    node = start_node("jobs")
    node.add_code()
    node.write("/etc/starter.py", START + "import time; time.sleep(600)\n")
    node.write("/etc/systemd/system/starter.service", UNIT.format(code=CODE))
    node.systemctl("daemon-reload")
    return node


@pytest.fixture(scope="module")
def host_with_dbus(start_node: Callable[..., Node]) -> Node:
    """A node with this checkout and the library for D-Bus."""
    return start_node("bus-jobs", binds=BINDS)


@pytest.fixture
def node(host: Node) -> Iterator[Node]:
    """The node without any job."""
    host.run("sh", "-c", f"mkdir -p {JOBS}; chown -R daemon {JOBS}/..; chmod 755 {JOBS}/..")
    yield host
    host.systemctl("stop", "starter")
    host.run("touch", f"{JOBS}.go")
    eventually(lambda: not units(host), "the end of the jobs")
    host.run("sh", "-c", f"rm -rf {JOBS}*")


def python(node: Node, script: str, user: str | None = None) -> str:
    done = node.run("env", f"PYTHONPATH={CODE}", "/usr/bin/python3", "-c", script, user=user)
    assert done.returncode == 0, done.stderr
    return done.stdout


def look(node: Node) -> dict[str, Any]:
    return dict(json.loads(python(node, LOOK)))


def units(node: Node) -> str:
    return node.systemctl("list-units", "--all", "--plain", "--no-legend", "agent-job-*")


def start_in_the_service(node: Node) -> None:
    """Make the service start the job, and wait until it works."""
    node.systemctl("start", "starter")
    eventually(lambda: units(node), "the job's unit")
    eventually(lambda: look(node)["output"] == "given$HOME ", "the first output")


def finish(node: Node) -> dict[str, Any]:
    node.run("touch", f"{JOBS}.go")
    eventually(lambda: look(node)["is"] != "RunningJob", "the end of the job")
    return look(node)


@pytest.mark.parametrize("end", ["stop", "restart", "kill -9"])
def test_a_job_outlives_the_unit_that_started_it(node: Node, end: str) -> None:
    start_in_the_service(node)
    before = look(node)
    cgroup = node.run("cat", f"/proc/{before['pid']}/cgroup").stdout
    assert "/system.slice/agent-job-one-" in cgroup and "starter" not in cgroup
    if end == "kill -9":
        node.systemctl("kill", "--signal=KILL", "starter")
        eventually(lambda: node.show("starter", "ActiveState") == "failed", "the death")
    else:
        node.systemctl(end, "starter")
    assert look(node) == before and before["is"] == "RunningJob"
    assert finish(node) == {
        "is": "ExitedJob", "status": 0, "ended": None, "note": "", "output": "given$HOME 0\n"
    }  # fmt: skip
    assert node.read(f"{JOBS}.effect") == "done\n"
    eventually(lambda: not units(node), "the end of the unit")


def test_job_is_ended_by_systemctl_stop_of_its_unit(node: Node) -> None:
    start_in_the_service(node)
    node.systemctl("stop", units(node).split()[0])
    status = look(node)
    assert (status["is"], status["ended"], status["status"]) == ("ExitedJob", "stopped", -15)


def test_job_is_lost_by_a_power_cut_and_not_started_again(node: Node) -> None:
    start_in_the_service(node)
    node.power_cut()
    node.boot()
    assert look(node)["is"] == "LostJob"
    assert look(node)["why"] == "the host was restarted while it ran"
    python(node, START)
    assert look(node)["is"] == "LostJob" and not units(node)


def test_a_job_keeps_the_credentials_of_the_unit_of_the_agent(node: Node) -> None:
    node.write("/etc/keys/one", "a word", 0o600)
    node.write("/etc/systemd/system/starter.service.d/keys.conf", "[Service]\nLoadCredential=one:/etc/keys/one\n")
    work = WORK.replace("id -u", 'cat "$CREDENTIALS_DIRECTORY/one"')
    node.write("/etc/starter.py", START.replace(repr(WORK), repr(work)) + "import time; time.sleep(600)\n")
    try:
        node.systemctl("daemon-reload")
        start_in_the_service(node)
        node.systemctl("stop", "starter")
        assert finish(node)["output"] == "given$HOME a word"
    finally:
        node.write("/etc/starter.py", START + "import time; time.sleep(600)\n")
        node.run("rm", "-r", "/etc/systemd/system/starter.service.d")
        node.systemctl("daemon-reload")


def run_as_daemon(node: Node, template: str) -> dict[str, Any]:
    """The result of an unprivileged user's job with this agent-job@.service."""
    file = "/etc/systemd/system/agent-job@.service"
    if template:
        node.write(file, template)
    try:
        node.systemctl("daemon-reload")
        python(node, START, user="daemon")
        return finish(node)
    finally:
        node.run("rm", "-f", file)
        node.systemctl("daemon-reload")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("", "agent-job@.service is not installed"),
        (TEMPLATE.format(jobs="/elsewhere"), f"agent-job@.service does not look for its jobs in {JOBS}"),
        (TEMPLATE.format(jobs=JOBS).replace("daemon", "nobody"), "agent-job@.service runs as another user"),
        (TEMPLATE.format(jobs=JOBS), "systemd refused: Failed to start agent-job@one.service: "),
    ],
)
def test_job_of_an_unprivileged_user_without_the_template_is_a_child_with_a_note(
    node: Node, template: str, reason: str
) -> None:
    status = run_as_daemon(node, template)
    assert (status["is"], status["output"]) == ("ExitedJob", "given$HOME 1\n")
    assert status["note"].startswith(f"runs as a child of the agent, because {reason}")


def test_unprivileged_user_with_the_polkit_rule_gets_a_unit_for_its_job(node: Node) -> None:
    node.write("/etc/polkit-1/rules.d/50-test.rules", ALLOWED)
    try:
        may = ["systemctl", "--no-ask-password", "stop", "agent-job@none.service"]
        eventually(lambda: "authentication" not in node.run(*may, user="daemon").stderr, "the new rule")
        node.run("touch", f"{JOBS}.go")
        status = run_as_daemon(node, TEMPLATE.format(jobs=JOBS))
    finally:
        node.run("rm", "/etc/polkit-1/rules.d/50-test.rules")
    assert (status["output"], status["note"]) == ("given$HOME 1\n", "")


def test_directory_with_special_characters_is_passed_to_systemd_run_unchanged(node: Node) -> None:
    odd = f"{JOBS}/a $HOME %n ${{X}} 'q'"
    script = START.replace(repr(JOBS), repr(odd)) + (
        "import time\nfor _ in range(200): time.sleep(0.05 if type(job.look()).__name__ =="
        " 'RunningJob' else 0)\nprint(job.look().note, job.look().output)"
    )
    node.run("touch", f"{JOBS}.go")
    assert python(node, script) == " given$HOME 0\n\n", shlex.quote(odd)


ODD = """
import time
for _ in range(1200):
    if type(job.look()).__name__ != "RunningJob":
        break
    time.sleep(0.05)
print(job.look().note, job.look().output)
"""


def test_directory_with_special_characters_is_passed_over_dbus_without_systemd_run(host_with_dbus: Node) -> None:
    odd = f"{JOBS}/a $HOME %n ${{X}} 'q'"
    node, script = host_with_dbus, START.replace(repr(JOBS), repr(odd)) + ODD
    node.run("sh", "-c", f"mkdir -p {JOBS}; touch {JOBS}.go")
    without_programs = "from agent.jobs import transient_unit\ntransient_unit.start_by_program = None\n"
    done = node.run("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-c", without_programs + script)
    assert (done.stdout, done.stderr) == (" given$HOME 0\n\n", "")


def test_systemd_run_starts_the_job_if_dbus_does_not_answer(host_with_dbus: Node) -> None:
    node = host_with_dbus
    node.run("sh", "-c", f"rm -rf {JOBS}*; mkdir -p {JOBS}; touch {JOBS}.go")
    unheard = "from agent.jobs import transient_unit\ntransient_unit.start_over_bus = lambda *_: 'no answer'\n"
    done = node.run("env", f"PYTHONPATH={CHECKOUT}", sys.executable, "-c", unheard + START + ODD)
    assert (done.stdout, done.stderr) == (" given$HOME 0\n\n", "")
