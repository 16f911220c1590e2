"""The requests of replication actions to a datastore, as values that can be passed to a job."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """How to rebuild a replica.

    `primary` is a name of `[datastore.peers]`; None: `datastore.primary`, or the present source of the replica.
    `mode`: `auto`, `follow`, `rewind` or `copy`. `force` discards data that the primary lacks.
    `adopt` is the identifier of the primary's cluster: it permits to replace this server's data of another cluster.
    `begun` is the result of `Datastore.begin_resync` if the agent has begun the resync before the job, or None.
    """

    primary: str | None = None
    mode: str = "auto"
    force: bool = False
    adopt: str | None = None
    begun: Any = None


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of a replica in bytes of log, seconds and transactions. None: not known."""

    bytes: int | None = None
    seconds: float | None = None
    transactions: int | None = None


def too_late(lag: Lag, limit: Lag | None) -> str | None:
    """A sentence that the lag exceeds the limit, or None. An unknown lag exceeds every limit."""
    for unit in ("bytes", "seconds", "transactions"):
        most, known = getattr(limit, unit, None), getattr(lag, unit)
        if most is not None and known is None:
            return f"the lag in {unit} is unknown, and max_lag is {most} {unit}"
        if most is not None and known > most:
            return f"this server is {known} {unit} behind, and max_lag is {most} {unit}"
    return None


@dataclass(frozen=True, slots=True)
class PromoteRequest:
    """How to promote a replica.

    `wait`: seconds to catch up while the primary still sends. `max_lag`: a larger lag is refused. `force` promotes
    even if the old primary still accepts writes or this server should not become a primary.
    """

    wait: float = 0.0
    max_lag: Lag | None = None
    force: bool = False


RESYNC = ResyncRequest()
PROMOTE = PromoteRequest()
"""The requests without any argument."""
