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
from typing import Any

from bench.action_scenes import REDIS, Scene, Timed, prepare, scenes
from bench.clone_scene import clone_scene
from bench.figure import Bench, Row, Target, Unmeasured, compared

MARGIN = 0.05
"""The share of the time by hand that an action may take longer, if that is more than its milliseconds."""
MEASURING = """
import http.client, json, subprocess, sys, time

port, rounds, figures = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])

def request(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=70)
    connection.request(method, "/api/unstable/actions" + path, body, {"content-type": "application/json", **headers})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer

def agent(kind, args, wanted):
    began = time.perf_counter()
    action = request("POST", "/schedule/" + kind, json.dumps(args))["id"]
    ended = request("GET", "/info/" + action, Prefer="wait=60, until=final")["action"]
    assert ended["state"] == wanted, ended
    return (time.perf_counter() - began) * 1000

def hand(*commands):
    began = time.perf_counter()
    for command in commands:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000

measured = [([], []) for _ in figures]
for round in range(rounds + 1):
    for each, figure in zip(measured, figures):
        hand(["systemctl", "reset-failed"], *figure["before"])
        by_agent = agent(figure["kind"], figure["args"], figure["wanted"])
        hand(["systemctl", "reset-failed"], *figure["before"])
        pair = by_agent, hand(*figure["by_hand"])
        if round:  # not the first: it includes late imports
            for times, time_ms in zip(each, pair):
                times.append(time_ms)
print(json.dumps(measured))
"""
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
    done = run(sys.executable, "-c", MEASURING, str(port), str(rounds), figures, timeout=500)
    if done.returncode:
        raise Unmeasured(done.stderr[-800:])
    measured: Any = json.loads(done.stdout)
    for each, times in zip(timed, measured, strict=True):
        yield _row(each, *times)


def _row(timed: Timed, agent: list[float], hand: list[float]) -> Row:
    by_hand = sorted(hand)[len(hand) // 2]
    bound = by_hand + max(timed.extra_ms, MARGIN * by_hand)
    return compared("g", timed.name, "ms", agent, hand, Target("value", "<=", round(bound, 1), "ms"))
