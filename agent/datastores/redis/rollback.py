"""Restore the source and the options of a Redis after a failed resync."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError
from agent.datastores.redis import config
from agent.datastores.redis.connection import exceptions
from agent.datastores.redis.state import RedisState, look
from agent.util.pauses import Pauses

if TYPE_CHECKING:
    from agent.datastores.redis.server import Redis

PATIENCE = 45.0
"""Seconds that Redis gets to load a copy or to answer before the rollback is abandoned."""
DISKLESS, FOR_ONE_COPY = "repl-diskless-load", "swapdb"
OPTIONS = ("masteruser", "masterauth", "tls-replication", DISKLESS)


@dataclass(frozen=True, slots=True)
class FormerState:
    """The state to restore. `follow` has the arguments of REPLICAOF; all values can be stored as JSON."""

    source: str | None
    follow: Sequence[str]
    in_step: bool
    history: Mapping[str, int]
    keys: int

    @classmethod
    def of(cls, state: RedisState) -> FormerState:
        follow = (state.info["master_host"], str(state.info["master_port"])) if state.is_replica else ("NO", "ONE")
        return cls(state.source, follow, state.in_step, state.history, state.keys)


@dataclass(frozen=True, slots=True)
class Rollback:
    """Created before the first change. The configuration file is written last, so it is still unchanged."""

    datastore: Redis
    before: FormerState
    options: Mapping[str, str]
    target: str

    @classmethod
    def of(cls, datastore: Redis, target: str) -> Rollback:
        """Undoes the change to `target`, the address of the new source."""
        with datastore.client() as client:
            reset_option(client)
            return cls(datastore, FormerState.of(look(client)), config.get(client, *OPTIONS), target)

    @classmethod
    def of_json(cls, datastore: Redis, stored: Mapping[str, Any]) -> Rollback:
        return cls(datastore, FormerState(**stored["before"]), stored["options"], stored["target"])

    def as_json(self) -> dict[str, Any]:
        """The form to store: without the login, so only for a change that keeps the login."""
        options = {name: value for name, value in self.options.items() if name == DISKLESS}
        return {"before": asdict(self.before), "options": options, "target": self.target}

    def undo(self) -> str:
        """Undo the change; returns a sentence about the state reached. Never raises `DatastoreError`."""
        deadline = time.monotonic() + PATIENCE
        pauses = Pauses()
        while True:
            denied = False
            try:
                if (sentence := self._attempt()) is not None:
                    return sentence
                error = "it is still loading the copy"
            except DatastoreError as refusal:
                error, denied = str(refusal), isinstance(refusal.__cause__, exceptions().NoPermissionError)
            if denied or time.monotonic() > deadline:
                return (
                    f"the previous state of Redis could not be restored ({error}); "
                    "restart Redis: its configuration file is unchanged"
                )
            time.sleep(pauses.next())

    def _attempt(self) -> str | None:
        """One attempt; None while a copy is loading: it is then undecided which data Redis will have."""
        with self.datastore.client() as client:
            now = look(client)
            if now.loading:
                return None
            if now.source == self.target and self._has_new_data(now):
                self.end_of_copy(client)
                kept = config.keep_or_note(client)
                return f"the new data had arrived already: Redis follows {self.target} ({_kept(kept)})"
            config.put(client, self.options)
            if now.source not in (self.target, self.before.source):
                return self.intervention(now)
            if now.source != self.before.source:
                client.replicaof(*self.before.follow)
            return self._restored(look(client))

    def _has_new_data(self, now: RedisState) -> bool:
        """Whether a copy is complete: only a copy brings the primary's replication id.

        The old data is then gone, and a rollback would create a second writable server with the new data.
        """
        was_in_step = self.before.in_step and self.before.source == self.target
        return (now.in_step and not was_in_step) or not set(now.history) & set(self.before.history)

    def intervention(self, now: RedisState) -> str:
        return f"meanwhile another client made Redis follow {now.source or 'no source'}"

    def end_of_copy(self, client: Any) -> None:
        """Reset the option that was set for one copy only."""
        if DISKLESS in self.options:
            config.put(client, {DISKLESS: self.options[DISKLESS]})

    def _restored(self, now: RedisState) -> str:
        role = f"follows {now.source}" if now.is_replica else "follows no source and accepts writes"
        keys = f"with {now.keys} keys" if now.keys == self.before.keys else f"with {now.keys} keys ({self.before.keys})"
        return f"Redis {role} as before, {keys}"


def reset_option(client: Any) -> str | None:
    """Reset the option that a killed job left set for one copy; returns a sentence, or None if unchanged.

    A job sets the option together with a new source, and writes the configuration file after it has reset the option.
    If Redis follows the source in its configuration file, an operator has set the option, and it stays.
    """
    before = config.in_file(client, DISKLESS, "disabled")
    if config.get(client, DISKLESS).get(DISKLESS) != FOR_ONE_COPY or before in (None, FOR_ONE_COPY):
        return None
    if look(client).source == config.source_in_file(client):
        return None
    config.put(client, {DISKLESS: str(before)})
    return f"{DISKLESS} is {before} again"


def _kept(kept: Mapping[str, Any]) -> str:
    return f"kept in {kept['kept_in']}" if kept["kept_in"] else str(kept["note"])
