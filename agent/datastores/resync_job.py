"""The job of `resync_slave_db`: reads the request from standard input, runs it, reports to a file."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agent import config, datastores, supervisors
from agent.datastores.base import DatastoreError
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.resync_report import Report
from agent.datastores.termination import Terminated
from agent.models import Json
from agent.processes.recording import recording
from agent.processes.transcript import Transcript
from agent.supervisors.base import SupervisorFailed


def main() -> int:
    signal.signal(signal.SIGTERM, _terminate)
    document = json.load(sys.stdin)
    transcript = Transcript.of(saved) if (saved := document.pop("transcript", None)) else None
    reports = Reports(Path(document.pop("report")), transcript)
    request = ResyncRequest(**document)
    settings = config.load()
    assert settings.datastore is not None  # the kind is not offered without a datastore
    service = supervisors.of(settings.service) if settings.service else None
    datastore = datastores.of(settings.datastore)
    datastore.node = settings.agent.node
    try:
        with recording(transcript):
            result = datastore.resync(service, ResyncProgress(reports.report), request)
    except (DatastoreError, SupervisorFailed, OSError) as error:
        reports.end(error=str(error))
        return 1
    except Terminated:
        return 128 + signal.SIGTERM
    reports.end(result=result)
    return 0


class Reports:
    """Writes reports to the job's file, and the beginning of each phase to the output of the action."""

    def __init__(self, path: Path, transcript: Transcript | None) -> None:
        self._path, self._transcript = path, transcript
        self._last = Report()

    def report(self, report: Report) -> None:
        if self._transcript is not None and report.phase != self._last.phase:
            self._transcript.say(f"# {report.phase}")
        self._last = report
        report.write(self._path)

    def end(self, *, result: Json = None, error: str | None = None) -> None:
        replace(self._last, result=result, error=error).write_end(self._path)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Raise once: the datastore then restores its old data, and a second signal must not interrupt that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the report is written and the action waits for the exit: skip the slow unload of the driver
