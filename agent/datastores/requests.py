"""What the actions on replication ask of a datastore, as values that also travel to a job."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """How to rebuild a replica.

    `primary` is a name of `[datastore.peers]`; None: `datastore.primary`, else the source that the replica follows now.
    `mode`: `auto`, `follow`, `rewind` or `copy`. `force` gives up what this server has and its primary lacks.
    `adopt` is the identifier of the primary's cluster, written out: the data of another cluster is replaced by it.
    """

    primary: str | None = None
    mode: str = "auto"
    force: bool = False
    adopt: str | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a replica is behind: bytes of log, seconds, transactions. None: not known."""

    bytes: int | None = None
    seconds: float | None = None
    transactions: int | None = None


def too_late(lag: Lag, limit: Lag | None) -> str | None:
    """How the lag exceeds the limit, as a sentence; an unknown lag exceeds every limit. None: it does not."""
    for unit in ("bytes", "seconds", "transactions"):
        most, known = getattr(limit, unit, None), getattr(lag, unit)
        if most is not None and known is None:
            return f"how many {unit} this server is behind is not known, and max_lag is {most} {unit}"
        if most is not None and known > most:
            return f"this server is {known} {unit} behind, and max_lag is {most} {unit}"
    return None


@dataclass(frozen=True, slots=True)
class PromoteRequest:
    """How to promote a replica.

    `wait`: seconds to catch up while the primary still sends. `max_lag`: a larger lag is refused. `force` promotes
    although the old primary still takes writes, or although this server should not become a primary.
    """

    wait: float = 0.0
    max_lag: Lag | None = None
    force: bool = False


RESYNC = ResyncRequest()
PROMOTE = PromoteRequest()
"""The requests without any argument."""
