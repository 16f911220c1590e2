"""The plan of a resync of a PostgreSQL: inspect both servers, decide, check the requirements. It only reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from agent.config import Peer
from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.connection import Target
from agent.datastores.postgresql.control import commits_after, has_segment
from agent.datastores.postgresql.decision import Decision, Divergence, decide, fork, in_step, refused
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.postgresql.own_state import OwnState, look_at
from agent.datastores.postgresql.preflight import bytes_needed, check
from agent.datastores.postgresql.primary import Primary, primary_of
from agent.datastores.postgresql.rollback import WorkFolder
from agent.datastores.postgresql.source import Source, look_at_source, why_wal_is_missing
from agent.datastores.postgresql.timelines import shown
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Needs, Plan, Would, nothing, refuse

BYTES_A_SECOND = 100e6
"""Assumed transfer rate for the estimated time of a copy."""


@dataclass(frozen=True)
class Comparison:
    """The state of both servers and the decision."""

    mine: OwnState
    source: Source
    primary: Primary
    decision: Decision

    @property
    def slots_lost(self) -> Sequence[str]:
        """The replication slots of this server that a copy or rewind removes."""
        return self.mine.slots if self.decision.method in ("rewind", "copy") else ()

    def as_plan(self, data: DataDirectory) -> Plan:
        """The decision as a plan, for the HTTP answer and for operators."""
        if self.decision.method == "refuse":
            return refuse(self.decision.reason, self.decision.lifted_by, facts=self._facts())
        if self.decision.method == "none":
            return nothing(self.decision.reason, warnings=self._warnings(), facts=self._facts())
        needed = bytes_needed(self.decision.method, self.mine, self.source, self.primary, data)
        seconds = None if not needed else round(needed / BYTES_A_SECOND, 1)
        return Plan(
            self._would(),
            f"{_WORDS[self.decision.method]} {self.primary.target.address}: {self.decision.reason}",
            steps=self._steps(data),
            discards=self.decision.discards,
            needs=Needs(disk_bytes=needed, seconds=seconds),
            warnings=self._warnings(),
            facts=self._facts(),
        )

    def _would(self) -> Would:
        if self.decision.method == "copy" or self.decision.discards:
            return Would.DESTROY
        if self.decision.method == "follow" and (self.decision.reload or not self.mine.up):
            return Would.CHANGE
        return Would.DISRUPT

    def _steps(self, data: DataDirectory) -> Sequence[str]:
        slot = [f"create the replication slot {self.primary.slot} if it is missing"] if self.primary.slot else []
        if self.decision.method == "follow" and self.decision.reload:
            return [*slot, "set primary_conninfo and reload", "wait until it receives"]
        stop = ["stop the server"] if self.mine.up else []
        start = ["start the server", "wait until it receives"]
        if self.decision.method == "follow":
            return [*slot, *stop, "make it a standby", *start]
        switch = [f"put it in the place of {data.data}", *start, "remove the old data"]
        if self.decision.method == "rewind":
            return [*slot, *stop, f"copy the data to {data.work}", "run pg_rewind on the copy", *switch]
        copy = [f"run pg_basebackup into {data.work}"]
        return [*slot, *(copy + stop if self.mine.follows else stop + copy), *switch]

    def _warnings(self) -> list[str]:
        warnings = list(self.decision.warnings)
        if self.mine.replay:
            warnings.append(f"the replay of this standby is {self.mine.replay}")
        if self.slots_lost:
            named = ", ".join(self.slots_lost)
            warnings.append(f"the replication slots of this server are lost, and their replicas lose it: {named}")
        return warnings

    def _facts(self) -> dict[str, Any]:
        here, there = self.mine.position, self.source.position
        parted = self.decision.fork
        return {
            "method": None if self.decision.method == "refuse" else self.decision.method,
            "primary": self.primary.target.address,
            "cluster_id": self.mine.control.system,
            "primary_cluster_id": self.source.system,
            "timeline": None if here is None else here.timeline,
            "position": None if here is None else shown(here.end),
            "primary_timeline": there.timeline,
            "primary_position": shown(there.end),
            "diverged_at": shown(parted.lsn) if parted is not None and parted.past else None,
        }


_WORDS = {
    "follow": "this server would follow",
    "rewind": "this server would be rewound to follow",
    "copy": "the data of this server would be replaced by a copy of",
}


def look(
    peer: Peer | None, server: Target, data: DataDirectory, request: ResyncRequest, node: str, timeout: float,
    *, standby_will_do: bool = False,
) -> Comparison:  # fmt: skip
    """Inspect both servers and decide. Raises `DatastoreError` if one of them cannot be inspected.

    `standby_will_do`: the source may be a standby that will be promoted soon.
    """
    WorkFolder(data).check_what_is_in_place()
    primary = primary_of(peer, server, data, node, timeout)
    mine = look_at(data, server)  # first: everything that it receives meanwhile exists on its source
    source = look_at_source(primary, timeout)
    decision = _decided(request, mine, source, primary, data, standby_will_do)
    return Comparison(mine, source, primary, decision)


def _decided(
    request: ResyncRequest, mine: OwnState, source: Source, primary: Primary, data: DataDirectory, standby_will_do: bool
) -> Decision:
    where = primary.target.address
    if (refusal := _refuse_source(mine, source, data, where, standby_will_do)) is not None:
        return refusal
    if in_step(mine, primary.endpoint) and mine.control.system == source.system and request.mode in ("auto", "follow"):
        return Decision("none", f"this server follows {where} already")
    divergence = divergence_of(mine, source, data)
    decision = decide(request, mine, source, divergence, where)
    if decision.method == "follow":
        decision = _with_wal(decision, request, mine, source, primary)
        decision = replace(decision, reload=decision.reload and not mine.ends_recovery)
    if decision.method == "rewind" and divergence.fork is not None and _wal_gone(mine, divergence, data):
        decision = _without_wal(decision, "the WAL of this server from before the fork is gone")
    if decision.method == "refuse":
        return decision
    return check(decision, mine, source, primary, data, force=request.force)


def _refuse_source(
    mine: OwnState, source: Source, data: DataDirectory, where: str, standby_will_do: bool
) -> Decision | None:
    if mine.started is not None and mine.started == source.started:
        return refused(f"{where} is this server", "name another server as primary")
    if source.recovers and not standby_will_do:
        return refused(f"{where} is not a primary: it is a standby itself", "promote it first, or name its primary")
    if source.major != int(data.major):
        return refused(
            f"{where} runs PostgreSQL {source.major} and this server {data.major}", "install the same major version"
        )
    return None


def divergence_of(mine: OwnState, source: Source, data: DataDirectory) -> Divergence:
    """The data of this server that its source lacks, from the WAL past the fork."""
    found = fork(mine, source)
    if found.fork is None or found.fork.past == 0 or mine.position is None:
        return found
    commits: int | None = None
    with suppress(DatastoreError, OSError):
        if has_segment(data, mine.position.timeline, found.fork.lsn, mine.control.segment):
            commits = commits_after(data, mine.position.timeline, found.fork.lsn)
    return Divergence(found.fork, commits)


def _wal_gone(mine: OwnState, divergence: Divergence, data: DataDirectory) -> bool:
    assert divergence.fork is not None
    size = mine.control.segment
    return not any(has_segment(data, timeline, divergence.fork.lsn, size) for timeline in _timelines(mine))


def _timelines(mine: OwnState) -> set[int]:
    return {each.timeline for each in mine.position.branches} if mine.position else set()


def _with_wal(decision: Decision, request: ResyncRequest, mine: OwnState, source: Source, primary: Primary) -> Decision:
    """Check that the source still has the necessary WAL: start streaming it like a standby."""
    assert mine.position is not None
    common = max(mine.position.timeline, 1)
    missing = why_wal_is_missing(primary, source, common, min(mine.position.end, source.position.end))
    if missing is None:
        return decision
    if mine.settings.get("restore_command"):
        warning = f"{primary.target.address} lacks WAL ({missing}); the archive of restore_command must have it"
        return replace(decision, warnings=[*decision.warnings, warning])
    if "has already been removed" not in missing:
        return refused(f"{primary.target.address} does not send WAL: {missing}", "repair this, or request mode copy")
    if request.mode == "follow":
        return refused(f"this server cannot follow without a rebuild: {missing}", "resync_slave_db rebuilds it")
    return _without_wal(decision, missing)


def _without_wal(decision: Decision, reason: str) -> Decision:
    if decision.method == "rewind" and not decision.fallback:
        return refused(f"this server cannot be rewound: {reason}", "mode copy, or auto")
    return replace(decision, method="copy", reason=reason, reload=False)
