"""A server that stops in the middle of an answer and keeps the connection open."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.servers.process import await_that, free_port, start_process, stop_pid

CHUNK = 65536


@contextmanager
def stalling(repository: Path, after: int) -> Iterator[str]:
    """Yields the address of the repository at a git server whose answers stall."""
    port = free_port()
    argv = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", f"--base-path={repository.parent}"]
    daemon = start_process(argv, repository.parent / "git-daemon.log")
    try:
        with stalled(port, after) as proxy:
            await_that(lambda: _answers(port), what="git daemon")
            yield f"git://127.0.0.1:{proxy}/{repository.name}"
    finally:
        stop_pid(daemon.pid)
        daemon.wait()


@contextmanager
def stalled(port: int, after: int) -> Iterator[int]:
    """Another port of the server at `port`: each connection gets so many bytes and then none, while it stays open."""
    proxy = socket.create_server(("127.0.0.1", 0))
    accepting = threading.Thread(target=_accept, args=(proxy, port, after))
    accepting.start()
    try:
        yield proxy.getsockname()[1]
    finally:
        with suppress(OSError):
            proxy.shutdown(socket.SHUT_RDWR)
        proxy.close()
        accepting.join()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _accept(proxy: socket.socket, port: int, after: int) -> None:
    serving = []
    with suppress(OSError):
        while True:
            client, _ = proxy.accept()
            serving.append(threading.Thread(target=_serve, args=(client, port, after)))
            serving[-1].start()
    for thread in serving:
        thread.join()


def _serve(client: socket.socket, port: int, after: int) -> None:
    """Serve until the client disconnects."""
    with client, socket.create_connection(("127.0.0.1", port)) as server, suppress(OSError):
        asking = threading.Thread(target=_pass_on, args=(server, client, after))
        asking.start()
        _pass_on(client, server, None)
        server.shutdown(socket.SHUT_RDWR)
        asking.join()


def _pass_on(source: socket.socket, target: socket.socket, most: int | None) -> None:
    with suppress(OSError):
        while (most is None or most > 0) and (data := source.recv(CHUNK)):
            target.sendall(data[:most])
            most = None if most is None else most - len(data)
