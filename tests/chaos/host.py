"""A host that is disturbed at random moments while actions run: none fails, and each takes effect once.

`python -m tests.chaos.host` runs it in a booted node, as root: `--minutes` of all disturbances, or a number of
daemon-reexecs and restarts of dbus. The same seed makes the same choices.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.agent_inside import AgentInside
from tests.agent_process import CHECKOUT, eventually
from tests.chaos import disturbances
from tests.chaos.disturbances import Disturbance, Host
from tests.chaos.wall_clock import STEADY_SLEEP, Clock
from tests.kinds import engines
from tests.servers.docker import DockerEngine
from tests.servers.node import Node
from tests.supervisors.asking import BINDS

DISK = "300m"
VICTIM, APP, CONTAINER = "victim.service", "app.service", "shop"
SHOWN = "/srv/host"
"""Folder in the node with the engine's socket and the offset of the clock."""
# On a separate file system, so that a full disk loses no line.
COUNTED = """
[Service]
ExecStartPre=/bin/sh -c "echo started >>/run/starts.%p"
ExecStart=/bin/sleep infinity
"""
ALWAYS_BACK = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=50ms\n"
REPOSITORY = """
set -e; git init --quiet --initial-branch=main /srv/app.git; cd /srv/app.git; echo one >page; git add page
git -c user.name=a -c user.email=a@example.com commit --quiet --message=one; mkdir /srv/app
"""
RESTARTS = [("service_restart", {"service_name": "victim"}), ("process_restart", {}), ("restart", {})]
PAUSES = [("service_pause", {"service_name": "victim"}), ("service_resume", {"service_name": "victim"})]
DEPLOYS: list[tuple[str, dict[str, str]]] = [("deploy", {})]
CONTAINER_RESTARTS = [("container_restart", {"container": CONTAINER})]
DISK_IS_FULL = ("No space left on device", "Out of diskspace", "write error", "unable to write", "unable to create")
"""Message of git on a full disk."""
ENGINE_IS_DOWN = "(containers.engine) cannot be reached"
PATIENCE = 120.0
"""Seconds for an action, including the time in which a full disk refuses it."""


@contextmanager
def disturbed_host() -> Iterator[Host]:
    """A node with an agent. Its container engine runs outside, as a node has no cgroups for containers."""
    with ExitStack() as stack:
        shown = Path(stack.enter_context(TemporaryDirectory(prefix="t-host-")))
        engine = stack.enter_context(DockerEngine(shown / "docker"))
        engine.import_busybox()
        engines.run(engine, CONTAINER, options=("--restart=always",))
        node = stack.enter_context(Node("chaos", binds=[*BINDS, f"{shown}:{SHOWN}"], disk=DISK))
        clock = Clock(shown, f"{SHOWN}/offset")
        agent = install(node, clock)
        stack.callback(agent.close)
        yield Host(agent, clock, engine)


