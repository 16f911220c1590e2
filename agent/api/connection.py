"""The connection of a request, and the user at the other end of a unix socket."""

import grp
import os
import pwd
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agent.errors import Unauthenticated

SOCKET = "gunicorn.socket"
"""Key of the connection in the WSGI environment of gunicorn; no header can set it."""
CREDENTIALS = struct.Struct("3i")
"""Pid, uid and gid of the peer, from the kernel."""


@dataclass(frozen=True)
class UnixPeer:
    """A user of this host and its present groups."""

    user: str
    groups: tuple[str, ...]


def is_unix(environ: Mapping[str, Any]) -> bool:
    """Whether the request came by a unix socket."""
    return _unix_socket(environ) is not None


def peer(environ: Mapping[str, Any]) -> UnixPeer:
    """The user whose process connected to the unix socket. Raises `Unauthenticated` for a uid without a name."""
    found = _unix_socket(environ)
    assert found is not None
    _, uid, _ = CREDENTIALS.unpack(found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        raise Unauthenticated(f"the user id {uid} has no name on this host") from None
    # The present groups of the user, not those of the process, which may have started months ago.
    return UnixPeer(user.pw_name, tuple(_names(os.getgrouplist(user.pw_name, user.pw_gid))))


def end_with_this_answer(found: socket.socket) -> None:
    """Close the connection after this answer by ending its input; gunicorn ignores a header for this."""
    with suppress(OSError):
        # Not `SSLSocket.shutdown`: it would end the encryption, which the answer still needs.
        socket.socket.shutdown(found, socket.SHUT_RD)


def _unix_socket(environ: Mapping[str, Any]) -> socket.socket | None:
    found = environ.get(SOCKET)
    return found if isinstance(found, socket.socket) and found.family == socket.AF_UNIX else None


def _names(gids: list[int]) -> list[str]:
    names = []
    for gid in gids:
        with suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    return names
