"""Sends log records with fields to systemd's journal by its native protocol: one datagram for each record.

The protocol is stable and small. The packages `systemd-python` and `cysystemd` do the same, but need a compiler and the
headers of libsystemd on each host.
"""

import errno
import fcntl
import logging
import os
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from agent.log import json_lines
from agent.log.lines import PRIORITIES, Lines, one_line

SOCKET = Path("/run/systemd/journal/socket")
PATIENCE = 1.0
"""Maximum seconds to wait for a busy journal."""
UNCHANGED = ("ACTION_ID", "ACTION_KIND", "ACTION_STATE", "ACTION_USER", "REQUEST_ID", "TRACE_ID")
"""Fields without a prefix. The names of all others begin with AGENT_."""
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Journal(logging.Handler):
    """Sends each record to the journal, or as a line to standard error if the journal does not accept it."""

    def __init__(self) -> None:
        super().__init__()
        self._path = str(SOCKET)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(PATIENCE)
        self._traceback = logging.Formatter()
        self._lines = Lines()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(b"".join(_encoded(name, value) for name, value in self._entry(record)))
        except OSError:
            print(self._lines.format(record), file=sys.stderr, flush=True)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _entry(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", one_line(record.getMessage())
        yield "PRIORITY", PRIORITIES.get(record.levelno, "<7>").strip("<>")
        yield "SYSLOG_IDENTIFIER", "agent"
        yield "CODE_FILE", record.pathname
        yield "CODE_LINE", str(record.lineno)
        yield "CODE_FUNC", record.funcName or ""
        yield "THREAD", record.threadName or threading.current_thread().name
        for name, value in (json_lines.source(record) | json_lines.fields(record)).items():
            upper = name.upper()
            if value is not None:
                yield upper if upper in UNCHANGED else f"AGENT_{upper}", str(value)
        if record.exc_info:
            yield "AGENT_TRACEBACK", self._traceback.formatException(record.exc_info)

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, self._path)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._send_in_memory(entry)

    def _send_in_memory(self, entry: bytes) -> None:
        """Send an entry larger than a datagram as a sealed file in memory."""
        descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(descriptor, "wb", buffering=0) as file:
            file.write(entry)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))
            self._socket.sendmsg([], [rights], 0, self._path)


def _encoded(name: str, value: str) -> bytes:
    """One field, in the form with a length, which allows every value."""
    data = value.encode(errors="backslashreplace")
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
