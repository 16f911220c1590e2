"""One unit of a real systemd is checked and restarted once, over D-Bus and through systemctl."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.servers.node import Node
from tests.supervisors.asking import ADVANCE, BINDS, PATHS, ask

REDIS = "redis-server.service"
NOTE = "note('{0}')"
SLEEPING = """
[Service]
ExecStart=/bin/sleep infinity
"""
HASTY = """
[Unit]
StartLimitBurst=2
StartLimitIntervalSec=60
[Service]
ExecStart=/bin/sleep infinity
"""
NEEDING = """
[Unit]
Requires=failing-need.service
After=failing-need.service
[Service]
ExecStart=/bin/sleep infinity
"""
NEED = """
[Service]
Type=oneshot
ExecStart=/bin/false
"""
FAILING_SOON = """
[Service]
ExecStart=/bin/sh -c "sleep 0.1; exit 3"
"""
FAILING = """
[Service]
ExecStart=/bin/sh -c "exit 3"
"""
NEVER_READY = """
[Service]
Type=notify
ExecStart=/bin/sleep infinity
"""
POLITE = """
[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c "kill $MAINPID; while kill -0 $MAINPID; do sleep 0.05; done"
"""
SLOW = """
[Service]
ExecStart=/bin/sh -c "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.1; done"
"""


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Node]) -> Node:
    return start_node("restarting", binds=BINDS, keep_units=[REDIS])


@pytest.fixture
def unit(node: Node) -> Iterator[Callable[[str], str]]:
    """Installs a unit `tried.service` with this text in the node."""

    def give(text: str) -> str:
        node.write("/etc/systemd/system/tried.service", text)
        node.systemctl("daemon-reload")
        return "tried.service"

    yield give
    node.run("systemctl", "kill", "--signal=SIGKILL", "tried.service")
    node.run("systemctl", "stop", "tried.service")
    node.run("systemctl", "reset-failed", "tried.service")


@pytest.fixture(params=list(PATHS))
def way(request: pytest.FixtureRequest) -> str:
    """The connection to systemd: D-Bus or systemctl."""
    return str(request.param)


Restart = Callable[..., str]


@pytest.fixture
def restart(node: Node, way: str) -> Restart:
    """The result of a restart with `between` run after its progress was stored and before it continued."""

    def restart(unit: str, between: str = "None", progress: str = "", timeout: float = 5) -> str:
        begin = f"globals().update(noted={progress or NOTE.format(unit)})"
        *_, last = ask(node, begin, between, f"advance('{unit}', noted, {timeout})", prelude=ADVANCE, way=way)
        return last

    return restart


def invocation(node: Node, unit: str) -> str:
    return node.show(unit, "InvocationID")


def starts(node: Node, unit: str) -> int:
    """The number of starts by systemd."""
    shown = node.run("journalctl", "--no-pager", f"--unit={unit}", "--output=cat").stdout.splitlines()
    return len([line for line in shown if line.startswith("Started ")])


def test_a_unit_is_restarted_and_up(restart: Restart, node: Node) -> None:
    before, pid = invocation(node, REDIS), node.show(REDIS, "MainPID")
    assert restart(REDIS) == "active (running)"
    assert invocation(node, REDIS) != before and node.show(REDIS, "MainPID") != pid


def test_stopped_unit_is_started(restart: Restart, node: Node, unit: Callable[[str], str]) -> None:
    assert restart(unit(SLEEPING)) == "active (running)"


def test_unit_is_restarted_once_although_the_request_was_not_stored(
    restart: Restart, node: Node, unit: Callable[[str], str]
) -> None:
    slow = unit(SLOW)
    node.systemctl("start", slow)
    before = starts(node, slow)
    # Like an agent killed after its request: the restart is running, or done.
    assert restart(slow, f"unit('{slow}').ask('restart', Stop())") == "active (running)"
    assert starts(node, slow) == before + 1
    done = f"[unit('{slow}').ask('restart', Stop()), time.sleep(1.5)]"
    assert restart(slow, done) == "active (running)"
    assert starts(node, slow) == before + 2


def test_unit_down_after_a_reboot_is_started_with_a_new_timeout(
    restart: Restart, node: Node, unit: Callable[[str], str]
) -> None:
    stored = {"unit": "tried.service", "state": "restarting", "was": "0" * 32, "since": 1e9, "boot": "another"}
    assert restart(unit(SLEEPING), progress=str(stored)) == "active (running)"


def test_unit_that_never_comes_up_fails_after_the_timeout_even_after_a_reboot(
    restart: Restart, node: Node, unit: Callable[[str], str]
) -> None:
    stored = {"unit": "tried.service", "state": "restarting", "was": "0" * 32, "since": 1e9, "boot": "another"}
    message = restart(unit(NEVER_READY), progress=str(stored), timeout=0.5)
    assert message == "tried.service is not up 0.5 s after its restart: activating (start)"


@pytest.mark.parametrize("text", [FAILING, FAILING_SOON])
def test_unit_that_fails_after_its_start_is_reported_at_once(
    text: str, restart: Restart, node: Node, unit: Callable[[str], str]
) -> None:
    message = restart(unit(text), timeout=60)
    why = "failed (failed), Result: exit-code (journalctl -u tried.service)"
    assert message == f"tried.service was restarted and failed: {why}"


@pytest.mark.parametrize("pause", ["freeze", "kill --signal=SIGSTOP --kill-who=main"])
def test_paused_unit_is_resumed_before_its_restart(
    restart: Restart, pause: str, node: Node, unit: Callable[[str], str]
) -> None:
    polite = unit(POLITE)
    node.systemctl("start", polite)
    before = invocation(node, polite)
    node.systemctl(*pause.split(), polite)
    assert restart(polite) == "active (running)"
    assert invocation(node, polite) != before


def test_missing_unit_is_refused_by_name(node: Node, way: str) -> None:
    assert ask(node, NOTE.format("no.service"), prelude=ADVANCE, way=way) == ["systemd has no unit no.service"]


def test_a_start_limit_that_would_refuse_the_start_is_reset_before_the_stop(
    restart: Restart, node: Node, unit: Callable[[str], str]
) -> None:
    hasty = unit(HASTY)
    node.systemctl("start", hasty)
    for _ in range(4):
        assert restart(hasty) == "active (running)"


def test_unit_whose_dependency_fails_is_reported_at_once(
    restart: Restart, node: Node, unit: Callable[[str], str]
) -> None:
    node.write("/etc/systemd/system/failing-need.service", NEED)
    message = restart(unit(NEEDING), timeout=60)
    assert message.startswith("tried.service was restarted and has ended: inactive (dead)")


@pytest.mark.parametrize("remains", ["no", "yes"])
def test_oneshot_is_restarted_only_if_it_stays_up(
    remains: str, way: str, node: Node, unit: Callable[[str], str]
) -> None:
    name = unit(f"[Service]\nType=oneshot\nRemainAfterExit={remains}\nExecStart=/bin/touch /run/was-run\n")
    node.run("rm", "-f", "/run/was-run")
    refusal = "tried.service is Type=oneshot and would not stay up: set RemainAfterExit=yes"
    (said,) = ask(node, f"advance('{name}', {NOTE.format(name)})", prelude=ADVANCE, way=way)
    assert said == {"no": refusal, "yes": "active (exited)"}[remains]
    assert node.path("/run/was-run").exists() == (remains == "yes")


def test_masked_unit_is_refused_before_a_restart(way: str, node: Node, unit: Callable[[str], str]) -> None:
    name = unit("masked")
    node.run("ln", "-sf", "/dev/null", f"/etc/systemd/system/{name}")
    node.systemctl("daemon-reload")
    try:
        refusal = ask(node, NOTE.format(name), prelude=ADVANCE, way=way)
    finally:
        node.run("rm", f"/etc/systemd/system/{name}")
    assert refusal == ["Unit tried.service is masked: run systemctl unmask tried.service"]


def test_unit_with_a_bad_file_fails_with_the_message_of_systemd(
    restart: Restart, node: Node, unit: Callable[[str], str]
) -> None:
    name = unit("[Service]\n")
    try:
        assert "bad unit file" in restart(name, timeout=60)
    finally:
        node.run("rm", f"/etc/systemd/system/{name}")


LOST = """
import subprocess, threading
def storm(command, seconds):
    # runs the command again and again in the background, for so long
    over = time.monotonic() + seconds
    def run():
        while time.monotonic() < over:
            subprocess.run(command, check=True)
            time.sleep(0.1)
    thread = threading.Thread(target=run); thread.start()
    return thread
def under_a_storm(name, command):
    thread = storm(command, 3)
    before, ended = unit(name).look(Stop()).invocation, set()
    while thread.is_alive():
        noted = note(name)
        assert noted["was"] == before, "restarted twice"
        assert advance(name, noted) == "active (running)"
        before = unit(name).look(Stop()).invocation
        ended.add(before)
    thread.join()
    return len(ended)
"""


def test_restarts_during_daemon_reexec_neither_fail_nor_repeat(
    node: Node, unit: Callable[[str], str], way: str
) -> None:
    quick = unit(SLEEPING)
    node.systemctl("start", quick)
    before = starts(node, quick)
    reexec = ["systemctl", "daemon-reexec"]
    message = ask(node, f"under_a_storm('{quick}', {reexec})", prelude=ADVANCE + LOST, way=way)
    assert message[-1].isdigit(), message
    assert node.show(quick, "ActiveState") == "active"
    assert starts(node, quick) == before + int(message[-1])


DESCRIPTORS = """
import gc, math, os
def descriptors(looks):
    for _ in range(looks):
        unit("dbus.service").look(Stop())
        unit("dbus.service").watch(lambda status: math.inf, 0.01, Stop())
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
"""


def test_queries_of_a_unit_leave_no_descriptor_open(node: Node, way: str) -> None:
    first, second = ask(node, "descriptors(1)", "descriptors(10)", prelude=DESCRIPTORS, way=way)
    assert first == second
