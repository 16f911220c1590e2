"""Check on a plain socket whether a PostgreSQL answers at an address.

libpq's PQping is not used: the driver holds the GIL during the call, which blocks all threads of this process.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping
from contextlib import closing
from enum import Enum
from typing import Any

PROTOCOL = 3 << 16
DEFAULT_PORT = 5432
DEFAULT_SOCKETS = ("/var/run/postgresql", "/tmp")
CANNOT_CONNECT_NOW = b"C57P03\0"
ERROR, AUTHENTICATION, NEGOTIATION = b"E", b"R", b"v"
LONGEST = 8192
NOT_LISTENING = (errno.ECONNREFUSED, errno.ENOENT)


class PingAnswer(Enum):
    """The result of the first message of a connection."""

    ACCEPTS = "accepts"
    REJECTS = "rejects"
    NOT_LISTENING = "not listening"
    SILENT = "silent"


def ping(params: Mapping[str, Any], timeout: float) -> PingAnswer:
    """The best answer of the hosts in libpq's `params`; each host may take `timeout` seconds.

    `ACCEPTS`: also if it refuses this login. `REJECTS`: it is starting, stopping or recovering. `NOT_LISTENING`:
    the port or socket is closed. `SILENT`: no answer in time.
    """
    answers = {_ping(host, port, str(params.get("user") or "agent"), timeout) for host, port in _places(params)}
    order = (PingAnswer.ACCEPTS, PingAnswer.REJECTS, PingAnswer.SILENT, PingAnswer.NOT_LISTENING)
    return min(answers, key=order.index)


def _places(params: Mapping[str, Any]) -> list[tuple[str, int]]:
    hosts = str(params.get("hostaddr") or params.get("host") or "").split(",")
    if hosts == [""]:
        hosts = list(DEFAULT_SOCKETS)
    ports = [int(each or DEFAULT_PORT) for each in str(params.get("port") or "").split(",")]
    return list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))


def _ping(host: str, port: int, user: str, timeout: float) -> PingAnswer:
    try:
        with closing(_opened(host, port, timeout)) as connection:
            connection.sendall(_startup(user))
            kind, body = _message(connection)
    except OSError as error:
        return PingAnswer.NOT_LISTENING if error.errno in NOT_LISTENING else PingAnswer.SILENT
    if kind == ERROR:
        return PingAnswer.REJECTS if CANNOT_CONNECT_NOW in body else PingAnswer.ACCEPTS
    return PingAnswer.ACCEPTS if kind in (AUTHENTICATION, NEGOTIATION) else PingAnswer.SILENT


def _opened(host: str, port: int, timeout: float) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(f"{host}/.s.PGSQL.{port}")
    except OSError:
        connection.close()
        raise
    return connection


def _startup(user: str) -> bytes:
    """The startup message of a client, which has no type byte."""
    body = struct.pack("!I", PROTOCOL) + b"user\0" + user.encode() + b"\0database\0postgres\0\0"
    return struct.pack("!I", len(body) + 4) + body


def _message(connection: socket.socket) -> tuple[bytes, bytes]:
    """Type and body of the server's first message; empty if it closes the connection."""
    head = _read(connection, 5)
    if len(head) < 5:
        return b"", b""
    return head[:1], _read(connection, min(LONGEST, struct.unpack("!I", head[1:])[0] - 4))


def _read(connection: socket.socket, amount: int) -> bytes:
    found = b""
    while len(found) < amount and (more := connection.recv(amount - len(found))):
        found += more
    return found
