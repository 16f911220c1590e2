"""`promote_slave_db`, `disable_replication_slave_db` and `resync_slave_db`."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from marshmallow import fields

import agent
from agent.config import Settings
from agent.datastores.base import DatastoreDown, Role
from agent.datastores.resync import phase_of
from agent.hosts.jobs import Exited, Job, Jobs, Lost, lost_if_stopped
from agent.hosts.jobs import Running as JobRunning
from agent.kinds.arguments import Flag
from agent.kinds.base import Args, Done, Failed, Kind, NotOffered, Outcome, Running, Step, failed
from agent.kinds.on_datastore import OnDatastore, ServerArgs, datastore_of
from agent.models import Json

LOOK_EVERY = 0.5
"""Seconds between two looks at a resync."""
END_GRACE = 10.0


class ResyncArgs(ServerArgs):
    force = Flag(load_default=False, metadata={"description": "Rebuild it even where it is a primary now."})


class RoleResult(Args):
    """What the server is after a change of its replication."""

    role = fields.Dict(required=True, metadata={"description": "What it is now: name, primary, streaming, writable."})
    server = fields.Dict(required=True, metadata={"description": "What the server says; depends on the server."})


class OnReplica(OnDatastore):
    """A kind that acts on this server's replication."""

    args = ServerArgs
    result = RoleResult

    def _done(self, message: str, server: Json = None) -> Done:
        return Done({"role": asdict(self.datastore.role()), "server": server or {}}, message)


class Promote(OnReplica):
    """Make this replica a writable primary. Done at once where it is one; refused where its data is not whole."""

    name = "promote_slave_db"
    needs = "promote"

    def act(self, step: Step) -> Outcome:
        role = self.datastore.role()
        if self.datastore.is_dirty():
            return failed("the data of this server is not whole, so it cannot be a primary: resync it first")
        if _leads(role):
            return self._done("this server is a primary already")
        return self._done("this server is the primary now", self.datastore.promote(step.stop))

    # A promotion that took effect is a primary, one that did not can be asked for again.
    act_again = act


class DisableReplication(OnReplica):
    """Let this replica follow nobody any more. Done at once where it follows nobody."""

    name = "disable_replication_slave_db"
    needs = "disable_replication"

    def act(self, step: Step) -> Outcome:
        role = self.datastore.role()
        if role.name == "primary":
            return failed("this server is a primary and follows nobody")
        if role.name == "standalone":
            return self._done("this server follows nobody already")
        return self._done("this server follows nobody any more", self.datastore.disable_replication(step.stop))

    act_again = act


class Resync(OnReplica):
    """Rebuild this replica from its primary, in a job that outlives the agent, and wait until it follows again."""

    name = "resync_slave_db"
    args = ResyncArgs
    needs = "resync"
    configuration = "``[datastore]``; ``[service]`` and options of it where that datastore needs them."
    interruption = (
        "The rebuild goes on in a job of its own and the action with it. Where the host went down it fails, and says "
        "whether the data is whole."
    )
    timeout = 24 * 3600.0

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._jobs_directory = settings.agent.jobs

    @classmethod
    def offered(cls, settings: Settings) -> Iterator[Kind]:
        needs = datastore_of(settings).resync_needs
        if "service" in needs and settings.service is None:
            raise NotOffered("set [service] in the configuration: a resync stops the server and starts it again")
        for option in needs:
            if option != "service" and getattr(settings.datastore, option) is None:
                raise NotOffered(f"set datastore.{option} in the configuration")
        yield from super().offered(settings)

    def act(self, step: Step) -> Outcome:
        if step.payload is None:
            # Those of actions before this one, which are final. Its own stays until then: forgotten before
            # its end is written down, it would be started once more by an agent that was killed in between.
            self._jobs().forget_ended()
            return self._refusal(step.args["force"]) or Running({"phase": "beginning"})
        # Started once by its name, found again by it: also by an agent that was started since.
        job = self._jobs().start(
            self._job_name(step), [sys.executable, "-m", "agent.datastores.resync"], env=_environment()
        )
        return self._look(job, step)

    act_again = act

    def cancel(self, step: Step) -> None:
        if job := self._jobs().find(self._job_name(step)):
            job.end(END_GRACE)

    @classmethod
    def left(cls, payload: Json) -> str:
        phase = payload["phase"]
        return f"it was in the phase {phase}: the server may be stopped and its data not whole, resync it again"

    def _refusal(self, force: bool) -> Failed | None:
        """Why not to begin: a primary has what its replicas are rebuilt from."""
        if force or (role := self._role()) is None or role.name == "replica":
            return None
        # What a resync left half way is worth nothing, but it may have become a primary since.
        if not _leads(role) and self.datastore.is_dirty():
            return None
        # One without replicas too: they may only be cut off just now, and its data be the last.
        return failed("this server follows nobody; force is needed to rebuild it from another")

    def _role(self) -> Role | None:
        """What it is now; None where it is down."""
        try:
            return self.datastore.role() if self.datastore.is_up() else None
        except DatastoreDown:
            return None

    def _look(self, job: Job, step: Step) -> Outcome:
        status = lost_if_stopped(job.look())
        told = _lines(status.output)
        if isinstance(status, JobRunning):
            return Running(_phase(told), after=LOOK_EVERY)
        return self._ended(status, told)

    def _ended(self, status: Exited | Lost, told: list[dict[str, Any]]) -> Outcome:
        last = told[-1] if told else {}
        if isinstance(status, Exited) and status.ok and "result" in last:
            return self._done("this server was rebuilt and follows its primary", last["result"])
        reason = status.why if isinstance(status, Lost) else last.get("error", "the resync ended without a word")
        dirty = self.datastore.is_dirty()
        message = f"{reason}; the data is not whole, resync it again" if dirty else str(reason)
        return failed(message, dirty=dirty, phase=_phase(told)["phase"])

    def _jobs(self) -> Jobs:
        return Jobs(self._jobs_directory)

    def _job_name(self, step: Step) -> str:
        return f"resync-{step.action.id}"


def _environment() -> dict[str, str]:
    """Ours, so that the job reads the same configuration, and with the package wherever it was imported from."""
    package = str(Path(agent.__file__).resolve().parent.parent)
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))}


def _leads(role: Role) -> bool:
    """Whether it takes writes of its own: a primary, also one without replicas."""
    return role.name == "primary" or (role.name == "standalone" and role.writable)


def _lines(output: str) -> list[dict[str, Any]]:
    """What the job told: a JSON object a line; what else its commands printed is not for us."""
    told = []
    for line in output.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict):
            told.append(said)
    return told


def _phase(told: list[dict[str, Any]]) -> dict[str, Any]:
    """Where it is, and by their names the phases until there."""
    said = [each["phase"] for each in told if "phase" in each]
    return {"phase": said[-1] if said else "beginning", "phases": list(dict.fromkeys(map(phase_of, said)))}
