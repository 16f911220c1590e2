"""The configuration file of one Redis, into which it writes what was changed while it ran."""

from __future__ import annotations

from typing import Any

FILE = {"kept_in": "the configuration file"}
FORGOTTEN = {"kept_in": None, "note": "Redis was started without a configuration file: at a restart this is forgotten"}


def has_file(client: Any) -> bool:
    return bool(client.info("server").get("config_file"))


def keep(client: Any) -> dict[str, Any]:
    """Let what holds now hold after a restart too, and say where it is kept."""
    if not has_file(client):
        return FORGOTTEN
    client.config_rewrite()
    return FILE
