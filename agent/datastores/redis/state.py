"""Parse the state of one Redis from one answer to INFO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Info = Mapping[str, Any]

SECTIONS = ("server", "replication", "persistence", "memory", "keyspace", "cluster")
NO_ID = "0" * 40
"""Redis' value for a missing second replication id."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica of this server; `offset` is the last confirmed offset."""

    address: str
    online: bool
    offset: int


@dataclass(frozen=True, slots=True)
class RedisState:
    """The state of one server at one moment.

    `history` maps each replication id of the server to the offset up to which it has that data. `offset` is the end of
    its data, `asks_from` the offset from which it would continue. `backlog` is the range of offsets that it can send
    again; None: it has no backlog.
    """

    run_id: str
    version: str
    clustered: bool
    is_replica: bool
    source: str | None
    link_up: bool
    receiving: bool
    loading: bool
    read_only: bool
    priority: int
    replid: str
    history: Mapping[str, int]
    offset: int
    asks_from: int
    backlog: tuple[int, int] | None
    keys: int
    libraries: int
    dataset_bytes: int
    memory_bytes: int
    memory_limit: int
    aof: bool
    failover: str
    silent_seconds: int | None
    replicas: tuple[Replica, ...]
    info: Info

    @property
    def in_step(self) -> bool:
        """Whether it is a replica and receives from its source."""
        return self.is_replica and self.link_up and not self.loading

    @property
    def copying(self) -> bool:
        """Whether a full copy is running, so that the data is not the source's yet."""
        return self.is_replica and (self.receiving or self.loading)

    @property
    def empty(self) -> bool:
        """Whether it has no data: neither keys nor function libraries."""
        return not self.keys and not self.libraries

    @property
    def replicates(self) -> bool:
        """Whether it is an active member of a group: it receives from a source, or a replica receives from it."""
        return self.in_step or any(each.online for each in self.replicas)

    @property
    def remembers(self) -> bool:
        """Whether it has replicated since its start: otherwise no other server knows its ids."""
        return self.backlog is not None


def look(client: Any) -> RedisState:
    """Read the present state, also while the server loads its data."""
    return parse(client.info(*SECTIONS))


def parse(info: Info) -> RedisState:
    """Parse an answer to INFO of these `SECTIONS`, as returned by the driver."""
    is_replica = info["role"] == "slave"
    offsets = [info["master_repl_offset"], *([info["slave_repl_offset"]] if is_replica else [])]
    databases = [value for name, value in info.items() if name.startswith("db") and isinstance(value, Mapping)]
    return RedisState(
        run_id=info["run_id"],
        version=str(info.get("valkey_version") or info["redis_version"]),
        clustered=bool(info.get("cluster_enabled")),
        is_replica=is_replica,
        source=address(info["master_host"], info["master_port"]) if is_replica else None,
        link_up=is_replica and info["master_link_status"] == "up",
        receiving=is_replica and bool(info["master_sync_in_progress"]),
        loading=bool(info["loading"]),
        read_only=is_replica and bool(info["slave_read_only"]),
        priority=info.get("slave_priority", 100),
        replid=_identifier(info["master_replid"]),
        history=_history(info, max(offsets)),
        offset=max(offsets),
        asks_from=offsets[-1] + 1,
        backlog=_backlog(info),
        keys=sum(each["keys"] for each in databases),
        libraries=info.get("number_of_libraries", 0),
        dataset_bytes=info.get("used_memory_dataset", 0),
        memory_bytes=info.get("used_memory", 0),
        memory_limit=info.get("maxmemory", 0),
        aof=bool(info.get("aof_enabled")),
        failover=info.get("master_failover_state", "no-failover"),
        silent_seconds=_silent(info) if is_replica else None,
        replicas=tuple(_replicas(info)),
        info=info,
    )


def address(host: str, port: int | str) -> str:
    """HOST:PORT, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _history(info: Info, offset: int) -> dict[str, int]:
    history = {_identifier(info["master_replid"]): offset}
    if (before := _identifier(info["master_replid2"])) != NO_ID:
        history[before] = info["second_repl_offset"] - 1
    return history


def _identifier(word: Any) -> str:
    """A replication id as text; the driver parses an id without letters as a number."""
    return f"{word:0{len(NO_ID)}d}" if isinstance(word, int) else str(word)


def _backlog(info: Info) -> tuple[int, int] | None:
    if not info["repl_backlog_active"]:
        return None
    first = info["repl_backlog_first_byte_offset"]
    return first, first + info["repl_backlog_histlen"] - 1


def _silent(info: Info) -> int | None:
    """Seconds since the last byte from the source; None if there was none."""
    seconds = max(info.get("master_last_io_seconds_ago", -1), info.get("master_link_down_since_seconds", -1))
    return seconds if seconds >= 0 else None


def _replicas(info: Info) -> list[Replica]:
    entries = [info.get(f"slave{number}") for number in range(info["connected_slaves"])]
    found = [each for each in entries if isinstance(each, Mapping)]
    return [
        Replica(address(str(each["ip"]), each["port"]), each["state"] == "online", int(each["offset"]))
        for each in found
    ]
