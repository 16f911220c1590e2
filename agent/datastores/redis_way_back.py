"""The way back of a Redis that is led to another primary: what it followed and was configured to before."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.datastores import redis_config
from agent.datastores.base import DatastoreError
from agent.datastores.redis_state import State, look

if TYPE_CHECKING:
    from agent.datastores.redis import Redis

PATIENCE = 45.0
"""Seconds that Redis has to load a copy, or to answer, before the way back is given up."""
LOOK_EVERY = 0.1
DISKLESS = "repl-diskless-load"
OPTIONS = ("masteruser", "masterauth", "tls-replication", DISKLESS)


@dataclass(frozen=True, slots=True)
class WayBack:
    """Made before the first change. The configuration file is written last, so that it is still the old one."""

    datastore: Redis
    before: State
    options: Mapping[str, str]
    target: str

    @classmethod
    def of(cls, datastore: Redis, target: str) -> WayBack:
        """The way back from `target`, the address of the new source."""
        with datastore.client() as client:
            return cls(datastore, look(client), redis_config.get(client, *OPTIONS), target)

    def take(self) -> str:
        """Lead Redis back, and return a sentence about what holds now. Never raises `DatastoreError`."""
        with _uninterrupted():
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    if (said := self._attempt()) is not None:
                        return said
                    error = "it is still loading the copy"
                except DatastoreError as refusal:
                    error = str(refusal)
                if time.monotonic() > deadline:
                    return f"Redis could not be led back ({error}); a restart of Redis does, as its file is unchanged"
                time.sleep(LOOK_EVERY)

    def _attempt(self) -> str | None:
        """None while a copy is loaded: until then it is open which data Redis will have."""
        with self.datastore.client() as client:
            now = look(client)
            if now.loading:
                return None
            if now.source == self.target and self._has_new_data(now):
                self.end_of_copy(client)
                kept = redis_config.keep_or_note(client)
                return f"the new data had arrived already: Redis follows {self.target} ({_kept(kept)})"
            redis_config.put(client, self.options)
            if now.source not in (self.target, self.before.source):
                return f"meanwhile Redis was made to follow {now.source or 'no source'} by another client"
            if now.source != self.before.source:
                client.replicaof(*self._followed())
            return self._restored(look(client))

    def _has_new_data(self, now: State) -> bool:
        """Whether a copy is whole, though its primary may be gone by now: it brings the primary's id alone.

        Then the old data is gone, and to lead back would make a second server that takes writes with the new data.
        """
        was_in_step = self.before.in_step and self.before.source == self.target
        return (now.in_step and not was_in_step) or not set(now.history) & set(self.before.history)

    def end_of_copy(self, client: Any) -> None:
        """Take back the option that holds for one copy alone."""
        if DISKLESS in self.options:
            redis_config.put(client, {DISKLESS: self.options[DISKLESS]})

    def _followed(self) -> tuple[str, str]:
        if not self.before.is_replica:
            return "NO", "ONE"
        return self.before.info["master_host"], str(self.before.info["master_port"])

    def _restored(self, now: State) -> str:
        role = f"follows {now.source}" if now.is_replica else "follows no source and takes writes"
        keys = f"with {now.keys} keys" if now.keys == self.before.keys else f"with {now.keys} keys ({self.before.keys})"
        return f"Redis {role} as before, {keys}"


def _kept(kept: Mapping[str, Any]) -> str:
    return f"kept in {kept['kept_in']}" if kept["kept_in"] else str(kept["note"])


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a request to end wait, so that Redis is not left half way back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
