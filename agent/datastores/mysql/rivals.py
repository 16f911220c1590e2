"""Find servers that are obstacles to a promotion: the source's upstream, other primaries, replicas ahead."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from agent.config import DatastoreSettings
from agent.datastores.base import DatastoreError
from agent.datastores.mysql import address as mysql_address, gtid, peer as mysql_peer, replication
from agent.datastores.mysql.peer import OldPrimary
from agent.datastores.mysql.position import applied
from agent.datastores.mysql.session import Row, Session, connect
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Rivals:
    """`upstream`: a third server that the source receives from. `primary`: a configured server of the same history
    that accepts writes. `ahead`: a sentence for each replica with transactions that this server lacks.
    """

    upstream: str | None = None
    primary: str | None = None
    ahead: Sequence[str] = field(default=())


def look(session: Session, olds: Sequence[OldPrimary], others: Sequence[OldPrimary]) -> Rivals:
    """The obstacles, from the answers of the primaries that this server follows and of the `others`."""
    number = session.value("SELECT @@server_id")
    upstream = next((where for old in olds for where, sender in old.receives_from if sender != number), None)
    ours = ",".join(filter(None, [applied(session), *(gtids for gtids, _ in mysql_peer.received(session))]))
    more = {each.address: _more(session, ours, each) for each in others}
    kin = [each for each in others if more[each.address] is not None]
    return Rivals(
        upstream=upstream,
        primary=next((each.address for each in kin if each.state == "writable"), None),
        ahead=[f"{name} has {count} transactions that this server lacks" for name, count in more.items() if count],
    )


def ask(
    settings: DatastoreSettings, followed: Sequence[Row], within: float
) -> tuple[list[OldPrimary], list[OldPrimary]]:
    """Query the primaries that this server follows and the other configured servers; omits others without an answer.

    All are queried in parallel and have `within` seconds to answer.
    """
    rest = _not_followed(settings, {replication.primary_of(row) for row in followed})
    with ThreadPoolExecutor(max(1, len(followed) + len(rest))) as threads:
        olds = threads.map(lambda row: mysql_peer.ask(settings, row, within), followed)
        others = threads.map(lambda address: _answer_of(address, min(within, settings.timeout)), rest)
        return list(olds), [each for each in others if each is not None]


def _not_followed(settings: DatastoreSettings, followed: set[str]) -> list[mysql_address.Address]:
    """The configured servers that this one does not follow."""
    addresses = []
    for name, peer in settings.peers.items():
        with suppress(ConfigError):
            address = mysql_address.parse(peer.url, f"datastore.peers.{name}.url", peer.password_file)
            if f"{address.host}:{address.port}" not in followed:
                addresses.append(address)
    return addresses


def _answer_of(address: mysql_address.Address, within: float) -> OldPrimary | None:
    with suppress(DatastoreError), connect(address, within) as other:
        state = "writable" if replication.is_writable(other) else "read_only"
        received = [gtids for gtids, _ in mysql_peer.received(other)]
        has = ",".join(filter(None, [applied(other), *received]))
        return OldPrimary(f"{address.host}:{address.port}", state, applied=has)
    return None


def _more(session: Session, ours: str, other: OldPrimary) -> int | None:
    """Number of transactions, of servers known here, that only the other has; None: no shared history."""
    theirs = str(other.applied)
    if session.dialect.product == "MySQL":
        known = set(gtid.sources(ours))
        if not known & set(gtid.sources(theirs)):
            return None
        lacks = "".join(str(session.value("SELECT GTID_SUBTRACT(%s, %s)", theirs, ours)).split())
        return sum(gtid.count(each) for each in lacks.split(",") if each.split(":")[0] in known)
    here, there = gtid.state_of(ours), gtid.state_of(theirs)
    common = here.keys() & there.keys()
    return sum(max(0, there[each] - here[each]) for each in common) if common else None
