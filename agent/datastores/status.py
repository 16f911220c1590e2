"""The status of one server as shown by `GET /api/unstable/datastore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.datastores.replication_requests import Lag
from agent.models import Json


@dataclass(frozen=True, slots=True)
class DatastoreStatus:
    """Facts about the server. An unavailable fact is None, and `unknown` has the reason under its name.

    `role` is `primary`, `replica` or `standalone`, as in `Role`. `streaming`: whether a replica receives its source's
    data and applies it; None for other roles. It stays true until the server's own timeout if the source became
    unreachable without closing the connection. `source` is the source of a replica: `address`,
    `state` (`streaming`, `connecting`, `stopped`), `last_message_age` in seconds, `error`. `position` is the LSN, GTID
    set or offset up to which the server has data, `slots` are `{"name", "active", "held_bytes"}`, `synchronous` is
    `{"required", "satisfied", "standbys"}`, `replicas` are `{"name", "address", "state", "lag_bytes"}`.
    """

    reachable: bool
    error: str | None = None
    version: str | None = None
    cluster_id: str | None = None
    role: str | None = None
    writable: bool | None = None
    streaming: bool | None = None
    source: Mapping[str, Any] | None = None
    lag: Lag = Lag()
    position: str | None = None
    timeline: int | None = None
    replicas: Sequence[Mapping[str, Any]] = ()
    slots: Sequence[Mapping[str, Any]] = ()
    synchronous: Mapping[str, Any] | None = None
    dirty: bool | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Json]:
        """The members of the HTTP answer except `kind` and `checked_ts`."""
        return asdict(self)
