"""(f) The time to the first answer on a new TLS connection, compared with gunicorn's own worker."""

from __future__ import annotations

import ssl
import time
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path
from statistics import median

from bench.certificate import make_certificate
from bench.client import PREFIX
from bench.figure import Bench, Row, Target, Unmeasured, compared
from bench.server import Server, agent, bare

CALLS = 50


def measure(bench: Bench) -> list[Row]:
    """Each round makes 50 connections to each server, with one request each."""
    bench.say(f"f: {bench.rounds} rounds of {CALLS} connections")
    certificate, key = make_certificate(bench.new_directory("tls"))
    tls = f'[api.tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    with agent(bench, tls, encrypted=True) as ours, bare(bench, certificate, key) as theirs:
        rounds = [
            (_first_answer(ours, f"{PREFIX}/queue", certificate), _first_answer(theirs, "/", certificate))
            for _ in range(bench.rounds)
        ]
    own, reference = ([each[which] for each in rounds] for which in (0, 1))
    return [compared("f", "first answer on a fresh TLS connection", "ms", own, reference, Target("ratio", "<=", 1.5))]


def _first_answer(server: Server, path: str, certificate: Path) -> float:
    """The median, in milliseconds, from the connect to the end of the answer."""
    context = ssl.create_default_context(cafile=certificate)
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        with closing(HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
        times.append((time.perf_counter() - begun) * 1000)
        if answer.status != 200:
            raise Unmeasured(f"GET {path}: {answer.status}")
    return median(times)
