"""One Redis among others: whom it follows, and how a full copy of the primary comes in."""

from __future__ import annotations

from typing import Any

from agent.datastores import redis_config
from agent.datastores.base import DatastoreRefused, Role

Info = dict[str, Any]


def look(client: Any) -> Info:
    """How it stands, also while it loads."""
    info: Info = client.info("server", "replication", "persistence")
    return info


def role(info: Info) -> Role:
    if info["role"] == "slave":
        return Role("replica", _primary(info), is_in_sync(info), writable=info["slave_read_only"] == 0)
    return Role("primary", writable=True)


def is_in_sync(info: Info) -> bool:
    return info["role"] == "slave" and info["master_link_status"] == "up" and not info["loading"]


def is_copying(info: Info) -> bool:
    """Whether a full copy of the primary is on its way in, so that the data is not the primary's yet."""
    return info["role"] == "slave" and bool(info["master_sync_in_progress"] or info["loading"])


def link(client: Any) -> str:
    """What a replica does to come in touch with its primary, as ROLE puts it; empty for others."""
    role = client.role()
    return _text(role[3]) if _text(role[0]) == "slave" else ""


def phase(info: Info) -> str:
    """How far the copy is, by the tenth."""
    if info["loading"]:
        return f"loading its data: {_tenths(info.get('loading_loaded_perc', 0))} %"
    if not info.get("master_sync_in_progress"):
        return "awaiting the primary"
    if info.get("master_sync_total_bytes", 0) <= 0:  # it is not told where the primary sends without a file
        return "receiving its data"
    return f"receiving its data: {_tenths(info['master_sync_perc'])} % of {info['master_sync_total_bytes']} bytes"


def follow_nobody(client: Any) -> dict[str, Any]:
    """Become writable and follow nobody, with the data that is there."""
    info = look(client)
    client.replicaof("NO", "ONE")
    return {"followed": _primary(info), "was_in_sync": is_in_sync(info)} | _keep(client)


def copy(client: Any, primary: Info) -> dict[str, Any]:
    """Begin a full copy of the primary that these options of a connection lead to, and follow it from then on."""
    if (password := primary.get("password")) is not None:
        client.config_set("masteruser", primary.get("username") or "", "masterauth", password)
    # Having followed nobody it cannot go on where it was: that is what makes the copy a full one. In
    # one transaction, so that no client can write in between.
    with client.client() as connection:
        connection.execute_command("MULTI")
        connection.execute_command("REPLICAOF", "NO", "ONE")
        connection.execute_command("REPLICAOF", primary["host"], primary["port"])
        connection.execute_command("EXEC")
    return _keep(client)


def check_can_lead(here: Info, there: Info, address: str) -> None:
    """Raise where a copy of that server would not be one of a primary."""
    if here["run_id"] == there["run_id"]:
        raise DatastoreRefused(f"datastore.primary, {address}, is this server itself")
    if there["role"] != "slave":
        return
    if here["role"] == "master" and here["master_replid"] == there["master_replid"]:
        raise DatastoreRefused(f"Redis at {address} follows this server: promote it first")
    if there["master_link_status"] != "up":
        raise DatastoreRefused(f"Redis at {address} is a replica that has lost its own primary: promote it first")


def _keep(client: Any) -> dict[str, Any]:
    """What was changed holds now, also where it cannot be kept: that is told instead."""
    from redis.exceptions import ResponseError

    try:
        return redis_config.keep(client)
    except ResponseError as error:
        return {"kept_in": None, "note": f"at a restart of Redis this is forgotten: {error}"}


def _primary(info: Info) -> str | None:
    return f"{info['master_host']}:{info['master_port']}" if info["role"] == "slave" else None


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def _tenths(percent: Any) -> int:
    return int(float(percent)) // 10 * 10
