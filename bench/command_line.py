"""(i) agentctl: the time to start and answer, and to end after the action that it waits for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from statistics import median

from bench.client import SUCCESS, Client, wait_for
from bench.figure import Bench, Row, Target, Unmeasured, compared
from bench.server import Server, agent

CALLS = 5
BARE = [sys.executable, "-c", "pass"]
COMMAND = [sys.executable, "-m", "agent.cli"]


def measure(bench: Bench) -> list[Row]:
    """Each round has five alternating calls of both programs, and five waits."""
    bench.say(f"i: {bench.rounds} rounds of {CALLS} calls")
    with agent(bench) as server:
        pairs = [_start_up(server) for _ in range(bench.rounds)]
        waits = [_after_the_end(server) for _ in range(bench.rounds)]
    own, bare = ([each[which] for each in pairs] for which in (0, 1))
    beyond = [ours - theirs for ours, theirs in pairs]
    return [
        compared("i", "agentctl queue, beside python -c pass", "ms", own, bare),
        Row("i", "agentctl queue, minus python -c pass", median(beyond), "ms", target=Target("value", "<=", 90, "ms"),
            rounds={"agent": beyond}),
        Row("i", "agentctl wait, after the action's end", median(waits), "ms", target=Target("value", "<=", 50, "ms"),
            rounds={"agent": waits}),
    ]  # fmt: skip


def _start_up(server: Server) -> tuple[float, float]:
    """Medians in milliseconds of agentctl and of the bare interpreter."""
    environ = os.environ | {"AGENT_URL": f"http://127.0.0.1:{server.port}"}
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(CALLS):
        for command, found in zip(([*COMMAND, "queue"], BARE), times, strict=True):
            begun = time.perf_counter()
            done = subprocess.run(command, env=environ, capture_output=True, check=False)
            found.append((time.perf_counter() - begun) * 1000)
            if done.returncode:
                raise Unmeasured(f"{command}: {done.stderr.decode()[-200:]}")
    return median(times[0]), median(times[1])


def _after_the_end(server: Server) -> float:
    """The median in milliseconds from the end of an action to the end of a process that waits for it."""
    environ = os.environ | {"AGENT_URL": f"http://127.0.0.1:{server.port}"}
    times = []
    with closing(Client(server.port)) as client:
        held = client.hold_queue()
        for _ in range(CALLS):
            action_id = client.schedule(SUCCESS, {})
            command = [*COMMAND, "--debug", "wait", action_id]
            with subprocess.Popen(
                command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as waiting:
                assert waiting.stderr is not None
                while "NEW" not in (line := waiting.stderr.readline()):  # after this line it waits
                    if not line:
                        raise Unmeasured("agentctl wait ended before the action")
                time.sleep(0.2)
                client.cancel(action_id)
                ended = time.perf_counter()
                waiting.communicate(timeout=30)
                times.append((time.perf_counter() - ended) * 1000)
        client.cancel(held)
        wait_for(lambda: client.get("/queue") == [], 10, "the queue to be empty")
    return median(times)
