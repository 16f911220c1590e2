"""Limits the number of idempotency keys: each is kept for a day, so a caller could fill the disk with them."""

import threading

from agent import clock
from agent.store import Store
from agent.store.idempotency import Owner

MOST_OF_ONE = 100_000
"""Maximum number of keys of one owner, 70 MB at most."""
MOST = 1_000_000
"""Maximum number of all keys: without authentication a caller chooses the owner."""
COUNTED_AGAIN = 60.0
"""Seconds between two counts in the database while a limit is reached."""
OWNERS = 1000
"""Maximum number of owners with a count in memory."""

OF_ONE = "SELECT count(*) FROM idempotency_keys WHERE source = ? AND owner = ?"
OF_ALL = "SELECT ifnull(max(seq) - min(seq) + 1, 0) FROM idempotency_keys"


class KeyLimit:
    """Counts in memory, as a count in the database takes long. Pruned keys are deducted once a limit is reached."""

    def __init__(self, store: Store, most_of_one: int = MOST_OF_ONE, most: int = MOST) -> None:
        self._store, self._most_of_one, self._most = store, most_of_one, most
        self._lock = threading.Lock()
        self._all: int | None = None
        self._of_one: dict[Owner, int] = {}
        self._again = 0.0

    def reason(self, owner: Owner) -> str:
        """Why this owner may not store another key; empty if it may. Raises `StoreUnavailable`."""
        with self._lock:
            if (reason := self._reason(owner)) and clock.monotonic() >= self._again:
                self._all = None
                self._of_one.clear()
                self._again = clock.monotonic() + COUNTED_AGAIN
                reason = self._reason(owner)
            return reason

    def added(self, owner: Owner) -> None:
        """Count a new key of this owner."""
        with self._lock:
            if self._all is not None:
                self._all += 1
            if owner in self._of_one:
                self._of_one[owner] += 1

    def _reason(self, owner: Owner) -> str:
        if self._all is None:
            self._all = int(self._store.read(OF_ALL)[0][0])
        if owner not in self._of_one:
            if len(self._of_one) >= OWNERS:
                self._of_one.clear()
            self._of_one[owner] = int(self._store.read(OF_ONE, owner)[0][0])
        if self._of_one[owner] >= self._most_of_one:
            return f"{self._most_of_one} Idempotency-Keys of {owner.user or 'hooks'} are kept, each for 24 hours"
        return f"{self._most} Idempotency-Keys are kept, each for 24 hours" if self._all >= self._most else ""
