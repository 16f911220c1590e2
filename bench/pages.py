"""(j) The cost of open pages, and the time of the first view with a million finished actions."""

from __future__ import annotations

import re
import time
from contextlib import closing
from http.client import HTTPConnection

from bench.client import Client
from bench.figure import Bench, Row, Target, Unmeasured, compared
from bench.fill import filled_database
from bench.footprint import memory_mebibytes, processor_seconds
from bench.server import Server, agent
from bench.watchers import schedule_milliseconds, watching

PAGES = 64
PAUSE = 1.0
"""Seconds between a change shown by a page and its next request, as in page.js."""
MANY = 1_000_000
SETTLE_SECONDS = 5
IDLE_SECONDS = 30
MINUTES = 10
CALLS = 100
"""Schedule calls in `MINUTES`."""
FIRST_CALLS = 10
"""Calls before the first measurement of memory, so that all code has run once."""
STATIC = re.compile(rb'"(/ui/static/[^"]+)"')


def measure(bench: Bench) -> list[Row]:
    """An agent with many finished actions; then two agents side by side, one with open pages."""
    bench.say(f"j: filling a database with {MANY:,} finished actions")
    with agent(bench, database=filled_database(bench, MANY)) as large:
        time.sleep(SETTLE_SECONDS)
        first, weight = _first_view(large)
    with agent(bench) as watched, agent(bench) as alone, watching(watched, PAGES, "/ui/", PAUSE):
        bench.say(f"j: {IDLE_SECONDS} idle seconds with {PAGES} open pages, then {CALLS} calls in {MINUTES} minutes")
        time.sleep(SETTLE_SECONDS)
        before, start = processor_seconds(watched), time.monotonic()
        time.sleep(IDLE_SECONDS)
        percent = 100 * (processor_seconds(watched) - before) / (time.monotonic() - start)
        times = _schedule(watched, alone, FIRST_CALLS)
        memory = memory_mebibytes(watched)
        more = _schedule(watched, alone, CALLS - FIRST_CALLS)
        grown = memory_mebibytes(watched) - memory
    own, reference = (earlier + later for earlier, later in zip(times, more, strict=True))
    return [
        _row(f"first view, {MANY:,} finished actions", first, "ms", 100),
        _row("weight of the page with its style, script and icon", weight, "kB", 60),
        compared(
            "j", f"schedule, with {PAGES} open pages and without", "ms", own, reference, Target("ratio", "<=", 1.2)
        ),
        _row(f"idle processor with {PAGES} open pages", percent, "% of a core", 2),
        _row(f"growth of memory in {MINUTES} minutes with {PAGES} open pages", grown, "MiB", 1),
    ]


def _row(name: str, value: float, unit: str, most: float) -> Row:
    return Row("j", name, value, unit, target=Target("value", "<=", most, unit.partition(" ")[0]))


def _schedule(watched: Server, alone: Server, calls: int) -> tuple[list[float], list[float]]:
    """Milliseconds of `calls` schedule calls on the two agents in turn."""
    times: tuple[list[float], list[float]] = [], []
    with closing(Client(watched.port)) as first, closing(Client(alone.port)) as second:
        for _ in range(calls):
            for client, taken in zip((first, second), times, strict=True):
                taken.append(schedule_milliseconds(client))
            time.sleep(60 * MINUTES / CALLS)
    return times


def _first_view(server: Server) -> tuple[float, float]:
    """Milliseconds of the first view of an agent, and the kilobytes that a browser loads for it."""
    start = time.perf_counter()
    page = _read(server, "/ui/")
    first = (time.perf_counter() - start) * 1000
    static = [_read(server, path.decode()) for path in sorted(set(STATIC.findall(page)))]
    return first, (len(page) + sum(map(len, static))) / 1000


def _read(server: Server, path: str) -> bytes:
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise Unmeasured(f"{path}: {answer.status}")
    return body
