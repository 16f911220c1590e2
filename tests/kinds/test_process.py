"""Named processes, by pid file and by unit: paused, resumed and restarted; dangerous targets are refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.kinds.base import Done, Failed, NotOffered
from agent.kinds.base.registry import kinds_of
from agent.kinds.process import PauseProcesses, ProcessResult, RestartProcesses, ResumeProcesses
from agent.processes.process import stat_of
from tests.agent_inside import AgentInside
from tests.agent_process import CHECKOUT, StartAgent, eventually
from tests.kinds.configuring import Document, settings, toml
from tests.kinds.killing import MOMENTS, fatal_agent, killed_and_ended, killed_at_systemctl, slow_down
from tests.kinds.performing import perform as steps_of, step_of
from tests.kinds.wires import WIRES, begin, finished, perform
from tests.servers.node import Node
from tests.servers.process import await_that, is_alive

RUN = """
setsid sh -c 'sleep infinity & sleep infinity & echo $$ >"$0.new"; mv "$0.new" "$0"; wait' {pid_file} \\
    >/dev/null 2>&1 </dev/null &
"""
RESTART = """
set -e
echo begun >>{marks}
while [ -e {hold} ]; do sleep 0.05; done
kill -KILL -$(cat {pid_file})
"""
REDIS = "redis-server.service"
SLOW = """
[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c "while [ -e /slow.hold ]; do sleep 0.05; done"
"""
DAEMON = "setsid sh -c 'echo $$ >/run/filed.pid; exec sleep infinity' >/dev/null 2>&1 </dev/null &"


class Workers:
    """A process group of a leader and two children, named by a pid file, with a restart command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pid_file = directory / "workers.pid"
        self.marks, self.hold = directory / "marks", directory / "hold"
        self.places = {"pid_file": self.pid_file, "marks": self.marks, "hold": self.hold}
        self.start = RUN.format(**self.places)
        (directory / "restart.sh").write_text(RESTART.format(**self.places) + self.start)
        self.restart = ["sh", str(directory / "restart.sh")]
        self.started: set[int] = set()

    def run(self) -> int:
        subprocess.run(["sh", "-c", self.start], check=True)
        await_that(self.pid_file.exists, 5, "the pid file")
        self.await_rest()
        return self.pid

    def await_rest(self) -> None:
        """Wait until the start has ended: other processes and busy workers would change the state letters."""
        await_that(lambda: self.states() == "SSS", 10, "all of them, and no others")

    @property
    def pid(self) -> int:
        pid = int(self.pid_file.read_text())
        self.started.add(pid)
        return pid

    def states(self) -> str:
        """The state letter of each process."""
        group = self.pid
        stats = (stat_of(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
        return "".join(sorted(stat.state for stat in stats if stat is not None and stat.group == group))

    def close(self) -> None:
        if self.pid_file.exists():
            self.started.add(int(self.pid_file.read_text()))
        for group in self.started:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
            await_that(partial(gone, group), 5, "their end")

    def document(self, **options: Any) -> Document:
        named = {"pid_file": str(self.pid_file), "restart": self.restart, "timeout": 10}
        return {"agent": {"db": str(self.directory / "agent.db")}, "processes": {"workers": named | options}}


@pytest.fixture
def workers(server_dir: Path) -> Iterator[Workers]:
    found = Workers(server_dir)
    yield found
    found.close()


def gone(pid: int) -> bool:
    return not is_alive(pid)


def entry(how: str, **more: Any) -> dict[str, Any]:
    return {"processes": [{"process": "workers", "how": how} | more]}


def why(kind: type[Any], document: Document) -> str:
    """The message of a failing action on the workers."""
    outcome = steps_of(kind(settings(document)))[-1]
    assert isinstance(outcome, Failed), outcome
    return outcome.message


# By pid file


def test_process_group_is_paused_resumed_and_restarted(workers: Workers, start_agent: StartAgent) -> None:
    workers.run()
    agent = start_agent(config=toml(workers.document()))
    for wire in WIRES:
        message = []
        for kind in ("process_pause", "process_pause", "process_resume", "process_resume"):
            action = perform(agent, wire, kind, process_name="workers")
            assert (action["finished_success"], action["resource_type"]) == (True, "Process"), action
            assert ProcessResult().validate(action["finished_result"]) == {}
            # A resumed process may be seen running before it sleeps again.
            message.append((action["finished_message"], re.sub("[RD]", "S", workers.states())))
        assert message == [
            ("workers: paused by a signal", "TTT"), ("workers: paused already", "TTT"),
            ("workers: continued", "SSS"), ("workers: not paused", "SSS"),
        ]  # fmt: skip
        first = workers.pid
        action = perform(agent, wire, "process_restart")
        assert action["finished_result"] == entry("restarted", pid=str(workers.pid)), action
        assert workers.pid != first
        await_that(partial(gone, first), 5, "the end of what was restarted")
        workers.await_rest()
    assert workers.marks.read_text() == "begun\n" * 2


def test_paused_process_is_resumed_for_its_restart(workers: Workers) -> None:
    """The command may request the end of the process itself."""
    first = workers.run()
    stop = RESTART.replace("-KILL", "-TERM").format(**workers.places)
    document = workers.document(restart=["sh", "-c", stop + workers.start])
    steps_of(PauseProcesses(settings(document)))
    assert steps_of(RestartProcesses(settings(document)))[-1] == Done(
        entry("restarted", pid=str(workers.pid)), "workers: restarted"
    )
    await_that(partial(gone, first), 5, "the end of what was paused")


def test_stopped_process_is_started_by_a_restart(workers: Workers) -> None:
    (outcome,) = steps_of(RestartProcesses(settings(workers.document(restart=["sh", "-c", workers.start]))))[-1:]
    assert outcome == Done(entry("restarted", pid=str(workers.pid)), "workers: restarted")


def test_killed_agent_runs_the_command_once(workers: Workers, start_agent: StartAgent) -> None:
    first = workers.run()
    workers.hold.touch()
    agent = start_agent(config=toml(workers.document()))
    action = agent.schedule("process_restart", {"process_name": "workers"})
    await_that(workers.marks.exists, 10, "the command has begun")
    agent.kill_all()
    workers.hold.unlink()
    await_that(lambda: workers.pid != first, 10, "the restart continues alone")
    agent.start()
    final = agent.await_final(action, timeout=30)["action"]
    assert (final["state"], final["state_payload"]) == ("DONE", entry("restarted", pid=str(workers.pid)))
    assert workers.marks.read_text() == "begun\n"


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGKILL, "its runner was killed"), (signal.SIGTERM, "the job was ended by another program or")],
)
def test_restart_with_a_killed_runner_fails_with_the_known_state(
    workers: Workers, start_agent: StartAgent, number: int, why: str
) -> None:
    pid = workers.run()
    workers.hold.touch()
    agent = start_agent(config=toml(workers.document()))
    action = agent.schedule("process_restart", {})
    await_that(workers.marks.exists, 10, "the command has begun")
    agent.kill_all()
    (claim,) = agent.directory.glob("agent.db.jobs/*/claim")
    os.kill(json.loads(claim.read_text())["runner"]["pid"], number)
    agent.start()
    final = agent.await_final(action, timeout=30)["action"]
    assert final["state"] == "FAILED"
    assert final["state_payload"]["message"].startswith(f"workers: it is unknown whether it was restarted: {why}")
    assert final["state_payload"]["message"].endswith(f"; {workers.pid_file} still contains pid {pid}")
    assert is_alive(pid) and workers.marks.read_text() == "begun\n"


