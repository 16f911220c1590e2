"""A resync of one member of a replica set: the decision of the plan, carried out, with a way back.

The gentle ways are MongoDB's own: it catches up, or rewinds. A copy is the initial sync of a member with an empty data
directory; the old data lies beside the new until this member follows its set, and is put back after any failure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.datastores import mongodb_files as files
from agent.datastores import mongodb_membership as membership
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, Terminated
from agent.datastores.mongodb_decide import Decision, accepted, decide, of_silent
from agent.datastores.mongodb_sync import InitialSync
from agent.datastores.mongodb_way_back import WayBack, recover
from agent.datastores.requests import ResyncRequest
from agent.plan import discards_as_json
from agent.stop import Stop
from agent.supervisors.base import SupervisorFailed

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB
    from agent.datastores.progress import Progress
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.2


class Resync:
    """One resync; `datastore.timeout` is how many seconds it may see nothing move."""

    def __init__(self, here: MongoDB, service: Supervisor | None, progress: Progress, stop: Stop) -> None:
        self.here, self.service, self.progress, self.stop = here, service, progress, stop
        self.patience = here.settings.timeout

    def run(self, request: ResyncRequest) -> dict[str, Any]:
        """Returns the members of the result. Raises `DatastoreError` with the world as it was, or saying what is."""
        self._put_old_data_back()
        decision = accepted(self._decided(request))
        assert decision.primary is not None  # of every plan that is not a refusal
        discarded = discards_as_json(decision.plan.discards)
        told = {"primary": decision.primary.address, "method": decision.method, "discarded": discarded}
        if decision.method == "none":
            self._drop_what_is_left()
        elif decision.copy is None:
            self._await_mongodb(decision)
            self._drop_what_is_left()
        else:
            self._copy(decision, decision.copy.directory)
        return told

    def _decided(self, request: ResyncRequest) -> Decision:
        """Of a server that does not come up only what other members say is known."""
        if not self._comes_up():
            return of_silent(self.here, self.service, request)
        return decide(self.here, self.service, request)

    def _put_old_data_back(self) -> None:
        """An earlier resync ended half way: what it set aside may be whole and able to catch up."""
        directory = self.here.data_directory()
        if directory is not None and files.is_under_way(directory) and self.here.is_dirty():
            self.progress("putting the old data back")
            with suppress(DatastoreRefused):  # nothing is left to put back: the decision sees that
                recover(self.here, self.service)

    def _drop_what_is_left(self) -> None:
        directory = self.here.data_directory()
        if directory is not None and files.has_leftovers(directory):
            self.progress("deleting the old data")
            files.drop_old(directory)

    def _comes_up(self) -> bool:
        """Start the server where it is down, and wait until it knows its set."""
        if not self.here.is_up():
            if self.service is None:
                raise DatastoreRefused(f"MongoDB at {self.here.address} is down, and there is no [service] to start it")
            self.progress("starting MongoDB")
            self.service.start(self.stop)
        deadline = time.monotonic() + self.patience
        while not self._knows_its_set():
            if self.stop.requested or time.monotonic() > deadline:
                return self.here.is_up()
            self.stop.wait(LOOK_EVERY)
        return True

    def _knows_its_set(self) -> bool:
        """A member that has just started is in no set for a moment; one that is of none never will be."""
        with suppress(DatastoreError):
            hello = self.here.hello()
            return "setName" in hello or not hello.get("isreplicaset") or self._was_removed()
        return False

    def _was_removed(self) -> bool:
        with suppress(DatastoreError):
            return "config" in self.here.command("replSetGetConfig")
        return False

    # The gentle ways

    def _await_mongodb(self, decision: Decision) -> None:
        """Let MongoDB do what it does by itself, and wait while something moves."""
        primary = decision.primary
        assert primary is not None
        if decision.join:
            self.progress(f"joining the set {primary.state.set_name}")
            self._join(decision)
        self.progress({"copy": "copying the data", "rewind": "rewinding"}.get(decision.method, "catching up"))
        sync = InitialSync(self.here, self.service, self.progress, self.stop, decision)
        try:
            sync.await_following()
        except (DatastoreError, Terminated) as error:
            left = self._left_again(decision)
            why = "cancelled" if isinstance(error, Terminated) else str(error)
            raise DatastoreRefused("; ".join(filter(None, (why, left, "nothing was stopped or deleted")))) from None
        if decision.join:
            self._give_vote(decision)

    def _join(self, decision: Decision) -> None:
        assert decision.primary is not None
        kept = membership.kept_member(self.here.data_directory())
        membership.join(decision.primary.server, decision.me, kept, self.patience, self.stop)

    def _give_vote(self, decision: Decision) -> None:
        assert decision.primary is not None
        kept = membership.kept_member(self.here.data_directory())
        membership.give_vote(decision.primary.server, decision.me, kept, self.patience, self.stop)

    def _left_again(self, decision: Decision) -> str | None:
        """Take back that this server joined, where it did."""
        if not decision.join or decision.primary is None:
            return None
        try:
            membership.take_out(decision.primary.server, decision.me, self.patience, self.stop)
        except DatastoreError as error:
            return f"this server joined the set without a vote and stays in it: {error}"
        return "this server was taken out of the set again"

    # The copy

    def _copy(self, decision: Decision, directory: Path) -> None:
        assert self.service is not None and decision.copy is not None  # or the plan had refused
        way_back = WayBack(self.here, self.service, directory)
        try:
            self._make_copy(decision, directory, self.service)
        except (DatastoreError, SupervisorFailed, OSError) as error:
            raise DatastoreRefused(self._after(str(error), decision, way_back)) from error
        except Terminated:
            raise DatastoreRefused(self._after("cancelled", decision, way_back)) from None
        self.progress("deleting the old data")
        files.drop_old(directory)
        if decision.join:
            self._give_vote(decision)

    def _make_copy(self, decision: Decision, directory: Path, service: Supervisor) -> None:
        assert decision.copy is not None
        self.progress("stopping MongoDB")
        service.stop(Stop())
        self._await(lambda: service.status(Stop()).stopped, "the service does not stop")
        self.progress("setting the old data aside")
        files.set_aside(directory)
        if not decision.copy.keep_old:
            files.give_up_old(directory)
        self.progress("starting MongoDB")
        service.start(Stop())
        self._await(self._answers, "MongoDB does not come up with an empty data directory")
        if decision.join:
            self._join(decision)
        self.progress("copying the data")
        InitialSync(self.here, service, self.progress, self.stop, decision).await_following()

    def _after(self, why: str, decision: Decision, way_back: WayBack) -> str:
        return "; ".join(filter(None, (why, self._left_again(decision), way_back.take())))

    def _answers(self) -> bool:
        with suppress(DatastoreUnreachable):
            return bool(self.here.hello())
        return False

    def _await(self, fact: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + self.patience
        while not fact():
            if time.monotonic() > deadline:
                raise DatastoreUnreachable(otherwise)
            self.stop.wait(LOOK_EVERY)
