"""Hand over from a primary to its standby: clean shutdown, proof by LSN, start as a standby."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.config import DatastoreSettings, Peer
from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.postgresql.connection import Target
from agent.datastores.postgresql.control import end_by_files, read_control
from agent.datastores.postgresql.decision import Decision, in_step, refused
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.follow import follow_by_restart
from agent.datastores.postgresql.own_state import OwnState, look_at
from agent.datastores.postgresql.plan import Comparison
from agent.datastores.postgresql.preflight import check
from agent.datastores.postgresql.primary import Primary, primary_of
from agent.datastores.postgresql.resync import data_of, recover
from agent.datastores.postgresql.service import PostgresqlService
from agent.datastores.postgresql.source import Source, create_slot, look_at_source
from agent.datastores.postgresql.timelines import lsn, shown
from agent.datastores.progress import ResyncProgress
from agent.models import Json
from agent.plan import Plan, Would, nothing, refuse
from agent.util.poll import looks
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.supervisors.base import Supervisor

RECEIVES = "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
HAS = "SELECT pg_is_in_recovery(), GREATEST(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text"
NO_SERVICE = "set [service] in the configuration: a handover stops the server and starts it again"


def plan_demote(
    settings: DatastoreSettings, server: Target, service: Supervisor | None, peer: Peer | None, node: str
) -> Plan:
    """What `demote` would do now. Raises `DatastoreError`."""
    if service is None:
        raise DatastoreError(NO_SERVICE)
    outlook = _look(settings, server, data_of(settings), peer, node)
    decision, where = outlook.decision, outlook.primary.target.address
    if decision.method == "refuse":
        return refuse(decision.reason, decision.lifted_by)
    if decision.method == "none":
        return nothing(decision.reason)
    steps = [
        "stop the server, which ends all writes", f"wait until {where} has everything, proved by LSN",
        "start this server as a standby of it",
    ]  # fmt: skip
    behind = max(0, outlook.mine.position.end - outlook.source.position.end) if outlook.mine.position else None
    facts = {"method": "follow", "primary": where, "peer_lag_bytes": behind}
    return Plan(Would.DISRUPT, f"this server would hand over to {where} and follow it", steps=steps, facts=facts)


def demote(
    settings: DatastoreSettings, server: Target, supervisor: Supervisor | None, peer: Peer | None, node: str, stop: Stop
) -> Json:
    """Hand over. After a `DatastoreError` this server is a primary again unless the message says otherwise."""
    if supervisor is None:
        raise DatastoreError(NO_SERVICE)
    data, service = data_of(settings), PostgresqlService(supervisor, server, stop)
    recover(data, service)
    outlook = _look(settings, server, data, peer, node)
    decision, primary = outlook.decision, outlook.primary
    if decision.method == "refuse":
        raise DatastoreRefused(f"{decision.reason}; {decision.lifted_by}")
    result: dict[str, Any] = {"primary": primary.target.address, "method": decision.method}
    if decision.method == "none":
        return result
    service.check_is_its(outlook.mine.up)
    create_slot(primary)
    data.write_passfile(primary.passwords)
    if outlook.mine.up:
        _checkpoint(server)
        service.stop()
    end = _hand_over(data, service, primary, settings.timeout, stop)
    silent = ResyncProgress(lambda state: None)
    follow_by_restart(data, replace(outlook, mine=replace(outlook.mine, up=True)), service, silent)
    return result | {"position": shown(end), "lag": {"bytes": 0, "seconds": 0.0, "transactions": None}}


def _look(settings: DatastoreSettings, server: Target, data: DataDirectory, peer: Peer | None, node: str) -> Comparison:
    primary = primary_of(peer, server, data, node, settings.timeout)
    mine = look_at(data, server)
    source = look_at_source(primary, settings.timeout)
    decision = _decided(mine, source, primary)
    if decision.method == "follow":
        decision = check(decision, mine, source, primary, data)
    return Comparison(mine, source, primary, decision)


def _decided(mine: OwnState, source: Source, primary: Primary) -> Decision:
    where = primary.target.address
    if mine.control.system != source.system:
        return refused(f"{where} belongs to another cluster", "name a standby of this server")
    if in_step(mine, primary.endpoint):
        return Decision("none", f"this server follows {where} already")
    if mine.live and mine.follows:
        return refused("this server is a standby", "run this action on the primary, or replication.follow here")
    if not source.recovers:
        return refused(f"{where} is no standby: it is a primary already", "resync_slave_db makes this server follow it")
    if (other := _other_branch(mine, source)) is not None:
        return refused(f"{where} {other}", "name a standby that follows this server")
    if mine.live and not _receives(primary):
        return refused(f"{where} receives nothing", "let it follow this server first")
    if not mine.up and not mine.follows and not mine.control.shut_down:
        return refused("this server is down and was not shut down cleanly", "start it first")
    return Decision("follow", "handover")


def _other_branch(mine: OwnState, source: Source) -> str | None:
    """The difference if the peer is on another timeline branch, where LSNs cannot be compared; else None."""
    if mine.position is None or mine.position.branches == source.position.branches:
        return None
    theirs, ours = source.position.timeline, mine.position.timeline
    return f"is on timeline {theirs} of another branch of the cluster, and this server is on timeline {ours}"


def _receives(primary: Primary) -> bool:
    with primary.target.connect() as connection:
        row = connection.execute(RECEIVES).fetchone()
    return bool(row and row[0])


def _checkpoint(server: Target) -> None:
    """Write a checkpoint first, so that the shutdown, which refuses writes, is short."""
    with suppress(DatastoreError), server.connect() as connection:
        connection.execute("CHECKPOINT")


def _hand_over(data: DataDirectory, service: PostgresqlService, primary: Primary, timeout: float, stop: Stop) -> int:
    """Prove that the peer has all WAL of this server including its last checkpoint; returns the end of WAL.

    A shutdown waits until the connected standbys have received everything, so the proof needs no waiting.
    """
    control = read_control(data)
    if not control.shut_down and not (data.data / "standby.signal").exists():
        why = f"the server was not shut down cleanly ({control.state})"
        raise DatastoreError(f"{why}; {_primary_again(service, primary)}")
    end = end_by_files(data, control).end
    lacks = f"the WAL position of {primary.target.address} cannot be read"
    for _ in looks(timeout, stop):
        with suppress(DatastoreError):
            received = _received_by(primary)
            if received >= end:
                return end
            lacks = f"{primary.target.address} lacks {end - received} bytes of WAL before {shown(end)}"
    raise DatastoreError(f"{lacks}; {_primary_again(service, primary)}")


def _received_by(primary: Primary) -> int:
    with primary.target.connect() as connection:
        row: Any = connection.execute(HAS).fetchone()
    return lsn(row[1] or "0/0")


def _primary_again(service: PostgresqlService, primary: Primary) -> str:
    """Start as a primary again, unless the peer was promoted meanwhile; returns a sentence about the result."""
    with suppress(DatastoreError), primary.target.connect() as connection:
        row: Any = connection.execute(HAS).fetchone()
        if not row[0]:
            return f"this server stays down because {primary.target.address} is a primary now: run resync_slave_db"
    try:
        service.start()
        service.await_answer()
    except DatastoreError as error:
        return f"this server is down: {error}"
    return "this server is a primary again"