@pytest.mark.parametrize(
    ("kind", "call", "how"),
    [
        ("process_pause", "2 agent.processes.process:Process.signal SIGSTOP", "paused by a signal"),
        ("process_pause", "1 agent.kinds.process:Running how", "paused already"),
        ("process_resume", "2 agent.processes.process:Process.signal SIGCONT", "continued"),
        ("process_resume", "1 agent.kinds.process:Running how", "not paused"),
    ],
)
def test_killed_agent_pauses_and_resumes_the_whole_group(
    kind: str, call: str, how: str, workers: Workers, start_agent: StartAgent
) -> None:
    """After a signal to one of them, and after signals to all without a stored result."""
    before, after = ("SSS", "TTT") if kind == "process_pause" else ("TTT", "SSS")
    leader = workers.run()
    if before == "TTT":
        os.killpg(leader, signal.SIGSTOP)
        await_that(lambda: workers.states() == "TTT", 5, "their stop")
    agent = fatal_agent(start_agent, workers.document(), call)
    action = killed_and_ended(agent, kind, {"process_name": "workers"})
    assert (action["state"], action["state_payload"]) == ("DONE", entry(how)), action
    assert workers.states() == after


@pytest.mark.parametrize("kind", [PauseProcesses, ResumeProcesses, RestartProcesses])
def test_first_step_can_be_repeated(kind: type[Any], workers: Workers) -> None:
    """Like after an executor that died before the result was stored."""
    workers.run()
    offered = kind(settings(workers.document()))
    offered.step(step_of(offered))
    outcome = offered.resume(step_of(offered))
    assert isinstance(steps_of(offered, outcome.payload)[-1], Done)


