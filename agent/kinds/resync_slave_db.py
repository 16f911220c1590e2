"""`resync_slave_db`: make a replica follow its primary again, in a job that outlives the agent."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from marshmallow import fields, validate

import agent
from agent import clock
from agent.config import Settings
from agent.datastores.base import DatastoreError
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.resync_report import Report
from agent.jobs.jobs import ExitedJob, Job, Jobs, JobStatus, LostJob, RunningJob, lost_if_stopped
from agent.kinds.base import Kind, Running, Step, StepResult, failed
from agent.kinds.base.arguments import Flag
from agent.kinds.base.on_datastore import DatastoreServerArgs, datastore_of
from agent.kinds.replication import OnReplica, ReplicationResult, check_needs, peer_field
from agent.models import Json
from agent.plan import Danger, Plan
from agent.processes.recording import current
from agent.supervisors.base import SupervisorFailed

PATIENCE = 0.5
"""Seconds that a step waits for the end of the job before it reports the progress."""
END_GRACE = 60.0
"""Seconds that a job gets, after the request to end, to restore the old data."""
BEGUN = ("begun", "boot")
"""Members of the payload of a resync that the agent has begun itself: its data, and the boot of the host."""
MODES = ("auto", "follow", "rewind", "copy")


class ResyncArgs(DatastoreServerArgs):
    primary = peer_field(load_default=None)
    mode = fields.String(
        load_default="auto",
        validate=validate.OneOf(MODES),
        metadata={"description": "The method; auto: the least invasive one that works."},
    )
    force = Flag(
        load_default=False,
        metadata={"description": "Discard data that the primary lacks; the result lists it."},
    )
    adopt = fields.String(
        load_default=None,
        validate=validate.Length(1, 255),
        metadata={"description": "The primary's cluster identifier: replace the data of another cluster by its data."},
    )


class ResyncResult(ReplicationResult):
    """The server after a resync."""

    method = fields.String(metadata={"description": "The method used: none, follow, rewind, copy, dump ..."})
    primary = fields.String(metadata={"description": "The address of the primary."})


class ResyncSlaveDb(OnReplica):
    """Make this replica follow its primary, by the least invasive method that works, and wait until it follows.

    In sync: nothing changes. Another source: the replica is repointed. Diverged: its data is rewound. Otherwise the
    data is copied, and the old data is kept until the copy follows. Refused if this server has data that its primary
    lacks, unless `force`.
    """

    name = "resync_slave_db"
    args = ResyncArgs
    result = ResyncResult
    needs = "resync"
    danger = Danger.DESTROYS
    configuration = "``[datastore]``; ``[service]`` and its options if that datastore needs them."
    interruption = (
        "The job continues by itself, and the action continues with it. If the host went down, the action fails; "
        "the message says whether the data is complete."
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

    def begin(self, step: Step) -> StepResult:
        # Only jobs of earlier, final actions. This action's job is kept until its end is recorded: otherwise an agent
        # that was killed in between would start the job a second time.
        self._jobs().forget_ended()
        return super().begin(step)

    def act(self, step: Step) -> StepResult:
        """Resync at once if the datastore can; otherwise by the job."""
        if _is_of_earlier_boot(step.payload) or self._jobs().find(self._job_name(step)) is not None:
            return self.act_again(step)
        if "begun" not in step.payload:
            begun = self.datastore.begin_resync(request_of(step.args))
            return self.act_again(step) if begun is None else Running(_begun(step.payload, begun))
        result = self.datastore.resync_at_once(step.payload["begun"])
        return self.act_again(step) if result is None else self._followed(result)

    def act_again(self, step: Step) -> StepResult:
        """Start the job, or find it by its name: also after a restart of the agent it is started only once."""
        jobs, name = self._jobs(), self._job_name(step)
        if _is_of_earlier_boot(step.payload) and jobs.find(name) is None:
            return self._ended(step, LostJob("the host was restarted while it ran", "", ""), Report())
        if self.datastore.resync_stops and jobs.find(name) is None:
            self.check_start(step)
        request = replace(request_of(step.args), begun=step.payload.get("begun"))
        channels = {"transcript": _transcript(), "report": str(jobs.report_of(name))}
        job = jobs.start(
            name,
            [sys.executable, "-P", "-S", "-m", "agent.datastores.resync_job"],
            stdin=json.dumps(asdict(request) | channels).encode(),
            env=_environment(),
        )
        return self._await(job, step)

    def unchanged(self, plan: Plan) -> StepResult:
        return self.done(plan.summary, {"method": "none", "discarded": []})

    def cancel(self, step: Step) -> str | None:
        """End the job, which restores the old data before it exits. Returns the error that the job reported."""
        job = self._jobs().find(self._job_name(step))
        report = _report(job, job.end(END_GRACE)) if job is not None else Report()
        return report.error or self._undone(step, report)

    @classmethod
    def describe_leftovers(cls, payload: Json) -> str:
        phase = payload["phase"]
        return f"it was in the phase {phase}: the server may be stopped and its data incomplete: resync it again"

    def _await(self, job: Job, step: Step) -> StepResult:
        status = lost_if_stopped(job.await_end(PATIENCE, step.stop))
        report = _report(job, status)
        if isinstance(status, RunningJob):
            return _running(step.payload, report)
        if isinstance(status, LostJob):
            job.kill_rest()  # a process that outlived its runner would restore the old data at the same time
        return self._ended(step, status, report)

    def _ended(self, step: Step, status: ExitedJob | LostJob, report: Report) -> StepResult:
        if isinstance(status, ExitedJob) and status.ok and isinstance(report.result, dict):
            return self._followed(report.result)
        message = "; ".join(filter(None, (_why(status, report), self._undone(step, report), self._recovered())))
        dirty = self.datastore.is_dirty()
        if dirty:
            message = f"{message}; the data is incomplete: resync it again"
        return failed(message, dirty=dirty, phase=report.phase or None)

    def _followed(self, result: Json) -> StepResult:
        return self.done("this server follows its primary", result)

    def _undone(self, step: Step, report: Report) -> str | None:
        """Undo what the agent began, if no job has completed or undone it; returns a sentence, or None.

        After a restart of the host the server runs by its own configuration.
        """
        ended = report.result is not None or report.error is not None
        if ended or "begun" not in (step.payload or {}) or _is_of_earlier_boot(step.payload):
            return None
        return self.datastore.undo_resync(step.payload["begun"])

    def _recovered(self) -> str | None:
        """Restore the old data if the job did not; returns a sentence about the data, or None."""
        try:
            return self.datastore.recover(self.service())
        except (DatastoreError, SupervisorFailed, OSError) as error:
            return str(error)

    def _jobs(self) -> Jobs:
        return Jobs(self._jobs_directory)

    def _job_name(self, step: Step) -> str:
        return f"resync-{step.action.id}"


def _begun(before: Json, begun: Json) -> Json:
    """The payload before the agent makes the server follow its primary."""
    phase = f"following {begun['members']['primary']}"
    if (transcript := current()) is not None:
        transcript.say(f"# {phase}")
    return before | {"phase": phase, "phases": [phase], "begun": begun, "boot": clock.boot_id()}


def _is_of_earlier_boot(payload: Json) -> bool:
    return "boot" in payload and payload["boot"] != clock.boot_id()


def request_of(args: dict[str, Any]) -> ResyncRequest:
    return ResyncRequest(primary=args["primary"], mode=args["mode"], force=args["force"], adopt=args["adopt"])


def _transcript() -> dict[str, Any] | None:
    """The transcript in which the job records the output of its programs."""
    transcript = current()
    return None if transcript is None else transcript.saved()


def _environment() -> dict[str, str]:
    """The agent's environment, for the same configuration, with the paths of the agent's modules.

    With these paths the job needs no `site`, which takes longer to find them than Python takes to start.
    """
    package = str(Path(agent.__file__).resolve().parent.parent)
    paths = [package, *(path for path in sys.path if os.path.isabs(path) and path not in (package, os.getcwd()))]
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)}


def _report(job: Job, status: JobStatus) -> Report:
    """The newest report of the job."""
    return Report.read(job.report) if job.report.exists() else _printed_report(status.output)


def _printed_report(output: str) -> Report:
    """The report of a job that an agent before 0.2 started: it printed JSON lines, each a part of a report."""
    report: dict[str, Any] = {}
    for line in output.splitlines():
        with suppress(ValueError):
            document = json.loads(line)
            report |= document if isinstance(document, dict) else {}
    return Report.of(report)


def _running(before: Json, report: Report) -> Running:
    """The newest state of the job. It counts as a measurement unless the list of phases has changed."""
    state = report.state() or before
    state = state | {name: before[name] for name in BEGUN if name in before}
    measured = state.get("phases") == before.get("phases")
    return Running(state, measured=measured)


def _why(status: ExitedJob | LostJob, report: Report) -> str:
    if isinstance(status, LostJob):
        return status.why
    if report.error is not None:
        return report.error
    tail = " ".join(status.output.split())[-300:] or "none"
    return f"the resync exited without a result (exit status {status.status}); last output: {tail}"