def install(node: Node, clock: Clock) -> AgentInside:
    """Configure an agent with the victim as a service, a process and one of the host's services."""
    for unit in (VICTIM, APP):
        node.write(f"/etc/systemd/system/{unit}", COUNTED)
    # The disturbances restart dbus more often than its start limit allows.
    node.write("/etc/systemd/system/dbus.service.d/often.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    agent = AgentInside(node)
    environment = clock.environment | {"PYTHONPATH": f"{CHECKOUT}:{STEADY_SLEEP}"}
    assigned = "".join(f"Environment={name}={value}\n" for name, value in environment.items())
    node.write("/etc/systemd/system/agent.service.d/always.conf", ALWAYS_BACK + assigned)
    made = node.run("sh", "-c", REPOSITORY)
    assert made.returncode == 0, made.stderr
    node.systemctl("daemon-reload")
    node.systemctl("start", VICTIM, APP)
    named = {"victim": {"unit": VICTIM}}
    application = {"repository": "/srv/app.git", "path": "/srv/app", "services": [APP]}
    return agent.configure(
        {
            "services": named,
            "processes": named,
            "host": {"services": [VICTIM]},
            "applications": {"app": application},
            "containers": {"engine": f"unix://{SHOWN}/docker/docker.sock", "stop_timeout": 1},
        }
    )


def torment(host: Host, seed: int, happening: Iterable[Disturbance]) -> Counter[str]:
    """Disturb the host while actions run one after the other; returns the number of finished actions of each kind.

    AssertionError if an action failed unexpectedly, if a unit was not started exactly once for each restart, or if it
    is down. The container may start more often: a restart of its engine starts it again.
    """
    chance, over = random.Random(seed), threading.Event()
    agent, node = host.agent, host.node
    before, done = _starts(node), Counter[str]()
    containers_before = engines.starts(host.engine, CONTAINER)
    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(_disturb, host, seed, happening, over)
        try:
            while not over.is_set():
                for kind, args in _some(chance):
                    done[kind] += _perform(agent, kind, args)
                deploys = done["deploy"]
                restarts = sum(done[kind] for kind, _ in RESTARTS)
                started = {unit: count - before[unit] for unit, count in _starts(node).items()}
                assert started == {VICTIM: restarts, APP: deploys}, "a unit was not started once for each restart"
        finally:
            over.set()
        disturbing.result()
    assert [node.show(unit, "ActiveState") for unit in (VICTIM, APP)] == ["active"] * 2
    assert engines.status(host.engine, CONTAINER) == "running"
    least = containers_before + done["container_restart"]
    eventually(lambda: engines.starts(host.engine, CONTAINER) >= least, f"{least} starts of the container")
    return done


def exactly(seed: int, reexecs: int, dbus_restarts: int) -> list[Disturbance]:
    """The given numbers of both, shuffled."""
    found: list[Disturbance] = [
        *repeat(disturbances.reexec, reexecs),
        *repeat(disturbances.restart_dbus, dbus_restarts),
    ]
    random.Random(f"order {seed}").shuffle(found)
    return found


def lasting(seed: int, seconds: float) -> Iterator[Disturbance]:
    """Random ones of them, for `seconds`."""
    chance, deadline = random.Random(f"order {seed}"), time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield chance.choice(list(disturbances.ALL.values()))


def _some(chance: random.Random) -> Iterator[tuple[str, Any]]:
    yield chance.choice(RESTARTS)
    yield from PAUSES if chance.random() < 0.5 else []
    yield from DEPLOYS if chance.random() < 0.3 else []
    yield from CONTAINER_RESTARTS if chance.random() < 0.3 else []


def _disturb(host: Host, seed: int, happening: Iterable[Disturbance], over: threading.Event) -> None:
    chance = random.Random(f"disturb {seed}")
    try:
        for each in happening:
            if over.wait(chance.uniform(0.0, 0.6)):
                return
            each(host, chance)
    finally:
        over.set()


def _perform(agent: AgentInside, kind: str, args: Any) -> bool:
    """Schedule until accepted, with one key, and await the end.

    False if it could not start and changed nothing: a deploy that git could not write to a full disk, a
    restart of a container while its engine is down.
    """
    key, deadline = str(uuid.uuid4()), time.monotonic() + PATIENCE
    action_id = None
    while time.monotonic() < deadline:
        with suppress(OSError, HTTPException):
            if action_id is None:
                answer = agent.post_schedule(kind, args, headers={"Idempotency-Key": key}, timeout=10)
                assert answer.status in (200, 503), answer
                action_id = answer.json["id"] if answer.status == 200 else None
            else:
                answer = agent.get_info(action_id, headers={"Prefer": "wait=5, until=final"}, timeout=10)
                assert answer.status in (200, 503), answer
                if answer.status == 200 and (action := answer.json["action"])["state"] in ("DONE", "FAILED"):
                    return _has_acted(action)
        time.sleep(0.02)  # the agent is down or its disk is full
    raise AssertionError(f"{kind} {action_id} is not final within {PATIENCE:g} s")


def _has_acted(action: Any) -> bool:
    if action["state"] == "DONE":
        return True
    payload = action["state_payload"]
    if action["kind"] == "deploy":
        assert any(words in str(payload) for words in DISK_IS_FULL), action
    else:
        assert payload.keys() == {"message"} and ENGINE_IS_DOWN in payload["message"], action
    return False


def _starts(node: Node) -> dict[str, int]:
    return {unit: node.read(f"/run/starts.{unit.partition('.')[0]}").count("started") for unit in (VICTIM, APP)}


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.chaos.host", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="of all disturbances, in place of those two")
    parser.add_argument("--reexecs", type=int, default=200)
    parser.add_argument("--dbus-restarts", type=int, default=20)
    options = parser.parse_args()
    counted = exactly(options.seed, options.reexecs, options.dbus_restarts)
    happening = lasting(options.seed, options.minutes * 60) if options.minutes else counted
    with disturbed_host() as host:
        done = torment(host, options.seed, happening)
    what = (
        f"{options.minutes:g} minutes of {', '.join(disturbances.ALL)}"
        if options.minutes
        else f"{options.reexecs} daemon-reexecs and {options.dbus_restarts} restarts of dbus"
    )
    acted = ", ".join(f"{count} {kind}" for kind, count in sorted(done.items()))
    print(f"seed {options.seed}: {what}: {acted}; none failed, each acted once")


if __name__ == "__main__":
    main()
