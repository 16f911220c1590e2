"""Read and set options of one Redis, and store them in its configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.datastores.redis.connection import exceptions
from agent.datastores.redis.state import address

FILE = {"kept_in": "the configuration file"}
FORGOTTEN = {"kept_in": None, "note": "Redis was started without a configuration file: a restart loses this change"}


def has_file(client: Any) -> bool:
    return bool(client.info("server").get("config_file"))


def get(client: Any, *names: str) -> dict[str, str]:
    """The values of these options; unknown options are omitted."""
    return dict(client.config_get(*names))


def put(client: Any, options: Mapping[str, str]) -> None:
    """Set these options; atomic."""
    if options:
        client.config_set(*(word for pair in options.items() for word in pair))


def keep(client: Any) -> dict[str, Any]:
    """Store the present configuration for the next start; returns where. Raises the driver's errors."""
    if not has_file(client):
        return FORGOTTEN
    client.config_rewrite()
    return FILE


def keep_or_note(client: Any) -> dict[str, Any]:
    """Store the present configuration if possible; otherwise the returned note has the reason."""
    try:
        return keep(client)
    except exceptions().ResponseError as error:
        return {"kept_in": None, "note": f"a restart of Redis loses this change: {error}"}


def file_says_replica(client: Any) -> bool:
    """Whether the configuration file makes the server a replica at its next start; False if it is unreadable."""
    return source_in_file(client) is not None


def source_in_file(client: Any) -> str | None:
    """The address of the source in the configuration file; None if it names none or is unreadable."""
    found = [each for each in _file(client) or [] if each and each[0].lower() in ("replicaof", "slaveof")]
    if not found or len(found[-1]) != 3 or found[-1][1].lower() == "no":
        return None
    return address(found[-1][1].strip('"'), int(found[-1][2]))


def in_file(client: Any, name: str, default: str) -> str | None:
    """The one-word value of an option in the configuration file; None if it is missing or unreadable."""
    if (words := _file(client)) is None:
        return None
    found = [each[1].strip('"') for each in words if len(each) == 2 and each[0].lower() == name]
    return found[-1] if found else default


def _file(client: Any) -> list[list[str]] | None:
    file = client.info("server").get("config_file")
    try:
        return [line.split() for line in Path(file).read_text(errors="replace").splitlines()] if file else None
    except OSError:
        return None
