"""Compare the transactions of two servers: whether they share a history, and what each lacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.datastores.base import DatastoreError
from agent.datastores.mysql import binlog, gtid as mysql_gtid
from agent.datastores.mysql.address import Address
from agent.datastores.mysql.binlog import NotSent
from agent.datastores.mysql.gtid import State
from agent.datastores.mysql.position import OWN_STATE, applied
from agent.datastores.mysql.session import Session

PURGED = "the primary's binary logs no longer reach back to this server's position"


@dataclass(frozen=True, slots=True)
class Side:
    """One server of a comparison: a session, and an address with a user that may read the binary log."""

    session: Session
    address: Address


@dataclass(frozen=True, slots=True)
class GtidComparison:
    """The comparison of the GTIDs of this server and its primary.

    `shared`: both have transactions of one history; None: not known, with the reason in `unproved`. `lost` are the
    GTIDs of this server that the primary lacks, `lost_count` their maximum number. `reachable`: the primary can send
    everything after this server's position; `unreachable_why` is the reason if not.
    """

    here: str
    there: str
    shared: bool | None
    lost: str
    lost_count: int
    behind: int
    reachable: bool
    unproved: str = ""
    unreachable_why: str = ""

    @property
    def empty(self) -> bool:
        """Whether this server has no transaction."""
        return not self.here


def is_mysql(session: Session) -> bool:
    return session.dialect.product == "MySQL"


def received(session: Session) -> list[str]:
    """The GTIDs received from each source, applied or not."""
    return [str(row.get(session.dialect.received) or "") for row in session.replica_status()]


def position(session: Session) -> str:
    """All GTIDs of the server: written, applied or received."""
    if is_mysql(session):
        known = [str(session.value("SELECT @@GLOBAL.gtid_executed")), *received(session)]
        return _one_line(session.value("SELECT GTID_SUBTRACT(%s, '')", ",".join(filter(None, known))))
    return mysql_gtid.text_of(mysql_gtid.state_of(str(session.value(OWN_STATE)), *received(session)))


def cluster_id(session: Session) -> str:
    """The identifier of the servers that share a history, as used by `adopt`.

    MySQL: the smallest UUID in the server's GTID set. MariaDB: the smallest `domain-server` in its GTID state.
    The identifier of a server without transactions is its own.
    """
    has = position(session)
    if is_mysql(session):
        return (mysql_gtid.sources(has) or [str(session.value("SELECT @@server_uuid"))])[0]
    state = mysql_gtid.state_of(has)
    own = (int(session.value("SELECT @@gtid_domain_id")), int(session.value("SELECT @@server_id")))
    return "{}-{}".format(*min(state, default=own))


def covers(session: Session, wanted: str) -> bool:
    """Whether the server has applied all of these GTIDs, which `applied` of another server returned."""
    return _includes(session, applied(session), wanted)


def has(session: Session, wanted: str) -> bool:
    """Whether the server has all of these GTIDs, applied or only received."""
    return _includes(session, position(session), wanted)


def has_more(session: Session, known: str) -> bool:
    """Whether the server has applied transactions outside of these GTIDs."""
    return not _includes(session, known, applied(session))


def _includes(session: Session, gtids: str, wanted: str) -> bool:
    if is_mysql(session):
        return bool(session.value("SELECT GTID_SUBSET(%s, %s)", wanted, gtids))
    return not mysql_gtid.after_forks(mysql_gtid.state_of(wanted), mysql_gtid.state_of(gtids))


def compare(
    here: Side, there: Side, programs: Path | None, timeout: float, *, follows: bool = False, pointed: bool = False
) -> GtidComparison:
    """Compare. `follows`: this server receives from the primary now, which proves a common history. `pointed`: the
    primary is its configured source, which counts as proof if the binary logs cannot prove it.

    This server is read first: everything that it receives meanwhile exists on the primary.
    """
    if is_mysql(here.session):
        return _compare_sets(here.session, there.session)
    return _compare_states(here, there, programs, timeout, follows=follows, pointed=pointed)


def _compare_sets(here: Session, there: Session) -> GtidComparison:
    ours, executed = position(here), applied(here)
    theirs = applied(there)
    lost = _one_line(here.value("SELECT GTID_SUBTRACT(%s, %s)", ours, theirs))
    common = _one_line(here.value("SELECT GTID_SUBTRACT(%s, %s)", ours, lost))
    behind = _one_line(here.value("SELECT GTID_SUBTRACT(%s, %s)", theirs, executed))
    purged = _one_line(there.value("SELECT @@GLOBAL.gtid_purged"))
    gone = _one_line(here.value("SELECT GTID_SUBTRACT(%s, %s)", purged, executed))
    return GtidComparison(
        here=ours,
        there=theirs,
        shared=bool(common) if ours else None,
        lost=lost,
        lost_count=mysql_gtid.count(lost),
        behind=mysql_gtid.count(behind),
        reachable=not gone,
        unreachable_why=f"{PURGED}: it lacks {gone}" if gone else "",
    )


def _compare_states(
    here: Side, there: Side, programs: Path | None, timeout: float, *, follows: bool, pointed: bool
) -> GtidComparison:
    ours = mysql_gtid.state_of(position(here.session))
    theirs = mysql_gtid.state_of(position(there.session))
    lost = mysql_gtid.after_forks(ours, theirs)
    common = mysql_gtid.forks(ours, theirs)
    shared, unproved = (True, "") if follows else _same_history(here, there, common, programs, timeout)
    if shared is None and pointed:
        shared = True
    why = "" if follows else _why_not_sent(here, there, programs, timeout)
    return GtidComparison(
        here=mysql_gtid.text_of(ours),
        there=mysql_gtid.text_of(theirs),
        shared=shared if ours else None,
        lost=mysql_gtid.text_of(lost),
        lost_count=mysql_gtid.missing(theirs, ours),
        behind=mysql_gtid.missing(ours, theirs),
        reachable=not why,
        unproved=unproved,
        unreachable_why=why,
    )


def _same_history(
    here: Side, there: Side, common: dict[int, tuple[int, int]], programs: Path | None, timeout: float
) -> tuple[bool | None, str]:
    """Whether a common GTID is the same transaction: MariaDB's GTIDs have no UUID, and server ids repeat.

    A replica keeps the time and the content of a transaction, so both are equal on both servers. An equal time alone is
    no proof: its unit is a second, and a tool that sets up several clusters at once makes equal GTIDs in one second.
    """
    if not common:
        return False, ""
    unproved = ""
    for domain, (server, sequence) in common.items():
        gtid, before = f"{domain}-{server}-{sequence}", f"{domain}-{server}-{sequence - 1}"
        try:
            pair = [binlog.first_after(side.address, before, programs, timeout) for side in (here, there)]
        except DatastoreError as error:
            unproved = f"transaction {gtid} cannot be read from the binary logs of both servers: {error}"
            continue
        mine, theirs = pair
        if mine is None or theirs is None or {mine.gtid, theirs.gtid} != {gtid}:
            unproved = f"transaction {gtid} is not in the binary logs of both servers"
            continue
        same = mine.is_same_as(theirs)
        if same is not None:
            return same, ""
        unproved = f"transaction {gtid} is logged by rows on one server and by statements on the other"
    return None, unproved


def _why_not_sent(here: Side, there: Side, programs: Path | None, timeout: float) -> str:
    """The reason why the primary cannot send everything after this server's position; empty if it can."""
    start = follow_position(here.session)
    if not start:
        return "" if _whole_history(there.session) else f"{PURGED}, which is empty"
    try:
        binlog.first_after(there.address, start, programs, timeout)
    except NotSent as error:
        return f"{PURGED}: {error}"
    return ""


def follow_position(session: Session) -> str:
    """The position from which a MariaDB would follow: its last transaction in each domain."""
    tips: dict[int, tuple[int, int]] = {}
    for (domain, server), sequence in mysql_gtid.state_of(applied(session)).items():
        tips[domain] = max((sequence, server), tips.get(domain, (0, 0)))
    state: State = {(domain, server): sequence for domain, (sequence, server) in tips.items()}
    return mysql_gtid.text_of(state)


def _whole_history(session: Session) -> bool:
    """Whether the binary logs of a MariaDB start with its first transaction."""
    logs = session.run("SHOW BINARY LOGS")
    if not logs or session.value("SELECT @@gtid_slave_pos"):
        return False
    events = session.run("SHOW BINLOG EVENTS IN %s LIMIT 3", logs[0]["Log_name"])
    return any(row["Event_type"] == "Gtid_list" and row["Info"] == "[]" for row in events)


def _one_line(gtid_set: object) -> str:
    return "".join(str(gtid_set or "").split())
