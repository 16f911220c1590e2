"""(g) The time of an action, from the request to its final state, compared with the equivalent commands by hand.

Measured in a booted node, in a container engine and on a pair of MySQL servers, so it needs root. Action and commands
alternate; each is measured until the server answers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench.action_scenes import REDIS, Scene, Timed, prepare, scenes
from bench.action_timer import Measured
from bench.clone_scene import clone_scene
from bench.figure import Bench, Row, Target, Unmeasured, compared

MARGIN = 0.05
"""The share of the time by hand that an action may take longer, if that is more than its milliseconds."""
TIMER = Path(__file__).with_name("action_timer.py")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def measure(bench: Bench) -> list[Row]:
    """Each action and its commands by hand, alternating."""
    bench.say(f"g: {bench.rounds} rounds in a booted node and in a container engine")
    try:
        return [*_in_a_node(bench), *_in_containers(bench), *_of_mysql(bench)]
    except ImportError as error:
        raise Unmeasured(f"install the extra [test]: {error}") from None


def _in_a_node(bench: Bench) -> Iterator[Row]:
    from tests.agent_inside import PORT, AgentInside
    from tests.servers.node import Node
    from tests.servers.postgresql import newest_debian
    from tests.supervisors.asking import BINDS

    version = newest_debian().parts[-2]
    with Node("bench", binds=BINDS, keep_units=[REDIS]) as node:
        prepare(node, version)
        node.run("pg_createcluster", "-p", "5444", version, "bench", "--", "--auth=trust")
        node.systemctl("start", f"postgresql@{version}-bench.service")
        agent = AgentInside(node)
        for scene in scenes(version):
            agent.configure(scene.document)
            yield from _rows(scene.timed, PORT, bench.rounds, node.run)
        agent.close()


def _in_containers(bench: Bench) -> Iterator[Row]:
    from tests.agent_process import AgentProcess
    from tests.kinds.configuring import toml
    from tests.kinds.engines import driving, remove_all, run
    from tests.servers.docker import DockerEngine

    with DockerEngine(bench.new_directory("docker")) as engine:
        engine.import_busybox()
        run(engine, "shop", service="shop")
        by_hand = [["docker", f"--host={engine.url}", "restart", "--time=1", "shop"]]
        scene = Scene(
            driving(engine),
            [
                Timed("container_restart", "container_restart", {"container": "shop"}, by_hand),
                Timed("service_restart of a container", "service_restart", {"service_name": "shop"}, by_hand),
            ],
        )
        agent = AgentProcess(bench.new_directory("agent"), config=toml(scene.document)).start()
        try:
            yield from _rows(scene.timed, agent.port, bench.rounds, _run)
        finally:
            agent.close()
            remove_all(engine)


def _of_mysql(bench: Bench) -> Iterator[Row]:
    from tests.agent_process import AgentProcess

    with clone_scene(bench.new_directory("mysql")) as (config, timed):
        agent = AgentProcess(bench.new_directory("mysql-agent"), config=config).start()
        try:
            yield from _rows(timed, agent.port, bench.rounds, _run)
        finally:
            agent.close()


def _run(*argv: str, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)


def _rows(timed: list[Timed], port: int, rounds: int, run: Run) -> Iterator[Row]:
    figures = json.dumps([asdict(each) for each in timed])
    done = run(sys.executable, "-P", str(TIMER), str(port), str(rounds), figures, timeout=500)
    if done.returncode:
        raise Unmeasured(done.stderr[-800:])
    for each, found in zip(timed, json.loads(done.stdout), strict=True):
        measured = Measured(**found)
        yield _duration(each, measured)
        if each.server is not None:
            yield compared("g", f"{each.name}: server down", "ms", measured.agent_down, measured.by_hand_down)


def _duration(timed: Timed, measured: Measured) -> Row:
    by_hand = median(measured.by_hand)
    bound = by_hand + max(timed.extra_ms, MARGIN * by_hand)
    target = Target("value", "<=", round(bound, 1), "ms")
    return compared("g", timed.name, "ms", measured.agent, measured.by_hand, target)
