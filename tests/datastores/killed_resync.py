"""A resync of PostgreSQL in a process that kills itself as a phase begins: `CONFIG PHASE`, request on stdin."""

from __future__ import annotations

import json
import os
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any

from agent import config, datastores, supervisors
from agent.datastores.progress import Progress
from agent.datastores.requests import ResyncRequest


def main(path: str, phase: str) -> None:
    def report(state: dict[str, Any]) -> None:
        if state["phase"] == phase:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = config.parse(tomllib.loads(Path(path).read_text()))
    assert settings.datastore and settings.service
    datastore = datastores.of(settings.datastore)
    datastore.resync(supervisors.of(settings.service), Progress(report), ResyncRequest(**json.load(sys.stdin)))


if __name__ == "__main__":
    main(*sys.argv[1:])
