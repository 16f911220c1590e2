"""(g) The time of an action on a unit, from the request to its final state, beside the same command by hand.

In a booted node, so it needs root. Both are measured in there, one after the other, until the server answers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from bench.figure import Bench, Row, Target, Unmeasured, compared

REDIS = "redis-server.service"
MARGIN_MS, MARGIN = 60.0, 0.05
"""What an action may cost beyond the command by hand: milliseconds, or this share of it where that is more."""
NAMES = {
    "service.restart": "replicante.service.restart of Redis",
    "service_restart": "service_restart of a unit",
    "process_restart": "process_restart of a unit",
    "failing start": "service.start of a unit that fails at once",
}
MEASURING = """
import http.client, json, subprocess, sys, time

def request(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=70)
    connection.request(method, "/api/unstable/actions" + path, body, {"content-type": "application/json", **headers})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer

def agent(kind, args, wanted="DONE"):
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

rounds, figures = int(sys.argv[1]), json.loads(sys.argv[2])
measured = {name: ([], []) for name in figures}
for round in range(rounds + 1):
    for name, (kind, args, wanted, commands) in figures.items():
        subprocess.run(["systemctl", "reset-failed"])
        pair = agent(kind, args, wanted), hand(*commands)
        if round:  # the first imports what is imported where it is used
            for times, time_ms in zip(measured[name], pair):
                times.append(time_ms)
print(json.dumps(measured))
"""


def measure(bench: Bench) -> list[Row]:
    """Each action and its command by hand, alternating."""
    try:
        from tests.agent_inside import AgentInside
        from tests.servers.node import Node
        from tests.supervisors.asking import BINDS
    except ImportError as error:
        raise Unmeasured(f"install the extra [test]: {error}") from None
    bench.say(f"g: {bench.rounds} rounds in a booted node")
    restart, ping = ["systemctl", "restart", REDIS], ["redis-cli", "ping"]
    figures: dict[str, object] = {
        "service.restart": ("replicante.service.restart", {}, "DONE", [restart, ping]),
        "service_restart": ("service_restart", {"service_name": "redis"}, "DONE", [restart, ping]),
        "process_restart": ("process_restart", {"process_name": "redis"}, "DONE", [restart, ping]),
    }
    failing: dict[str, object] = {
        "failing start": ("replicante.service.start", {}, "FAILED", [["systemctl", "start", "failing"]])
    }
    named = {"redis": {"unit": REDIS}}
    with Node("bench", binds=BINDS, keep_units=[REDIS]) as node:
        node.write("/etc/systemd/system/failing.service", '[Service]\nType=exec\nExecStart=/bin/sh -c "exit 3"\n')
        node.systemctl("daemon-reload")
        datastore = {"kind": "redis", "url": "redis://127.0.0.1:6379"}
        agent = AgentInside(node)

        def measured(chosen: Mapping[str, object], unit: str) -> dict[str, tuple[list[float], list[float]]]:
            document = {"services": named, "processes": named, "service": {"unit": unit}, "datastore": datastore}
            agent.configure(document)
            words = [sys.executable, "-c", MEASURING, str(bench.rounds), json.dumps(chosen)]
            done = node.run(*words, timeout=500)
            if done.returncode:
                raise Unmeasured(done.stderr[-500:])
            found: dict[str, tuple[list[float], list[float]]] = json.loads(done.stdout)
            return found

        found = measured(figures, REDIS) | measured(failing, "failing.service")
        agent.close()
    return [_row(name, *times) for name, times in found.items()]


def _row(name: str, agent: list[float], hand: list[float]) -> Row:
    by_hand = sorted(hand)[len(hand) // 2]
    bound = by_hand + max(MARGIN_MS, MARGIN * by_hand) if name != "failing start" else by_hand + 300
    return compared("g", NAMES[name], "ms", agent, hand, Target("value", "<=", round(bound, 1), "ms"))
