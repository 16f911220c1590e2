"""The job of `resync_slave_db`: reads its request on standard input and prints a JSON object a line."""

import json
import signal
import sys
from types import FrameType
from typing import NoReturn

from agent import config, datastores, supervisors
from agent.datastores.base import DatastoreError, Terminated
from agent.datastores.progress import Progress, to_stdout
from agent.datastores.requests import ResyncRequest
from agent.supervisors.base import SupervisorFailed


def main() -> int:
    signal.signal(signal.SIGTERM, _terminate)
    request = ResyncRequest(**json.load(sys.stdin))
    settings = config.load()
    assert settings.datastore is not None  # the kind is not offered without
    service = supervisors.of(settings.service) if settings.service else None
    datastore = datastores.of(settings.datastore)
    datastore.node = settings.agent.node
    try:
        result = datastore.resync(service, Progress(to_stdout), request)
    except (DatastoreError, SupervisorFailed, OSError) as error:
        to_stdout({"error": str(error)})
        return 1
    except Terminated:
        return 128 + signal.SIGTERM
    to_stdout({"result": result})
    return 0


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Once: the datastore puts its old data back meanwhile, and a second signal must not interrupt that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
