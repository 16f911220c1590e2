"""A resync of one member of a replica set: emptied, it makes an initial sync, as a new member does.

While it lasts its old files lie in a directory among the new ones, which is also the mark that the
data is not whole. They are deleted when the member is a secondary again. A mark that was left counts for
nothing where the member has the data: its initial sync goes on without us.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.hosts import files
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB
    from agent.supervisors.base import Supervisor

EMPTYING = "agent-resync-emptying"
EMPTIED = "agent-resync-old"
LOOK_EVERY = 0.5
HAS_DATA = ("PRIMARY", "SECONDARY")


def is_under_way(directory: Path) -> bool:
    """Whether a resync began and has not ended well; none did where we may not look."""
    return any(os.path.exists(directory / name) for name in (EMPTYING, EMPTIED))


def has_data(here: MongoDB) -> bool:
    """Whether it says that it is a primary or a secondary of a set."""
    with suppress(DatastoreError):
        hello = here.hello()
        return "setName" in hello and bool(hello.get("isWritablePrimary") or hello.get("secondary"))
    return False


class Resync:
    """One resync. All it does can be done again."""

    def __init__(self, here: MongoDB, service: Supervisor | None, progress: Callable[[str], None]) -> None:
        self.here = here
        self.progress = progress
        self.patience = here.settings.timeout
        if service is None:
            raise DatastoreRefused("set [service]: MongoDB is stopped and started for a resync")
        self.service = service

    def run(self) -> dict[str, Any]:
        directory = self._directory()
        if not self.here.is_dirty():
            self._check_source()
        self.progress("stopping MongoDB")
        self.service.stop(Stop())
        self._await(lambda: self.service.status(Stop()).stopped, "the service does not stop")
        self.progress("emptying the data directory")
        empty(directory)
        self.progress("starting MongoDB")
        self.service.start(Stop())
        self._await(self._answers, "MongoDB does not come up with an empty data directory")
        self._await_sync()
        self.progress("deleting the old data")
        shutil.rmtree(directory / EMPTIED)
        return {"primary": self.here.hello().get("primary")}

    def _directory(self) -> Path:
        directory = self.here.data_directory()
        if directory is None:
            raise DatastoreRefused("set datastore.data_directory: MongoDB does not tell where its data lies")
        if not any((directory / name).exists() for name in ("WiredTiger", EMPTYING, EMPTIED)):
            raise DatastoreRefused(f"datastore.data_directory, {directory}, holds no data of MongoDB")
        return directory

    def _check_source(self) -> None:
        """Raise where no other member is known to have the data."""
        try:
            self._bring_up()
        except DatastoreUnreachable:
            self._ask_primary()
            return
        members = self.here.command("replSetGetStatus")["members"]
        others = [each for each in members if not each.get("self")]
        if not any(each["health"] == 1 and each["stateStr"] in HAS_DATA for each in others):
            raise DatastoreRefused("no other member of the set has the data and can be reached")

    def _bring_up(self) -> None:
        if not self.here.is_up():
            self.progress("starting MongoDB, to ask for its set")
            self.service.start(Stop())
            self._await(self._answers, "MongoDB does not come up")

    def _ask_primary(self) -> None:
        primary = self.here.primary
        if primary is None:
            raise DatastoreRefused("MongoDB does not come up: set datastore.primary, who can tell that it has the data")
        if not primary.hello()["isWritablePrimary"]:
            raise DatastoreRefused(f"datastore.primary, {primary.address}, is no primary")

    def _await_sync(self) -> None:
        """Await that it is a secondary; it is given all the time that it runs."""
        self._await(lambda: "setName" in self._hello(), "no member of a set has come in touch with MongoDB")
        told = ""
        while True:
            hello = self._hello()
            if hello.get("secondary") or hello.get("isWritablePrimary"):
                return
            if self.service.status(Stop()).stopped:
                raise DatastoreRefused("MongoDB has ended in the middle of its initial sync: its log says why")
            if (phase := self._phase()) != told:
                self.progress(told := phase)
            time.sleep(LOOK_EVERY)

    def _phase(self) -> str:
        """How far it is, by the tenth; it may have no users yet who can ask."""
        with suppress(DatastoreError):
            status = self.here.command("replSetGetStatus", initialSync=1).get("initialSyncStatus", {})
            if total := status.get("approxTotalDataSize"):
                tenths = int(10 * status.get("approxTotalBytesCopied", 0) / total)
                return f"copying the data: {10 * tenths} % of {total} bytes"
        return "copying the data"

    def _hello(self) -> dict[str, Any]:
        with suppress(DatastoreError):
            return self.here.hello()
        return {}

    def _answers(self) -> bool:
        return bool(self._hello())

    def _await(self, fact: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + self.patience
        while not fact():
            if time.monotonic() > deadline:
                raise DatastoreUnreachable(otherwise)
            time.sleep(LOOK_EVERY)


def empty(directory: Path) -> None:
    """Set aside what is there; begun anew, go on with that, or delete what a sync since then has copied."""
    emptying, emptied = directory / EMPTYING, directory / EMPTIED
    if emptied.exists():
        for entry in directory.iterdir():
            if entry != emptied:
                _delete(entry)
        return
    emptying.mkdir(mode=0o700, exist_ok=True)
    files.sync(directory)
    for entry in directory.iterdir():
        if entry == emptying:
            continue
        if (emptying / entry.name).exists():
            # Of a server that somebody started on what was left when an earlier resync ended half way.
            _delete(entry)
        else:
            entry.rename(emptying / entry.name)
    files.sync(emptying)
    emptying.rename(emptied)
    files.sync(directory)


def _delete(entry: Path) -> None:
    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