def test_missing_process_fails_on_both_wires(workers: Workers, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(workers.document(restart=["/no/such/start"])))
    missing = f"workers: there is no {workers.pid_file}"
    ended = f"workers: {workers.pid_file} contains pid 4194303, which is not running"
    for message in (missing, ended):
        for wire in WIRES:
            actions = [perform(agent, wire, kind) for kind in ("process_pause", "process_resume", "process_restart")]
            assert {action["finished_success"] for action in actions} == {False}
            *others, restart = [action["finished_message"] for action in actions]
            assert others == [message, message]
            assert restart.startswith("workers: its restart failed") and "/no/such/start" in restart
        workers.pid_file.write_text("4194303\n")
    workers.pid_file.unlink()


@pytest.mark.parametrize("text", ["", "nonsense", "-1", "0", "12x", "9" * 40])
def test_invalid_pid_file_is_refused(text: str, workers: Workers) -> None:
    workers.pid_file.write_text(text)
    for kind in (PauseProcesses, ResumeProcesses, RestartProcesses):
        assert why(kind, workers.document()) == f"workers: {workers.pid_file} contains no pid"
    workers.pid_file.unlink()


def test_pid_file_that_is_a_link_or_fifo_is_refused(workers: Workers) -> None:
    other = workers.pid_file.with_name("other.pid")
    other.write_text(f"{workers.run()}\n")
    workers.pid_file.unlink()
    workers.pid_file.symlink_to(other)
    message = f"workers: {workers.pid_file} cannot be read: it is a symbolic link"
    assert why(PauseProcesses, workers.document()) == message
    workers.pid_file.unlink()
    os.mkfifo(workers.pid_file)
    assert why(PauseProcesses, workers.document()) == f"workers: {workers.pid_file} contains no pid"
    os.rename(other, workers.pid_file)
    assert workers.states() == "SSS"


@pytest.mark.parametrize(
    ("whose", "pid_of"), [("the process group of init", lambda: 1), ("the agent's own process group", os.getpid)]
)
def test_agent_and_init_are_never_signalled(whose: str, pid_of: Callable[[], int], workers: Workers) -> None:
    pid = pid_of()
    workers.pid_file.write_text(f"{pid}\n")
    for kind in (PauseProcesses, ResumeProcesses, RestartProcesses):
        assert why(kind, workers.document()) == f"workers: pid {pid} is in {whose}"
    workers.pid_file.unlink()


def test_pid_file_writable_by_others_is_refused(workers: Workers) -> None:
    pid = workers.run()
    workers.pid_file.chmod(0o666)
    message = f"workers: users other than root and the owner of pid {pid} may write {workers.pid_file}"
    assert why(PauseProcesses, workers.document()) == message
    workers.pid_file.chmod(0o644)
    os.chown(workers.pid_file, 65534, 65534)
    assert why(PauseProcesses, workers.document()) == message
    os.chown(workers.pid_file, 0, 65534)
    workers.pid_file.chmod(0o664)
    assert why(PauseProcesses, workers.document()) == message
    assert workers.states() == "SSS"


def test_process_of_another_user_fails_with_the_reason(workers: Workers) -> None:
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True, user="daemon")
    workers.pid_file.write_text(f"{other.pid}\n")
    os.seteuid(65534)
    try:
        message = why(PauseProcesses, workers.document())
    finally:
        os.seteuid(0)
        other.kill()
        other.wait()
        workers.pid_file.unlink()
    assert message == f"workers: the agent may not signal pid {other.pid}, which another user runs"


def test_restart_without_a_command_names_the_option(workers: Workers) -> None:
    workers.run()
    message = why(RestartProcesses, {"processes": {"workers": {"pid_file": str(workers.pid_file)}}})
    assert message == "workers: set processes.workers.restart in the configuration: the command for it"


