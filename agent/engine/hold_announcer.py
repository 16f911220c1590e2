"""Announces each hold of an action, once for each reason, by a log line, an event and callbacks."""

from dataclasses import replace

from agent import clock, log
from agent.engine.holds import Holds
from agent.store import Store, announced_holds

CHECK_AGAIN = 60.0
"""Seconds between two checks of all waiting actions: the time or an approval may change a reason too."""


class HoldAnnouncer:
    """Checks new actions; all of them after a change of maintenance mode or a window. Used by one thread at a time."""

    def __init__(self, store: Store, holds: Holds) -> None:
        self._store = store
        self._holds = holds
        self._tag: str | None = None
        self._checked_all = 0.0
        self._after = 0

    def announce(self) -> bool:
        """Whether anything was announced. Raises `StoreUnavailable`."""
        now, tag = clock.monotonic(), self._holds.tag()
        if tag != self._tag or now - self._checked_all >= CHECK_AGAIN:
            self._after, self._checked_all = 0, now
        found = announced_holds.waiting(self._store, self._after)
        reasons = [(each, self._holds.reason(each)) for each in found]
        changed = [replace(each, reason=reason) for each, reason in reasons if reason not in (None, each.reason)]
        announced = announced_holds.announce(self._store, changed) if changed else []
        self._tag = tag
        self._after = max((each.seq for each in found), default=self._after)
        for each in announced:
            log.held(each)
        return bool(announced)
