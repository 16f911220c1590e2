"""The files of monitoring/: checked by promtool, each query run by a real Prometheus that scrapes an agent."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.agent_process import CHECKOUT, AgentProcess, eventually
from tests.callbacks.receivers import config
from tests.conformance.shapes import FAIL, PING, SUCCESS
from tests.servers.process import free_port, program
from tests.servers.prometheus import PATIENCE, Prometheus
from tests.servers.redis import RedisServer

FOLDER = CHECKOUT / "monitoring"
RULES, TESTS, DASHBOARD = FOLDER / "agent.rules.yml", FOLDER / "agent.rules.test.yml", FOLDER / "agent-dashboard.json"
PAGE = (CHECKOUT / "docs" / "observing.rst").read_text(encoding="utf-8")
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = [
    panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"
]
ONLY_WITH_TLS = "agent_tls_certificate_end_timestamp_seconds"
ONLY_WITH_TOKENS = "agent_token_next_end_timestamp_seconds"


def promtool(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [program("promtool"), *map(str, words)]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def replica(module_dir: Path) -> Iterator[RedisServer]:
    """A datastore with a lag."""
    with (
        RedisServer(module_dir / "primary", appendonly=False) as primary,
        RedisServer(module_dir / "replica", replica_of=primary, appendonly=False) as made,
    ):
        made.await_replica()
        yield made


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, replica: RedisServer) -> Iterator[AgentProcess]:
    """An agent with final, held, waiting and running actions, an unreachable receiver, and a replica."""
    text = (
        config([f"http://127.0.0.1:{free_port()}/"]) + f'[datastore]\nkind = "redis"\nurl = "unix://{replica.socket}"\n'
    )
    started = AgentProcess(tmp_path_factory.mktemp("agent"), config=text).start()
    for kind in (SUCCESS, FAIL):
        started.await_final(started.schedule(kind, {}))
    started.schedule(PING, {}, headers={"Not-Before": "2999-01-01T00:00:00Z"})
    assert started.get("/no-such-address").status == 404
    running = started.occupy()
    started.schedule(PING, {})
    yield started
    started.cancel(running)
    started.close()


@pytest.fixture(scope="module")
def prometheus(agent: AgentProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    made = Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{agent.port}", RULES)
    try:
        made.start()
        eventually(lambda: made.query("count_over_time(up[1m]) > 2"), "some scrapes", PATIENCE)
        yield made
    finally:
        made.stop()


def queries(panel: dict[str, Any]) -> list[str]:
    """The queries of a panel, with the variables of Grafana replaced."""
    values = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}
    found = []
    for target in panel["targets"]:
        expression = str(target["expr"])
        for name, value in values.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        found.append(expression)
    return found


def test_promtool_accepts_the_names_of_the_metrics(agent: AgentProcess) -> None:
    ended = promtool("check", "metrics", stdin=agent.get("/metrics").body.decode())
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_promtool_refuses_a_bad_name() -> None:
    assert promtool("check", "metrics", stdin="# TYPE agent_total gauge\nagent_total 1\n").returncode != 0


def test_each_alert_fires_and_ends_in_the_tests_of_promtool() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0 and f"{len(ALERTS)} rules found" in checked.stdout
    ended = promtool("test", "rules", TESTS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    tested: dict[str, set[bool]] = {}
    for group in yaml.safe_load(TESTS.read_text())["tests"]:
        for each in group["alert_rule_test"]:
            tested.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    assert tested == {alert["alert"]: {True, False} for alert in ALERTS}


def test_the_queries_of_the_alerts_name_metrics_that_the_agent_has(prometheus: Prometheus, agent: AgentProcess) -> None:
    exposed = agent.get("/metrics").body.decode()
    for alert in ALERTS:
        named = set(re.findall(r"\b(?:agent|process)_\w+", alert["expr"])) - {ONLY_WITH_TLS, ONLY_WITH_TOKENS}
        assert all(f"\n{name}" in exposed for name in named), alert["expr"]
    found = {rule["name"]: rule for rule in prometheus.rules()}
    assert set(found) == {alert["alert"] for alert in ALERTS}
    evaluated = "each rule was evaluated"
    eventually(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), evaluated, PATIENCE)
    firing = "AgentActionFailed fires for the action that failed"
    eventually(
        lambda: {rule["name"]: rule["state"] for rule in prometheus.rules()}["AgentActionFailed"] == "firing",
        firing,
        PATIENCE,
    )


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_each_query_of_the_dashboard_has_a_result(prometheus: Prometheus, panel: dict[str, Any]) -> None:
    assert panel["title"] and panel["description"]
    for query in queries(panel):
        if ONLY_WITH_TLS in query:
            assert prometheus.query(query) == []
        else:
            eventually(lambda q=query: prometheus.query(q), query, PATIENCE)  # type: ignore[misc]


def test_every_metric_and_every_alert_is_documented(agent: AgentProcess) -> None:
    metrics = re.findall(r"^# TYPE (agent_\w+)", agent.get("/metrics").body.decode(), re.MULTILINE)
    assert len(metrics) > 15
    assert not [name for name in (*metrics, ONLY_WITH_TLS, ONLY_WITH_TOKENS) if f"``{name}``" not in PAGE]
    assert not [alert["alert"] for alert in ALERTS if f"``{alert['alert']}``" not in PAGE]


def test_the_files_are_shipped() -> None:
    shipped = (CHECKOUT / "setup.cfg").read_text()
    assert all(f"    monitoring/{file.name}\n" in shipped for file in FOLDER.iterdir())
