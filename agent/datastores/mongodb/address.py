"""Find this server in a replica set's configuration when the server itself cannot be queried."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent.datastores.mongodb.connection import PORT

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB


def own_address(here: MongoDB, config: Mapping[str, Any]) -> str | None:
    """The member with a host of this machine and the port of `datastore.url`, or None."""
    netloc = urlsplit(here.settings.url).netloc.rpartition("@")[2]
    port = None if "%2F" in netloc.upper() else urlsplit(f"//{netloc}").port or PORT
    found = [str(each["host"]) for each in config.get("members", ()) if _is_here(str(each["host"]), port)]
    return found[0] if len(found) == 1 else None


def _is_here(address: str, port: int | None) -> bool:
    """Whether an address of the host belongs to this machine: only a local address can be bound."""
    parts = urlsplit(f"//{address}")
    if port is not None and (parts.port or PORT) != port:
        return False
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return any(_can_bind(family, str(at[0])) for family, _, _, _, at in found)


def _can_bind(family: int, host: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
