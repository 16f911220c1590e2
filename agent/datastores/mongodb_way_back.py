"""The old data of a resync that failed: put back, started, and seen to serve as before."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.datastores import mongodb_files as files
from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.stop import Stop
from agent.supervisors.base import SupervisorFailed

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class WayBack:
    """The way back from a copy that was begun."""

    here: MongoDB
    service: Supervisor
    directory: Path

    def take(self) -> str:
        """Let the old data serve again. Returns a sentence, which says where the data lies if that fails."""
        if not files.is_under_way(self.directory):
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
        """Nothing was moved yet; the server may have been asked to stop."""
        try:
            if self.service.status(Stop()).stopped:
                self.service.start(Stop())
            return self._served("its data was not touched, and MongoDB runs on it")
        except (DatastoreError, SupervisorFailed) as error:
            return f"its data was not touched, and MongoDB could not be started: {error}"

    def _without_old_data(self) -> str:
        self.service.start(Stop())
        return "the old data was given up by force: MongoDB was started and continues its initial sync by itself"

    def _await_stopped(self) -> None:
        self.service.stop(Stop())
        deadline = time.monotonic() + self.here.settings.timeout
        while not self.service.status(Stop()).stopped:
            if time.monotonic() > deadline:
                raise DatastoreRefused("the service does not stop")
            time.sleep(LOOK_EVERY)

    def _served(self, sentence: str) -> str:
        """The sentence, once MongoDB answers; one that never came up on this data does not now either."""
        deadline = time.monotonic() + self.here.settings.timeout
        while time.monotonic() < deadline:
            try:
                self.here.hello()
            except DatastoreError:
                time.sleep(LOOK_EVERY)
            else:
                return sentence
        return f"the old data is in its place in {self.directory}, and MongoDB does not come up on it: its log says why"

    def _place(self) -> str:
        found = [name for name in (files.EMPTIED, files.EMPTYING) if (self.directory / name).exists()]
        return " and ".join(str(self.directory / name) for name in found) or str(self.directory)


def recover(here: MongoDB, service: Supervisor | None) -> str | None:
    """After a resync that was killed: believe the new data where it follows, else let the old data serve again.

    Returns a sentence; None where there was nothing to do. Raises `DatastoreRefused` where nothing could be done.
    """
    directory = here.data_directory()
    if directory is None or not files.has_leftovers(directory):
        return None
    if not files.is_under_way(directory):
        files.drop_old(directory)
        return None
    if follows(here):
        files.drop_old(directory)
        return "the initial sync had ended well meanwhile: MongoDB follows its set on the new data"
    way_back = WayBack(here, service, directory) if service is not None else None
    if way_back is None:
        raise DatastoreRefused(f"the old data lies in {directory}, and there is no [service] to put it back with")
    return way_back.take()


def follows(here: MongoDB) -> bool:
    """Whether this member says that it has the data of its set."""
    try:
        hello = here.hello()
        return "setName" in hello and bool(hello.get("isWritablePrimary") or hello.get("secondary"))
    except DatastoreError:
        return False
