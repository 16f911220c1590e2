"""Restore the old data of a failed resync, start the server and check that it is in use."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.mongodb import files
from agent.supervisors.base import SupervisorFailed
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB
    from agent.supervisors.base import Supervisor


@dataclass(frozen=True, slots=True)
class Rollback:
    """Undoes a copy that has begun."""

    here: MongoDB
    service: Supervisor
    directory: Path

    def undo(self) -> str:
        """Bring the old data back into use. Returns a sentence, with the location of the data on a failure."""
        if not files.is_in_progress(self.directory):
            return self._as_it_was()
        try:
            self._await_stopped()
            if not files.put_back(self.directory):
                return self._without_old_data()
            self.service.start(Stop())
            return self._served("the old data is back in its place, and MongoDB runs on it")
        except (DatastoreError, SupervisorFailed, OSError) as error:
            return (
                f"the old data could not be put back ({error}): it lies in {self._place()}; "
                "run resync_slave_db again, which puts it back first"
            )

    def _as_it_was(self) -> str:
        """Undo a copy before data was moved: the server may have been stopped."""
        try:
            if self.service.status(Stop()).stopped:
                self.service.start(Stop())
            return self._served("its data was not touched, and MongoDB runs on it")
        except (DatastoreError, SupervisorFailed) as error:
            return f"its data was not touched, and MongoDB could not be started: {error}"

    def _without_old_data(self) -> str:
        self.service.start(Stop())
        return "force has deleted the old data: MongoDB was started and continues its initial sync by itself"

    def _await_stopped(self) -> None:
        self.service.stop(Stop())
        if not poll(lambda: self.service.status(Stop()).stopped, self.here.settings.timeout):
            raise DatastoreRefused("the service does not stop")

    def _served(self, sentence: str) -> str:
        """The sentence if MongoDB answers; otherwise another one, with the location of the old data."""
        if poll(self._answers, self.here.settings.timeout):
            return sentence
        return f"the old data is in its place in {self.directory}, and MongoDB does not start with it: see its log"

    def _answers(self) -> bool:
        with suppress(DatastoreError):
            return bool(self.here.hello())
        return False

    def _place(self) -> str:
        found = [name for name in (files.EMPTIED, files.EMPTYING) if (self.directory / name).exists()]
        return " and ".join(str(self.directory / name) for name in found) or str(self.directory)


def recover(here: MongoDB, service: Supervisor | None) -> str | None:
    """After a killed resync: keep the new data if it follows, otherwise bring the old data back into use.

    Returns a sentence, or None if there was nothing to do. Raises `DatastoreRefused` if nothing could be done.
    """
    directory = here.data_directory()
    if directory is None or not files.has_leftovers(directory):
        return None
    if not files.is_in_progress(directory):
        files.drop_old(directory)
        return None
    if follows(here):
        files.drop_old(directory)
        return "the initial sync had succeeded meanwhile: MongoDB follows its set on the new data"
    if service is None:
        raise DatastoreRefused(f"the old data lies in {directory}, and there is no [service] to put it back with")
    return Rollback(here, service, directory).undo()


def follows(here: MongoDB) -> bool:
    """Whether this member reports that it has the data of its set."""
    try:
        hello = here.hello()
        return "setName" in hello and bool(hello.get("isWritablePrimary") or hello.get("secondary"))
    except DatastoreError:
        return False
