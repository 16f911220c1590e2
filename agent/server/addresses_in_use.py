"""Tries to listen on the addresses of `api.bind` before gunicorn does, whose errors do not name the option."""

import errno
import os
import socket

from agent.config import Api
from agent.config.addresses import host_of
from agent.errors import AddressTaken, ConfigError
from agent.util.poll import poll

PATIENCE = 5.0
"""Seconds to wait for an ending process to free the address; gunicorn waits as long."""
PASSED_ON = ("LISTEN_FDS", "GUNICORN_FD")
"""Environment variables of sockets that are open already, passed by systemd or by the previous gunicorn."""


def refuse_taken(api: Api) -> None:
    """Raises `AddressTaken` or `ConfigError` if a TCP address cannot be listened on."""
    if any(name in os.environ for name in PASSED_ON):
        return
    for bind in api.bind:
        if (host := host_of(bind)) is not None:
            _try(bind, host, int(bind.rpartition(":")[2]))


def _try(bind: str, host: str, port: int) -> None:
    def free() -> bool:
        return (found := _listen_error(host, port)) is None or found.errno != errno.EADDRINUSE

    if not poll(free, PATIENCE):
        reason = f"another process listens on {bind} (ss -ltnp shows which)"
        raise AddressTaken(f"api.bind: {reason}: stop it, or set another address")
    if (error := _listen_error(host, port)) is not None:
        raise ConfigError(f"api.bind: cannot listen on {bind}: {error.strerror}")


def _listen_error(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            tried.listen()
    except OSError as error:
        return error
    return None