def test_failed_restart_is_reported_with_the_output_of_its_command(workers: Workers) -> None:
    workers.run()
    document = workers.document(restart=["sh", "-c", "echo no such luck >&2; exit 3"])
    assert why(RestartProcesses, document) == "workers: its restart failed with exit status 3: no such luck"
    document = workers.document(restart=["true"], timeout=0.3)
    assert why(RestartProcesses, document) == (
        f"workers: not up 0.3 s after its restart: {workers.pid_file} still contains pid {workers.pid}"
    )


def test_cancelled_restart_ends_its_command(workers: Workers, start_agent: StartAgent) -> None:
    pid = workers.run()
    workers.hold.touch()
    agent = start_agent(config=toml(workers.document()))
    action = agent.schedule("process_restart", {})
    await_that(workers.marks.exists, 10, "the command has begun")
    assert agent.cancel(action).status == 200
    assert agent.await_final(action)["action"]["state_payload"]["cancelled"] is True
    (claim,) = agent.directory.glob("agent.db.jobs/*/claim")
    assert gone(json.loads(claim.read_text())["runner"]["pid"])
    workers.hold.unlink()
    assert workers.pid == pid and is_alive(pid)


@pytest.mark.parametrize("left", ["none", "another", "a unit"])
def test_process_removed_from_the_configuration_is_reported(
    workers: Workers, start_agent: StartAgent, left: str
) -> None:
    pid = workers.run()
    workers.hold.touch()
    agent = start_agent(config=toml({"processes": workers.document()["processes"]}))
    action = agent.schedule("process_restart", {})
    await_that(workers.marks.exists, 10, "the command has begun")
    name = {"none": None, "another": "another", "a unit": "workers"}[left]
    processes = {name: {"unit": "another.service"}} if name else {}
    (agent.directory / "agent.toml").write_text(toml({"processes": processes}))
    agent.reload()
    why = "[processes.workers] was changed or removed in the configuration"
    if left == "none":
        why = "process_restart is not available on this node: set [processes.NAME] in the configuration"
    message = agent.await_final(action)["action"]["state_payload"]["message"]
    assert message == f"{why}; workers: its restart has started; the command that still ran was ended"
    workers.hold.unlink()
    assert workers.pid == pid and is_alive(pid)


def test_request_without_a_name_covers_all_processes_in_order_until_one_fails(workers: Workers) -> None:
    workers.run()
    document = workers.document()
    missing = {"pid_file": str(workers.directory / "missing.pid")}
    document["processes"] |= {"a-missing": missing, "later": missing}
    failed = steps_of(PauseProcesses(settings(document)))[-1]
    assert failed == Failed(
        entry("paused by a signal")
        | {
            "message": (
                message := f"a-missing: there is no {missing['pid_file']}; before it: workers: paused by a signal"
            )
        },
        message,
    )
    assert workers.states() == "TTT"


def test_unknown_arguments_are_refused(workers: Workers, start_agent: StartAgent) -> None:
    agent = start_agent(config=toml(workers.document() | {"agent": {"node": "db-1"}}))
    for args, details in (
        ({"process_name": "others"}, {"process_name": ["the processes of this node are workers"]}),
        ({"server_uid": "db-2"}, {"server": ["this is db-1"]}),
        ({"process_name": 7}, {"process_name": ["Not a valid string."]}),
        ({"pid": 1}, {"pid": ["Unknown field."]}),
    ):
        for kind in ("process_pause", "process_resume", "process_restart"):
            answer = agent.post_schedule(kind, args)
            assert (answer.status, answer.json["details"]) == (400, details)


def test_kinds_without_processes_are_not_offered() -> None:
    for kind in kinds_of(sys.modules[PauseProcesses.__module__]):
        with pytest.raises(NotOffered, match=r"set \[processes.NAME\] in the configuration"):
            list(kind.offered(settings({})))


# By unit


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    host = start_node("processes", binds=[str(CHECKOUT), sys.prefix], keep_units=[REDIS])
    host.write("/etc/systemd/system/slow.service", SLOW)
    slow_down(host)
    host.systemctl("daemon-reload")
    return host


@pytest.fixture(scope="module")
def inside(node: Node) -> Iterator[AgentInside]:
    filed = {"pid_file": "/run/filed.pid", "restart": ["sh", "-c", DAEMON], "timeout": 10}
    units = {"cache": REDIS, "slow": "slow.service", "itself": "agent.service", "none": "no.service"}
    agent = AgentInside(node)
    agent.configure(
        {"processes": {name: {"unit": unit, "timeout": 10} for name, unit in units.items()} | {"filed": filed}}
    )
    yield agent
    agent.close()


