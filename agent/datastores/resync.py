"""The job of `resync_slave_db`: rebuilds this node's datastore, and prints a JSON object a line of how it goes."""

import json
import signal
import sys

from agent import config, datastores, supervisors
from agent.datastores.base import DatastoreError
from agent.supervisors.base import SupervisorFailed


def main() -> int:
    # Ended, it takes the command along that it waits for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = config.load()
    assert settings.datastore is not None  # the kind is not offered without
    service = supervisors.of(settings.service) if settings.service else None
    datastore = datastores.of(settings.datastore)
    datastore.node = settings.agent.node
    try:
        result = datastore.resync(service, lambda phase: _tell(phase=phase))
    except (DatastoreError, SupervisorFailed, OSError) as error:
        _tell(error=str(error))
        return 1
    _tell(result=result)
    return 0


def _tell(**said: object) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.exit(main())
