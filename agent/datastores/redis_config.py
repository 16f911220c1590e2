"""The configuration of one Redis, and the file into which it writes what was changed while it ran."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.datastores.redis_connection import exceptions

FILE = {"kept_in": "the configuration file"}
FORGOTTEN = {"kept_in": None, "note": "Redis was started without a configuration file: at a restart this is forgotten"}


def has_file(client: Any) -> bool:
    return bool(client.info("server").get("config_file"))


def get(client: Any, *names: str) -> dict[str, str]:
    """The values of these options; one that this server does not know is missing."""
    return dict(client.config_get(*names))


def put(client: Any, options: Mapping[str, str]) -> None:
    """Set these options, all or none."""
    if options:
        client.config_set(*(word for pair in options.items() for word in pair))


def keep(client: Any) -> dict[str, Any]:
    """Let what holds now hold after a restart too, and say where it is kept. Raises the driver's errors."""
    if not has_file(client):
        return FORGOTTEN
    client.config_rewrite()
    return FILE


def keep_or_note(client: Any) -> dict[str, Any]:
    """The same of a change that holds now in any case; a note says why it cannot be kept."""
    try:
        return keep(client)
    except exceptions().ResponseError as error:
        return {"kept_in": None, "note": f"at a restart of Redis this is forgotten: {error}"}


def file_says_replica(client: Any) -> bool:
    """Whether the configuration file would make the server a replica at its next start; False where we may not read."""
    file = client.info("server").get("config_file")
    try:
        lines = Path(file).read_text(errors="replace").splitlines() if file else []
    except OSError:
        return False
    words = [line.split() for line in lines]
    return any(each and each[0].lower() in ("replicaof", "slaveof") and each[1:2] != ["no"] for each in words)
