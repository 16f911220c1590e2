"""Clients of a replicated set: one writes to the server that accepts writes, one reads from any."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol, Self

NUMBERS = itertools.count(1)
"""Shared by all writers: the refusal of a repeated number would look like a time without a primary."""


class Session(Protocol):
    """A connection to one server; each call raises any error of the driver."""

    def write(self, number: int) -> None:
        """Return once the server has acknowledged it."""

    def read(self) -> None:
        """Read any of the written rows."""

    def close(self) -> None:
        """May raise."""


class Datastore(Protocol):
    """The interface of a datastore for the clients."""

    def connect(self, address: str) -> Session:
        """Connect within a second."""


class Clients:
    """A writer and a reader, running inside `with`. `addresses` are the addresses of the servers."""

    def __init__(self, datastore: Datastore, addresses: Mapping[str, str]) -> None:
        self.datastore, self.addresses = datastore, list(addresses.values())
        self.acknowledged: list[int] = []
        self.sessions = 0  # those that wrote
        self.longest_gap, self.reads, self.reads_failed_on_all = 0.0, 0, 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._write, self._read)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        last = time.monotonic()
        while not self._over.is_set():
            for address in self.addresses:
                with suppress(Exception):
                    session, wrote = self.datastore.connect(address), 0
                    try:
                        while not self._over.wait(0.02):
                            session.write(number := next(NUMBERS))
                            self.sessions, wrote = self.sessions + (not wrote), 1
                            now = time.monotonic()
                            self.longest_gap, last = max(self.longest_gap, now - last), now
                            self.acknowledged.append(number)
                    finally:
                        session.close()
            self._over.wait(0.02)

    def _read(self) -> None:
        while not self._over.wait(0.05):
            self.reads += 1
            if not any(self._read_from(address) for address in self.addresses):
                self.reads_failed_on_all += 1

    def _read_from(self, address: str) -> bool:
        try:
            session: Any = self.datastore.connect(address)
            try:
                session.read()
            finally:
                session.close()
        except Exception:
            return False
        return True
