"""`resync_slave_db`: bring a replica to follow its primary, in a job that outlives the agent."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from marshmallow import fields, validate

import agent
from agent.config import Settings
from agent.datastores.base import DatastoreError
from agent.datastores.requests import ResyncRequest
from agent.hosts.jobs import Exited, Job, Jobs, Lost, lost_if_stopped
from agent.hosts.jobs import Running as JobRunning
from agent.kinds.arguments import Flag
from agent.kinds.base import Kind, Outcome, Running, Step, failed
from agent.kinds.on_datastore import ServerArgs, datastore_of
from agent.kinds.replication import OnReplica, ReplicationResult, check_needs, peer_field
from agent.models import Json
from agent.plan import Danger, Plan
from agent.supervisors.base import SupervisorFailed

PATIENCE = 0.5
"""Seconds that a step waits for the end of the job, until it reports how far the job is."""
END_GRACE = 60.0
"""Seconds for a job that is told to end, to put the old data back."""
MODES = ("auto", "follow", "rewind", "copy")


class ResyncArgs(ServerArgs):
    primary = peer_field(load_default=None)
    mode = fields.String(
        load_default="auto",
        validate=validate.OneOf(MODES),
        metadata={"description": "The way to take; auto: the gentlest one that does."},
    )
    force = Flag(
        load_default=False,
        metadata={"description": "Give up what this server has and its primary lacks; the result says what it was."},
    )
    adopt = fields.String(
        load_default=None,
        validate=validate.Length(1, 255),
        metadata={"description": "The primary's cluster identifier: replace the data of another cluster by its data."},
    )


class ResyncResult(ReplicationResult):
    """The server after a resync."""

    method = fields.String(metadata={"description": "The way that was taken: none, follow, rewind, copy, dump ..."})
    primary = fields.String(metadata={"description": "The address of the primary."})


class Resync(OnReplica):
    """Bring this replica to follow its primary, by the gentlest way that does, and wait until it follows.

    In step: nothing is touched. Pointed elsewhere: it is repointed. Diverged: rewound. Else copied, with the old data
    kept until the new data follows. Refused where this server has data that its primary lacks, unless `force`.
    """

    name = "resync_slave_db"
    args = ResyncArgs
    result = ResyncResult
    needs = "resync"
    danger = Danger.DESTROYS
    configuration = "``[datastore]``; ``[service]`` and options of it where that datastore needs them."
    interruption = (
        "The job continues by itself, and the action with it. If the host went down the action fails, and says "
        "whether the data is whole."
    )
    timeout = 24 * 3600.0

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._jobs_directory = settings.agent.jobs

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        check_needs(settings, datastore_of(settings).resync_needs)
        yield from super().offered(settings)

    def plan_on_datastore(self, args: Any) -> Plan:
        return self.datastore.plan_resync(self.service(), request_of(args))

    def begin(self, step: Step) -> Outcome:
        # The jobs of earlier actions, which are final. Its own stays until then: forgotten before its end is
        # recorded, it would be started once more by an agent that was killed in between.
        self._jobs().forget_ended()
        return super().begin(step)

    def act(self, step: Step) -> Outcome:
        """Start the job once by its name, and find it again by it: also by an agent that was started since."""
        job = self._jobs().start(
            self._job_name(step),
            [sys.executable, "-P", "-m", "agent.datastores.resync"],
            stdin=json.dumps(asdict(request_of(step.args))).encode(),
            env=_environment(),
        )
        return self._look(job, step)

    act_again = act

    def unchanged(self, plan: Plan) -> Outcome:
        return self.done(plan.summary, {"method": "none", "discarded": []})

    def cancel(self, step: Step) -> str | None:
        """End the job, which puts the old data back before it exits; returns the sentence that it left."""
        if (job := self._jobs().find(self._job_name(step))) is None:
            return None
        job.end(END_GRACE)
        reports = _reports(job.look().output)
        return str(reports[-1]["error"]) if reports and "error" in reports[-1] else None

    @classmethod
    def left(cls, payload: Json) -> str:
        phase = payload["phase"]
        return f"it was in the phase {phase}: the server may be stopped and its data not whole, resync it again"

    def _look(self, job: Job, step: Step) -> Outcome:
        status = lost_if_stopped(job.await_end(PATIENCE, step.stop))
        reports = _reports(status.output)
        if isinstance(status, JobRunning):
            return _running(step.payload, reports)
        return self._ended(status, reports)

    def _ended(self, status: Exited | Lost, reports: list[dict[str, Any]]) -> Outcome:
        last = reports[-1] if reports else {}
        if isinstance(status, Exited) and status.ok and "result" in last:
            return self.done("this server follows its primary", last["result"])
        message = "; ".join(filter(None, (_why(status, last), self._recovered())))
        dirty = self.datastore.is_dirty()
        if dirty:
            message = f"{message}; the data is not whole, resync it again"
        return failed(message, dirty=dirty, phase=_state(reports).get("phase"))

    def _recovered(self) -> str | None:
        """What became of the old data of a job that did not put it back itself."""
        try:
            return self.datastore.recover(self.service())
        except (DatastoreError, SupervisorFailed, OSError) as error:
            return str(error)

    def _jobs(self) -> Jobs:
        return Jobs(self._jobs_directory)

    def _job_name(self, step: Step) -> str:
        return f"resync-{step.action.id}"


def request_of(args: dict[str, Any]) -> ResyncRequest:
    return ResyncRequest(primary=args["primary"], mode=args["mode"], force=args["force"], adopt=args["adopt"])


def _environment() -> dict[str, str]:
    """Ours, so that the job reads the same configuration, and with the package wherever it was imported from."""
    package = str(Path(agent.__file__).resolve().parent.parent)
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))}


def _reports(output: str) -> list[dict[str, Any]]:
    """The JSON objects of the job's output, one a line; other output of its commands is skipped."""
    reports = []
    for line in output.splitlines():
        try:
            report = json.loads(line)
        except ValueError:
            continue
        if isinstance(report, dict):
            reports.append(report)
    return reports


def _running(before: Json, reports: list[dict[str, Any]]) -> Running:
    """The newest state of the job; a measurement unless a phase is new, as phases may come again and again."""
    state = _state(reports) or before
    measured = state.get("phases") == before.get("phases")
    return Running(state, measured=measured)


def _state(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest report of a phase; empty before the first."""
    return next((each for each in reversed(reports) if "phase" in each), {})


def _why(status: Exited | Lost, last: dict[str, Any]) -> str:
    if isinstance(status, Lost):
        return status.why
    if "error" in last:
        return str(last["error"])
    tail = " ".join(status.output.split())[-300:] or "none"
    return f"the resync exited without a result (exit status {status.status}); last output: {tail}"
