"""Checks that the audit trail has the events of the stored actions: the chain does not show a removed end."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from agent.models import Json

ACTIONS = "SELECT id, seq, finished_ts IS NOT NULL AS final FROM actions"
SCHEDULED, FINAL = "action.scheduled", "action.final"


class Unseen:
    """The events that the trail must have for the actions stored now, without those already seen."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(ACTIONS).fetchall()
        self._seq = {str(row["id"]): int(row["seq"]) for row in rows}
        self._unseen = {(SCHEDULED, each) for each in self._seq} | {(FINAL, row["id"]) for row in rows if row["final"]}
        self._first: int | None = None

    def among(self, events: Iterable[Mapping[str, Json]]) -> Iterator[Mapping[str, Json]]:
        """Yield the events, and note each as seen."""
        for event in events:
            if self._first is None and event["event"] == SCHEDULED and isinstance(details := event["details"], dict):
                self._first = int(str(details["async_action_id"]))
            self._unseen.discard((str(event["event"]), str(event["action_id"])))
            yield event

    def fault(self) -> str:
        """A sentence about the first missing event, or empty. Actions older than the seen events do not count."""
        first = self._first
        missing = sorted((self._seq[each], name, each) for name, each in self._unseen)
        found = [(name, each) for seq, name, each in missing if first is not None and seq >= first]
        return f"there is no event {found[0][0]} of action {found[0][1]}: events were removed" if found else ""
