"""The job of `resync_slave_db`: rebuilds this node's datastore, and prints a JSON object a line of how it goes."""

import json
import signal
import sys
from collections import Counter
from collections.abc import Callable

from agent import config, datastores, supervisors
from agent.datastores.base import DatastoreError
from agent.supervisors.base import SupervisorFailed

FREELY = 12
"""How often a phase is told before it is thinned out: enough for its tenths."""


def main() -> int:
    # Ended, it takes the command along that it waits for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = config.load()
    assert settings.datastore is not None  # the kind is not offered without
    service = supervisors.of(settings.service) if settings.service else None
    datastore = datastores.of(settings.datastore)
    datastore.node = settings.agent.node
    try:
        result = datastore.resync(service, Progress(lambda phase: _tell(phase=phase)))
    except (DatastoreError, SupervisorFailed, OSError) as error:
        _tell(error=str(error))
        return 1
    _tell(result=result)
    return 0


class Progress:
    """What a datastore says of its resync, thinned out: each word that is told is a line of the action's history.

    A phase that goes on and on, or comes again and again, is told some times and then the 16th, the
    32nd, the 64th …: some 20 lines, however long it takes.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._said: Counter[str] = Counter()

    def __call__(self, said: str) -> None:
        name = phase_of(said)
        self._said[name] += 1
        count = self._said[name]
        if count <= FREELY or count.bit_count() == 1:
            self._tell(said)


def phase_of(said: str) -> str:
    """The name of a phase; how far it is stands behind it after a colon."""
    return said.partition(": ")[0]


def _tell(**said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.exit(main())
