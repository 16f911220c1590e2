"""The status of one Redis, with the reasons of unavailable facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError
from agent.datastores.redis import config, source
from agent.datastores.redis.promotion import ANSWERS_WITHIN, source_of
from agent.datastores.redis.replication import role
from agent.datastores.redis.state import RedisState, look
from agent.datastores.replication_requests import Lag
from agent.datastores.status import DatastoreStatus

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis


def status(datastore: Redis) -> DatastoreStatus:
    """The facts; never raises `DatastoreError`. A replica's source has `ANSWERS_WITHIN` seconds to answer."""
    try:
        with datastore.client() as client:
            here, own = look(client), source.own_options(client)
            wanted = config.get(client, "min-replicas-to-write", "min-replicas-max-lag")
    except DatastoreError as error:
        return DatastoreStatus(reachable=False, error=str(error))
    unknown = dict(datastore.absent_facts)
    behind = None
    if here.is_replica:
        try:
            behind = _bytes_behind(datastore, here, own)
        except DatastoreError as error:
            unknown["lag"] = str(error)
    current = role(here)
    return DatastoreStatus(
        reachable=True,
        version=here.version,
        cluster_id=here.replid,
        role=current.name,
        writable=current.writable,
        streaming=here.in_step if here.is_replica else None,
        source=_source(here) if here.is_replica else None,
        lag=Lag(bytes=behind, seconds=here.silent_seconds),
        position=str(here.offset),
        replicas=[_replica(here, each.address, each.online, each.offset) for each in here.replicas],
        synchronous=_synchronous(here, wanted),
        dirty=here.copying,
        unknown=unknown,
    )


def _bytes_behind(datastore: Redis, here: RedisState, own: source.Options) -> int:
    """The lag. Raises `DatastoreError` if the source cannot be queried or has changed."""
    there = source_of(datastore, here, own, ANSWERS_WITHIN).look()
    if here.replid not in there.history:
        raise DatastoreError(f"{here.source} has another replication id ({there.replid}) than this server")
    return max(0, there.offset - here.offset)


def _source(here: RedisState) -> dict[str, Any]:
    info = here.info
    state = "streaming" if here.in_step else "connecting"
    return {"address": here.source, "state": state, "last_message_age": here.silent_seconds, "error": None} | (
        {"copy": {"bytes_done": info.get("master_sync_read_bytes"), "bytes_total": info.get("master_sync_total_bytes")}}
        if here.receiving
        else {}
    )


def _replica(here: RedisState, address: str, online: bool, offset: int) -> dict[str, Any]:
    state = "online" if online else "copying"
    return {"name": None, "address": address, "state": state, "lag_bytes": max(0, here.offset - offset)}


def _synchronous(here: RedisState, wanted: source.Options) -> dict[str, Any] | None:
    """The member for `min-replicas-to-write`: the number of recently seen replicas that a write requires."""
    required = int(wanted.get("min-replicas-to-write") or 0)
    good = here.info.get("min_slaves_good_slaves", sum(each.online for each in here.replicas))
    standbys = [each.address for each in here.replicas if each.online]
    return {"required": required, "satisfied": here.is_replica or good >= required, "standbys": standbys}