def starts(node: Node, unit: str) -> int:
    shown = node.run("journalctl", "--no-pager", f"--unit={unit}", "--output=cat").stdout.splitlines()
    return len([line for line in shown if line.startswith("Started ")])


@pytest.mark.parametrize("wire", WIRES)
def test_a_unit_is_frozen_thawed_and_restarted(wire: str, inside: AgentInside) -> None:
    node = inside.node
    message = []
    for kind in ("process_pause", "process_pause", "process_resume", "process_resume", "process_pause"):
        action = perform(inside, wire, kind, **{"process-name": "cache"})
        message.append((action["finished_message"], node.show(REDIS, "FreezerState")))
    assert message == [
        ("cache: frozen", "frozen"), ("cache: paused already", "frozen"),
        ("cache: thawed", "running"), ("cache: not paused", "running"), ("cache: frozen", "frozen"),
    ]  # fmt: skip
    before = starts(node, REDIS)
    action = perform(inside, wire, "process_restart", process_name="cache")
    assert action["finished_result"]["processes"] == [
        {"process": "cache", "how": "restarted", "pid": node.show(REDIS, "MainPID")}
    ]
    assert starts(node, REDIS) == before + 1 and node.run("redis-cli", "ping").stdout == "PONG\n"


def test_a_unit_that_is_missing_fails_the_action(inside: AgentInside) -> None:
    for wire in WIRES:
        for kind in ("process_pause", "process_resume", "process_restart"):
            action = perform(inside, wire, kind, process_name="none")
            assert action["finished_message"] == "none: systemd has no unit no.service"


def test_the_agent_does_not_pause_itself(inside: AgentInside) -> None:
    action = perform(inside, "actions", "process_pause", process_name="itself")
    assert action["finished_message"].startswith("itself: agent.service is the unit that the agent runs in")


def test_agent_restarts_itself_and_continues(inside: AgentInside) -> None:
    before = inside.node.show("agent", "InvocationID"), starts(inside.node, "agent")
    seq = begin(inside, "actions", "process_restart", process_name="itself")
    eventually(lambda: inside.node.show("agent", "InvocationID") != before[0], "another agent", 30)
    inside.await_ready()
    assert finished(inside, seq)["finished_success"] is True
    assert starts(inside.node, "agent") == before[1] + 1


def test_process_started_by_the_restart_command_outlives_the_agent(inside: AgentInside) -> None:
    node = inside.node
    (outcome,) = perform(inside, "actions", "process_restart", process_name="filed")["finished_result"]["processes"]
    pid = node.run("cat", "/run/filed.pid").stdout.strip()
    assert outcome["pid"] == pid
    node.systemctl("restart", "agent")
    inside.await_ready()
    assert node.run("ps", "-o", "comm=", "-p", pid).stdout == "sleep\n"
    assert (
        perform(inside, "actions", "process_pause", process_name="filed")["finished_message"]
        == "filed: paused by a signal"
    )
    assert node.run("ps", "-o", "state=", "-p", pid).stdout == "T\n"


def test_killed_agent_restarts_a_unit_once(inside: AgentInside) -> None:
    node = inside.node
    node.systemctl("start", "slow")
    before = starts(node, "slow")
    node.run("touch", "/slow.hold")
    seq = begin(inside, "actions", "process_restart", process_name="slow")
    eventually(lambda: node.show("slow", "ActiveState") == "deactivating", "it stops", 30)
    node.systemctl("kill", "--signal=SIGKILL", "agent")
    node.run("rm", "/slow.hold")
    eventually(lambda: starts(node, "slow") > before, "it is started", 10)
    node.systemctl("start", "agent")
    inside.await_ready()
    assert finished(inside, seq)["finished_success"] is True
    assert starts(node, "slow") == before + 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_agent_pauses_and_resumes_a_unit(moment: str, inside: AgentInside) -> None:
    """Killed before and after the request to systemd."""
    message = []
    for kind in ("process_pause", "process_resume"):
        seq = killed_at_systemctl(inside, moment, partial(begin, inside, "actions", kind, process_name="cache"))
        message.append((finished(inside, seq)["finished_message"], inside.node.show(REDIS, "FreezerState")))
    wanted = ["frozen", "thawed"] if moment == "before" else ["paused already", "not paused"]
    assert message == [(f"cache: {how}", state) for how, state in zip(wanted, ("frozen", "running"), strict=True)]
