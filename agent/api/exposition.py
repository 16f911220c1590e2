"""The metrics, read at each scrape. Imported only with the extra `metrics`."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from flask import current_app
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from agent.api import authentication, traffic
from agent.api.context import Context, context, waiters
from agent.api.datastore import Facts
from agent.errors import StoreUnavailable
from agent.maintenance import MaintenanceFlag
from agent.server import tls
from agent.store import counts
from agent.store.counts import Counts, Times
from agent.util.installed_version import installed_version

SECOND = 1e6
"""In microseconds."""
_as_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest
ROLES = ("primary", "replica", "standalone")
"""The roles of a datastore."""
OPENMETRICS, PLAIN = "application/openmetrics-text", "text/plain; version=0.0.4; charset=utf-8"


class AgentMetrics(Collector):
    """All metrics of the application that answers the present request."""

    def collect(self) -> Iterator[Metric]:
        """The metrics; without those of the queue while the store cannot be read."""
        agent = context()
        yield InfoMetricFamily("agent_build", "The version of the agent.", {"version": installed_version()})
        try:
            found = counts.read(agent.store)
        except StoreUnavailable:
            yield _gauge("agent_store_readable", "1 if the database can be read.", 0)
        else:
            yield _gauge("agent_store_readable", "1 if the database can be read.", 1)
            yield from _pending(agent, found)
            yield from _ended(found)
            yield from _times(found.times)
            yield _gauge("agent_callbacks_pending", "Undelivered callbacks, 100000 at most.", found.callbacks)
            yield _receivers(found)
        yield _store_size(agent)
        yield _commits(agent)
        yield from _datastore()
        yield from _process(agent)
        yield from _requests()


def registry() -> CollectorRegistry:
    """A registry for this application only."""
    made = CollectorRegistry()
    made.register(AgentMetrics())
    ProcessCollector(registry=made)
    return made


def written(registry: CollectorRegistry, accepted: Iterable[str]) -> tuple[bytes, str]:
    """The metrics in the first known format of these media types, else as plain text; and the content type."""
    for media_type in accepted:
        name = media_type.partition(";")[0].strip().lower()
        if name == OPENMETRICS:
            return _as_openmetrics(registry), openmetrics.CONTENT_TYPE_LATEST
        if name == "text/plain":
            break
    return generate_latest(registry), PLAIN


def _pending(agent: Context, found: Counts) -> Iterator[Metric]:
    held = [each for each in found.waiting if agent.engine.holds.reason(each) is not None]
    free = [each.oldest_ts for each in found.waiting if each not in held]
    queued = sum(each.count for each in found.waiting)
    yield _gauge("agent_actions_queued", "Waiting actions, including the held ones.", queued)
    yield _gauge("agent_actions_held", "Actions that are held.", sum(each.count for each in held))
    yield _gauge("agent_actions_running", "1 if an action runs.", int(found.running is not None))
    oldest = GaugeMetricFamily(
        "agent_action_oldest_waiting_timestamp_seconds",
        "Time at which the oldest waiting action that is not held was stored.",
    )
    if free:
        oldest.add_metric([], min(free) / SECOND)
    yield oldest
    since = GaugeMetricFamily(
        "agent_action_running_since_timestamp_seconds", "Start time of the running action.", labels=["kind"]
    )
    if found.running:
        since.add_metric([found.running.kind], found.running.started_ts / SECOND)
    yield since


def _ended(found: Counts) -> Iterator[Metric]:
    labels = ["kind", "outcome"]
    ended = CounterMetricFamily("agent_actions_finished", "Final actions, including the removed ones.", labels=labels)
    last = GaugeMetricFamily(
        "agent_action_last_finished_timestamp_seconds", "End time of the newest action of this outcome.", labels=labels
    )
    for each in found.ended:
        ended.add_metric([each.kind, each.outcome], each.count)
        last.add_metric([each.kind, each.outcome], each.last_ts / SECOND)
    yield ended
    yield last


def _times(found: Iterable[Times]) -> Iterator[Metric]:
    waits = HistogramMetricFamily(
        "agent_action_wait_seconds", "From the schedule call to the start of an action.", labels=["kind"]
    )
    runs = HistogramMetricFamily(
        "agent_action_duration_seconds", "From the start of an action to its end.", labels=["kind"]
    )
    for each in found:
        (waits if each.measure == "wait" else runs).add_metric([each.kind], _le(each.buckets), each.seconds)
    yield waits
    yield runs


def _le(buckets: Iterable[tuple[float, int]]) -> list[tuple[str, float]]:
    """Buckets with their bounds as labels."""
    return [("+Inf" if upper == float("inf") else f"{upper:g}", float(count)) for upper, count in buckets]


def _receivers(found: Counts) -> Metric:
    receivers = GaugeMetricFamily("agent_callback_receivers", "Receivers of callbacks.", labels=["state"])
    for state in ("ready", "failing", "ended"):
        receivers.add_metric([state], found.receivers.get(state, 0))
    return receivers


def _store_size(agent: Context) -> Metric:
    size = GaugeMetricFamily("agent_store_size_bytes", "Size of the database and of its log.", labels=["file"])
    for name, suffix in (("database", ""), ("log", "-wal")):
        path = agent.store.path
        with suppress(OSError):
            size.add_metric([name], path.with_name(f"{path.name}{suffix}").stat().st_size)
    return size


def _commits(agent: Context) -> Metric:
    times = agent.store.commit_times
    commits = HistogramMetricFamily(
        "agent_store_commit_seconds", "Time of a commit to the database since the process started."
    )
    commits.add_metric([], _le(times.buckets()), times.seconds)
    return commits


def _datastore() -> Iterator[Metric]:
    """The last answer of the datastore. A scrape does not wait for it, but starts a new query."""
    facts: Facts = current_app.extensions["agent.facts"]
    if (found := facts.newest()) is None:
        return
    checked = datetime.fromisoformat(found["checked_ts"]).timestamp()
    yield _gauge(
        "agent_datastore_checked_timestamp_seconds", "Time at which these facts were read from the datastore.", checked
    )
    yield _gauge("agent_datastore_up", "1 if the datastore answers.", int(found["reachable"]))
    role = GaugeMetricFamily("agent_datastore_role", "1 for the role of the datastore, 0 for others.", labels=["role"])
    for each in ROLES:
        role.add_metric([each], int(found["role"] == each))
    yield role
    streaming = GaugeMetricFamily(
        "agent_datastore_streaming", "1 if a replica receives its source's data and applies it, 0 if not."
    )
    if found["streaming"] is not None:
        streaming.add_metric([], int(found["streaming"]))
    yield streaming
    for unit in ("seconds", "bytes"):
        lag = GaugeMetricFamily(f"agent_datastore_lag_{unit}", f"Lag of a replica in {unit}.")
        if (known := found["lag"][unit]) is not None:
            lag.add_metric([], known)
        yield lag


def _process(agent: Context) -> Iterator[Metric]:
    engine, settings = agent.engine, agent.settings
    yield _gauge("agent_executor", "1 if this process runs the queue.", int(engine.is_executor))
    yield _gauge(
        "agent_engine_tick_age_seconds",
        "Time since the last check of the queue by the engine.",
        engine.seconds_since_tick,
    )
    maintenance = int(MaintenanceFlag.of(settings).exists())
    yield _gauge("agent_maintenance", "1 if this host is in maintenance mode.", maintenance)
    yield _gauge("agent_requests_waiting", "Requests that wait for a change, without a thread.", len(waiters()))
    yield _gauge("agent_threads", "Threads of the process.", threading.active_count())
    authenticator = authentication.authenticator()
    if authenticator is not None and (end := authenticator.next_token_end()) is not None:
        yield _gauge("agent_token_next_end_timestamp_seconds", "Time at which the next token or identity expires.", end)
    if settings.api.tls is not None:
        yield _gauge(
            "agent_tls_certificate_end_timestamp_seconds",
            "Time at which the server certificate of the agent expires.",
            tls.of_this_worker().certificate_end,
        )


def _requests() -> Iterator[Metric]:
    counted = traffic.of_this_process()
    requests = CounterMetricFamily(
        "agent_requests", "Answers since the process started.", labels=["method", "route", "status"]
    )
    for answered, count in sorted(counted.answered().items()):
        requests.add_metric([answered.method, answered.route, str(answered.status)], count)
    yield requests
    refused = CounterMetricFamily("agent_errors", "Errors since the process started.", labels=["variant"])
    for variant, count in sorted(counted.refused().items()):
        refused.add_metric([variant], count)
    yield refused


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)
