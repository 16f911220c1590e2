"""Parse and compare GTIDs of MySQL and MariaDB. Pure functions without I/O."""

from __future__ import annotations

import re

Pair = tuple[int, int]
"""MariaDB: replication domain and server id."""
State = dict[Pair, int]
"""MariaDB: the last sequence number of each pair."""

INTERVAL = re.compile(r"^(\d+)(?:-(\d+))?$")


def state_of(*texts: str | None) -> State:
    """Parse MariaDB's lists `domain-server-sequence,...`; the highest sequence number counts."""
    state: State = {}
    for word in ",".join(filter(None, texts)).replace(" ", "").split(","):
        if word:
            domain, server, sequence = map(int, word.split("-"))
            state[domain, server] = max(sequence, state.get((domain, server), 0))
    return state


def text_of(state: State) -> str:
    """Format a state in MariaDB's notation."""
    return ",".join(f"{domain}-{server}-{sequence}" for (domain, server), sequence in sorted(state.items()))


def forks(here: State, there: State) -> dict[int, Pair]:
    """The last common GTID per domain, as (server, sequence); domains without one are omitted."""
    found: dict[int, Pair] = {}
    for (domain, server), sequence in here.items():
        common = min(sequence, there.get((domain, server), 0))
        if common > found.get(domain, (0, 0))[1]:
            found[domain] = (server, common)
    return found


def after_forks(here: State, there: State) -> State:
    """The GTIDs that `there` lacks. Sequence numbers of a domain increase: all before the fork are common."""
    common = forks(here, there)
    return {
        (domain, server): sequence
        for (domain, server), sequence in here.items()
        if sequence > common.get(domain, (0, 0))[1] and sequence > there.get((domain, server), 0)
    }


def missing(here: State, there: State) -> int:
    """Number of transactions that `there` has past the forks with `here`: each sequence number counts once."""
    common = forks(there, here)
    tips: dict[int, int] = {}
    for (domain, _), sequence in after_forks(there, here).items():
        tips[domain] = max(sequence, tips.get(domain, 0))
    return sum(tip - common.get(domain, (0, 0))[1] for domain, tip in tips.items())


def count(gtid_set: str) -> int:
    """The number of transactions in a MySQL GTID set such as `uuid:1-3:5,uuid:tag:7`."""
    total = 0
    for part in re.split(r"[:,\s]+", gtid_set):
        if found := INTERVAL.match(part):
            first, last = int(found[1]), int(found[2] or found[1])
            total += last - first + 1
    return total


def sources(gtid_set: str) -> list[str]:
    """The server UUIDs in a MySQL GTID set, sorted."""
    return sorted({part.strip().split(":")[0] for part in gtid_set.split(",") if part.strip()})
