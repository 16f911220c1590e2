"""Wait until one member follows its set, measure the progress, and stop if no more data can arrive."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mongodb import files
from agent.datastores.mongodb.member import MemberState, look
from agent.util.pauses import Pauses
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb.decide import Decision
    from agent.datastores.mongodb.server import MongoDB
    from agent.datastores.progress import ResyncProgress
    from agent.supervisors.base import Supervisor

LOOK_AT_SOURCES_EVERY = 2.0


class InitialSync:
    """Waits until this member is a secondary and receives: after a copy, a rewind or a catch-up."""

    def __init__(
        self, here: MongoDB, service: Supervisor | None, progress: ResyncProgress, stop: Stop, decision: Decision
    ) -> None:
        self.here, self.service, self.progress, self.stop = here, service, progress, stop
        assert decision.primary is not None
        self.decision, self.primary = decision, decision.primary
        self.patience = here.settings.timeout
        self.moved = time.monotonic()
        self.seen: dict[str, Any] = {}
        self.checked_sources = 0.0

    def await_following(self) -> None:
        """Raises `DatastoreError` if the server ended, is in another set, or made no progress for too long."""
        pauses = Pauses()
        while not self._follows():
            self._check_runs()
            self._check_moves()
            if self.stop.requested:
                raise DatastoreRefused(f"ended while it catches up: {self.stop.reason}")
            self.stop.wait(pauses.next())

    def _follows(self) -> bool:
        """Whether it is a secondary of the expected set, and receives or has everything that the primary had."""
        hello: dict[str, Any] = {}
        with suppress(DatastoreError):
            hello = self.here.hello()
        self._note("hello", (hello.get("setName"), hello.get("secondary"), hello.get("lastWrite", {}).get("opTime")))
        if not (hello.get("secondary") or hello.get("isWritablePrimary")) or "setName" not in hello:
            self._measure()
            return False
        with suppress(DatastoreError):
            return self._is_following(look(self.here), hello)
        return False

    def _is_following(self, state: MemberState, hello: dict[str, Any]) -> bool:
        if state.set_id != self.primary.state.set_id:
            raise DatastoreRefused(f"this server is in another replica set now: its id is {state.set_id}")
        self._note("position", (state.state, str(state.optime)))
        if hello.get("isWritablePrimary") or state.source is not None:
            return True
        had = self.primary.state.optime
        return had is not None and state.optime is not None and had <= state.optime

    def _measure(self) -> None:
        """Report the progress in bytes, from mongod; before mongod has users, from the size of the files."""
        if self.decision.method != "copy":
            return
        with suppress(DatastoreError):
            status = self.here.command("replSetGetStatus", initialSync=1).get("initialSyncStatus", {})
            if total := status.get("approxTotalDataSize"):
                done = int(status.get("approxTotalBytesCopied", 0))
                self._note("bytes", done)
                self.progress.measure(done, int(total))
                return
        if (copy := self.decision.copy) is not None:
            done = files.size(*files.data_of(copy.directory))
            self._note("bytes", done)
            self.progress.measure(done, copy.bytes or None)

    def _check_runs(self) -> None:
        if self.service is not None and self.service.status(Stop()).stopped:
            raise DatastoreRefused("MongoDB exited before it followed its set: see its log")

    def _check_moves(self) -> None:
        """Raises `DatastoreUnreachable` if no more data can arrive.

        A copy has no timeout while a source is reachable: it may build indexes for long without copying a byte.
        """
        now = time.monotonic()
        if now < self.moved + self.patience:
            return
        if self.decision.method == "follow" or self.decision.method == "rewind":
            raise DatastoreUnreachable(self._why_stalled())
        if now < self.checked_sources + LOOK_AT_SOURCES_EVERY:
            return
        self.checked_sources = now
        if not self._is_in_set():
            raise DatastoreUnreachable("no member of the set has contacted MongoDB: it has no configuration of a set")
        if not self._has_source():
            raise DatastoreUnreachable("no other member of the set with the data is reachable any more")

    def _is_in_set(self) -> bool:
        with suppress(DatastoreError):
            return "setName" in self.here.hello()
        return False

    def _has_source(self) -> bool:
        for member in self.primary.state.members:
            if member.address == self.decision.me:
                continue
            with suppress(DatastoreError):
                hello = self.here.member(member.address).hello()
                if hello.get("isWritablePrimary") or hello.get("secondary"):
                    return True
        return False

    def _why_stalled(self) -> str:
        """The reason why it does not receive, as reported by mongod."""
        with suppress(DatastoreError):
            state = look(self.here)
            own: dict[str, Any] = next((each for each in state.status.get("members", ()) if each.get("self")), {})
            message = own.get("infoMessage") or own.get("lastHeartbeatMessage")
            reason = f": {message}" if message else ""
            return f"this member is in the state {state.state} and receives nothing{reason}"
        return f"MongoDB at {self.here.address} does not answer"

    def _note(self, what: str, seen: Any) -> None:
        """Record the time of the last change of the facts."""
        if what not in self.seen or self.seen[what] != seen:
            self.seen[what], self.moved = seen, time.monotonic()
