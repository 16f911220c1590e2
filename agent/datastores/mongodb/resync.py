"""Resync one member of a replica set: execute the decision of the plan, and undo it on a failure.

MongoDB itself catches up or rewinds. A copy is the initial sync of a member with an empty data directory; the old
data is kept until this member follows its set, and is restored after any failure.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.mongodb import files, membership
from agent.datastores.mongodb.decide import Decision, accepted, decide, of_silent
from agent.datastores.mongodb.rollback import Rollback, recover
from agent.datastores.mongodb.sync import InitialSync
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.termination import Terminated, complete
from agent.plan import discards_as_json
from agent.supervisors.base import SupervisorFailed
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB
    from agent.datastores.progress import ResyncProgress
    from agent.supervisors.base import Supervisor


class Resync:
    """One resync; `datastore.timeout` is the maximum of seconds without progress."""

    def __init__(self, here: MongoDB, service: Supervisor | None, progress: ResyncProgress, stop: Stop) -> None:
        self.here, self.service, self.progress, self.stop = here, service, progress, stop
        self.patience = here.settings.timeout

    def run(self, request: ResyncRequest) -> dict[str, Any]:
        """Returns the members of the result. After a `DatastoreError` everything is undone, or it has the state."""
        self._put_old_data_back()
        decision = accepted(self._decided(request))
        assert decision.primary is not None  # set in every decision that is not a refusal
        discarded = discards_as_json(decision.plan.discards)
        members = {"primary": decision.primary.address, "method": decision.method, "discarded": discarded}
        if decision.method == "none":
            self._drop_what_is_left()
        elif decision.copy is None:
            self._await_mongodb(decision)
            self._drop_what_is_left()
        else:
            self._copy(decision, decision.copy.directory)
        return members

    def _decided(self, request: ResyncRequest) -> Decision:
        """Decide. For a server that does not start, only the other members can be queried."""
        if not self._comes_up():
            return of_silent(self.here, self.service, request)
        return decide(self.here, self.service, request)

    def _put_old_data_back(self) -> None:
        """Restore the data of an interrupted resync: it may be complete and able to catch up."""
        directory = self.here.data_directory()
        if directory is not None and files.is_in_progress(directory) and self.here.is_dirty():
            self.progress("putting the old data back")
            with suppress(DatastoreRefused):  # nothing to restore: the decision handles this
                recover(self.here, self.service)

    def _drop_what_is_left(self) -> None:
        directory = self.here.data_directory()
        if directory is not None and files.has_leftovers(directory):
            self.progress("deleting the old data")
            files.drop_old(directory)

    def _comes_up(self) -> bool:
        """Start the server if it is down, and wait until it knows its set."""
        if not self.here.is_up():
            if self.service is None:
                raise DatastoreRefused(f"MongoDB at {self.here.address} is down, and there is no [service] to start it")
            self.progress("starting MongoDB")
            self.service.start(self.stop)
        return poll(self._knows_its_set, self.patience, self.stop) or self.here.is_up()

    def _knows_its_set(self) -> bool:
        """Whether the server has its set: shortly after its start it has none; a single server never has one."""
        with suppress(DatastoreError):
            hello = self.here.hello()
            return "setName" in hello or not hello.get("isreplicaset") or self._was_removed()
        return False

    def _was_removed(self) -> bool:
        with suppress(DatastoreError):
            return "config" in self.here.command("replSetGetConfig")
        return False

    # Catch up or rewind

    def _await_mongodb(self, decision: Decision) -> None:
        """Let MongoDB catch up or rewind by itself, and wait while there is progress."""
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
            left = self._leave_again(decision)
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

    def _leave_again(self, decision: Decision) -> str | None:
        """Remove this server from the set again if the resync added it."""
        if not decision.join or decision.primary is None:
            return None
        try:
            membership.take_out(decision.primary.server, decision.me, self.patience, self.stop)
        except DatastoreError as error:
            return f"this server joined the set without a vote and stays in it: {error}"
        return "this server was taken out of the set again"

    # The copy

    def _copy(self, decision: Decision, directory: Path) -> None:
        assert self.service is not None and decision.copy is not None  # otherwise the plan is a refusal
        rollback = Rollback(self.here, self.service, directory)
        try:
            self._make_copy(decision, directory, self.service)
        except (DatastoreError, SupervisorFailed, OSError) as error:
            raise DatastoreRefused(self._undone(str(error), decision, rollback)) from error
        except Terminated:
            raise DatastoreRefused(self._undone("cancelled", decision, rollback)) from None
        self.progress("deleting the old data")
        files.drop_old(directory)
        if decision.join:
            self._give_vote(decision)

    def _make_copy(self, decision: Decision, directory: Path, service: Supervisor) -> None:
        assert decision.copy is not None
        self.progress("stopping MongoDB")
        service.stop(Stop())
        self._await(lambda: service.status(Stop()).stopped, "the service does not stop")
        self.progress("moving the old data aside")
        files.set_aside(directory)
        if not decision.copy.keep_old:
            files.discard_old(directory)
        self.progress("starting MongoDB")
        service.start(Stop())
        self._await(self._answers, "MongoDB does not start with an empty data directory")
        if decision.join:
            self._join(decision)
        self.progress("copying the data")
        InitialSync(self.here, service, self.progress, self.stop, decision).await_following()

    def _undone(self, why: str, decision: Decision, rollback: Rollback) -> str:
        return "; ".join(filter(None, (why, self._leave_again(decision), complete(rollback.undo))))

    def _answers(self) -> bool:
        with suppress(DatastoreUnreachable):
            return bool(self.here.hello())
        return False

    def _await(self, fact: Callable[[], bool], otherwise: str) -> None:
        if not poll(fact, self.patience):
            raise DatastoreUnreachable(otherwise)
