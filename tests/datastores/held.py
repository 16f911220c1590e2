"""A proxy that holds a chosen request, so that a test can act at this moment."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

BOUND = 65536


class Held:
    """A unix socket in front of the server's socket or port that holds the first request with `word` in it.

    The request is held before the server gets it, or with `answered` after the server carried it out and
    before its answer is passed on. Earlier requests pass; later ones wait until `release`.
    """

    def __init__(self, path: Path, server: Path | int, word: bytes, *, answered: bool = False) -> None:
        self.path, self.server, self.word, self.answered = path, server, word, answered
        self.reached = threading.Event()
        self._met = threading.Event()
        self._released = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink()

    def release(self) -> None:
        """Let all data pass from now on."""
        self._released.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connect()
            threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self.server, int):
            return socket.create_connection(("127.0.0.1", self.server))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self.server))
        return server

    def _pass(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        with suppress(OSError):
            while data := source.recv(BOUND):
                if asking and self.word in data:
                    self._met.set()
                if self._met.is_set() and asking is not self.answered:
                    self.reached.set()
                    self._released.wait(60)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
