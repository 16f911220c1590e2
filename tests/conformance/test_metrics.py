"""GET /metrics, checked with the parsers of Prometheus's Python client."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families

from agent import config, create_app
from agent.api.exposition import ROLES
from tests.agent_process import PREFIX, AgentProcess, Response, StartAgent, eventually
from tests.conformance.shapes import FAIL, PING, SUCCESS, assert_error
from tests.servers.redis import RedisServer

PATH = "/metrics"
openmetrics_families: Callable[[str], Iterator[Metric]] = openmetrics.text_string_to_metric_families
OF_PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
UNITS = ("seconds", "bytes")
NAMES = {
    "agent_build", "agent_store_readable", "agent_actions_queued", "agent_actions_held", "agent_actions_running",
    "agent_action_oldest_waiting_timestamp_seconds", "agent_action_running_since_timestamp_seconds",
    "agent_actions_finished", "agent_action_last_finished_timestamp_seconds", "agent_action_wait_seconds",
    "agent_action_duration_seconds", "agent_callbacks_pending", "agent_callback_receivers",
    "agent_store_size_bytes", "agent_store_commit_seconds", "agent_executor",
    "agent_engine_tick_age_seconds", "agent_maintenance", "agent_requests_waiting", "agent_threads", "agent_requests",
    "agent_errors",
}  # fmt: skip
OF_QUEUE = {name for name in NAMES if name.startswith(("agent_action", "agent_callback"))}


def parsed(answer: Response) -> dict[str, Metric]:
    assert answer.status == 200, answer
    return {metric.name: metric for metric in openmetrics_families(answer.body.decode())}


def scrape(agent: AgentProcess) -> dict[str, Metric]:
    return parsed(agent.get(PATH, headers={"Accept": OF_PROMETHEUS}))


def value(metrics: dict[str, Metric], name: str, **labels: str) -> float | None:
    """The value of the sample with this name and these labels; None if it does not exist."""
    samples = [sample for metric in metrics.values() for sample in metric.samples]
    return next((each.value for each in samples if (each.name, each.labels) == (name, labels)), None)


@pytest.fixture(scope="module")
def used(shared_agent: AgentProcess) -> AgentProcess:
    for kind in (SUCCESS, FAIL, PING):
        shared_agent.await_final(shared_agent.schedule(kind, {}))
    return shared_agent


def test_every_metric_is_in_both_formats(used: AgentProcess) -> None:
    answer = used.get(PATH, headers={"Accept": OF_PROMETHEUS})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.headers["Cache-Control"] == "no-store"
    own = {name for name in parsed(answer) if name.startswith("agent_")}
    assert own == NAMES
    for accept in (
        {},
        {"Accept": "text/plain"},
        {"Accept": "application/openmetrics-text;q=0, */*"},
        {"Accept": "é;=,"},
    ):
        plain = used.get(PATH, headers=accept)
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = {metric.name for metric in families(plain.body.decode())}
        assert {name.removesuffix("_info") for name in found if name.startswith("agent_")} >= NAMES - {"agent_build"}


def test_names_follow_the_conventions_of_prometheus(used: AgentProcess) -> None:
    for name, metric in scrape(used).items():
        assert metric.documentation, name
        assert "_total" not in name and not name.endswith(("_count", "_sum", "_bucket", "_info")), name
        assert not any(word in name for word in ("milli", "micro", "minutes", "hours", "kilo")), name
        if any(unit in name for unit in UNITS):
            assert name.endswith(UNITS), name


def test_actions_are_counted_by_kind_and_outcome(used: AgentProcess) -> None:
    metrics = scrape(used)
    before = value(metrics, "agent_actions_finished_total", kind=FAIL, outcome="failed")
    waited = value(metrics, "agent_action_wait_seconds_count", kind=FAIL)
    assert before and waited
    used.await_final(used.schedule(FAIL, {}))
    metrics = scrape(used)
    assert value(metrics, "agent_actions_finished_total", kind=FAIL, outcome="failed") == before + 1
    assert value(metrics, "agent_action_wait_seconds_count", kind=FAIL) == waited + 1
    assert value(metrics, "agent_action_duration_seconds_bucket", kind=FAIL, le="+Inf") == waited + 1
    assert value(metrics, "agent_action_last_finished_timestamp_seconds", kind=SUCCESS, outcome="done")
    assert value(metrics, "agent_executor") == 1


def test_queued_held_and_running_actions_are_counted(used: AgentProcess) -> None:
    metrics = scrape(used)
    assert value(metrics, "agent_actions_queued") == value(metrics, "agent_actions_running") == 0
    assert value(metrics, "agent_action_oldest_waiting_timestamp_seconds") is None
    held = used.schedule(PING, {}, headers={"Not-Before": "2999-01-01T00:00:00Z"})
    running = used.occupy()
    waiting = used.schedule(PING, {})
    metrics = scrape(used)
    assert value(metrics, "agent_actions_queued") == 2
    assert value(metrics, "agent_actions_held") == value(metrics, "agent_actions_running") == 1
    assert value(metrics, "agent_action_oldest_waiting_timestamp_seconds")
    kind = used.info(running)["action"]["kind"]
    assert value(metrics, "agent_action_running_since_timestamp_seconds", kind=kind)
    for each in (held, waiting, running):
        used.cancel(each)
    used.await_final(running)


def test_requests_are_counted_by_route_and_errors_by_variant(used: AgentProcess) -> None:
    assert_error(used.get(f"{PREFIX}/info/no-such-action"), 404, "ActionNotFound")
    assert used.get("/no-such-address-0123456789").status == 404
    answer = used.get(PATH, headers={"Accept": OF_PROMETHEUS})
    metrics = parsed(answer)
    route = f"{PREFIX}/info/<anything:action_id>"
    assert value(metrics, "agent_requests_total", method="GET", route=route, status="404")
    assert value(metrics, "agent_requests_total", method="GET", route="other", status="404")
    assert value(metrics, "agent_errors_total", variant="ActionNotFound")
    assert b"no-such" not in answer.body, "callers add no series"


def test_commits_are_timed(used: AgentProcess) -> None:
    before = value(scrape(used), "agent_store_commit_seconds_count") or 0
    used.await_final(used.schedule(SUCCESS, {}))
    metrics = scrape(used)
    count = value(metrics, "agent_store_commit_seconds_count") or 0
    assert count >= before + 2  # the schedule call, and its end with the claim
    assert value(metrics, "agent_store_commit_seconds_bucket", le="+Inf") == count
    assert value(metrics, "agent_store_commit_seconds_sum")


def test_metrics_have_the_role_of_the_datastore_and_the_lag_of_a_replica(
    start_agent: StartAgent, server_dir: Path
) -> None:
    with (
        RedisServer(server_dir / "primary", appendonly=False) as primary,
        RedisServer(server_dir / "replica", replica_of=primary, appendonly=False) as replica,
    ):
        replica.await_replica()
        agent = start_agent(config=f'[datastore]\nkind = "redis"\nurl = "unix://{replica.socket}"\n')
        there = eventually(lambda: of_the_datastore(agent), "the datastore has answered")
        assert {role: there["agent_datastore_role", role] for role in ROLES} == dict.fromkeys(ROLES, 0) | {"replica": 1}
        assert there["agent_datastore_up", ""] == 1
        assert there["agent_datastore_lag_bytes", ""] >= 0 and there["agent_datastore_lag_seconds", ""] >= 0
        assert there["agent_datastore_checked_timestamp_seconds", ""] > 1.7e9
        assert there["agent_datastore_streaming", ""] == 1
        primary.kill()
        eventually(lambda: not of_the_datastore(agent)["agent_datastore_streaming", ""], "it does not stream")
        replica.stop()
        gone = eventually(lambda: not of_the_datastore(agent)["agent_datastore_up", ""], "it has not answered")
        assert gone and not any(of_the_datastore(agent).get(("agent_datastore_role", role)) for role in ROLES)


def test_a_scrape_does_not_wait_for_the_datastore(start_agent: StartAgent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        agent = start_agent(config=f'[datastore]\nkind = "redis"\nurl = "{url}"\n')
        before = agent.get(PATH).body.decode()
        assert "agent_datastore_up" not in before, "an answer that is not there yet is not waited for"
        eventually(lambda: "agent_datastore_up 0.0\n" in agent.get(PATH).body.decode(), "it has not answered")


def of_the_datastore(agent: AgentProcess) -> dict[tuple[str, str], float]:
    """The samples of the datastore by name and role."""
    samples = [each for metric in scrape(agent).values() for each in metric.samples]
    return {
        (each.name, each.labels.get("role", "")): each.value
        for each in samples
        if each.name.startswith("agent_datastore")
    }


# Without a server


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    app = create_app(config.parse({"agent": {"db": str(tmp_path / "agent.db")}}))
    yield app.test_client()
    app.extensions["agent"].store.close()


def test_metrics_without_the_extra_name_it(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = client.get(PATH)
    assert (answer.status_code, answer.json["variant"]) == (404, "MetricsNotInstalled")
    assert "install the agent with its extra [metrics]" in answer.json["error"]


def test_unreadable_store_removes_only_the_metrics_of_the_queue(client: Any, tmp_path: Path) -> None:
    (tmp_path / "agent.db").mkdir()
    metrics = {metric.name: metric for metric in families(client.get(PATH).text)}
    assert value(metrics, "agent_store_readable") == 0
    assert not OF_QUEUE & {name.removesuffix("_total") for name in metrics}
    assert value(metrics, "agent_executor") == 0


def test_next_token_expiry_ignores_expired_tokens(tmp_path: Path) -> None:
    token = "a-token-of-somebody-0123456789"
    digest = hashlib.sha256(token.encode()).hexdigest()
    file = tmp_path / "tokens.toml"
    file.write_text(
        f'["a@example.com"]\nkinds = []\ntokens = [{{sha256 = "{digest}"}}, {{sha256 = "{"0" * 64}", '
        'expires = 2999-01-01T00:00:00Z}, {sha256 = "' + "1" * 64 + '", expires = 2001-01-01T00:00:00Z}]\n'
    )
    file.chmod(0o600)
    app = create_app(config.parse({"agent": {"db": str(tmp_path / "agent.db")}, "api": {"tokens": str(file)}}))
    try:
        text = app.test_client().get(PATH, headers={"Authorization": f"Bearer {token}"}).text
        metrics = {metric.name: metric for metric in families(text)}
        assert value(metrics, "agent_token_next_end_timestamp_seconds") == 32472144000
    finally:
        app.extensions["agent"].store.close()
