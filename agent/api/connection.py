"""The connection that a request came by, as the kernel knows it."""

import socket
from collections.abc import Mapping
from typing import Any

SOCKET = "gunicorn.socket"
"""Where gunicorn puts the connection into the WSGI environment: no header can be of this name."""


def is_unix(environ: Mapping[str, Any]) -> bool:
    """Whether the request came by a unix socket."""
    return unix_socket(environ) is not None


def unix_socket(environ: Mapping[str, Any]) -> socket.socket | None:
    """The unix connection of the request; None for every other."""
    found = environ.get(SOCKET)
    return found if isinstance(found, socket.socket) and found.family == socket.AF_UNIX else None
