"""A TCP connection made inside another process's network namespace."""

from __future__ import annotations

import ctypes
import http.client
import os
import socket
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000


def connect_inside(pid: int, address: tuple[str, int], timeout: float = 10) -> socket.socket:
    """Connect to `address` in the network namespace of `pid`; the socket is usable here. Needs root."""

    def connect() -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(namespace, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"entering the network of pid {pid}")
        finally:
            os.close(namespace)
        return socket.create_connection(address, timeout)

    # a separate thread: only this thread changes its namespace, and it ends after one connection
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(connect).result()


class InsideConnection(http.client.HTTPConnection):
    """HTTP to a server on the loopback address of another network namespace."""

    def __init__(self, pid: int, port: int, timeout: float = 10) -> None:
        super().__init__("127.0.0.1", port, timeout=timeout)
        self._pid = pid

    def connect(self) -> None:
        """Connect inside instead of here."""
        self.sock = connect_inside(self._pid, (self.host, self.port), self.timeout or 10)
