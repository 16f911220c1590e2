"""Decide the method of a resync from the state of both servers: the least invasive one, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agent.datastores.postgresql.own_state import OwnState
from agent.datastores.postgresql.source import Source
from agent.datastores.postgresql.timelines import Fork, fork_of, shown
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Discard


@dataclass(frozen=True)
class Decision:
    """`method`: `none`, `follow`, `rewind`, `copy`, or `refuse` with `reason` and `lifted_by`.

    `reload`: following needs no restart. `reason`: why no less invasive method works. `fallback`: a rewind that
    lacks WAL may become a copy.
    """

    method: str
    reason: str
    lifted_by: str = ""
    reload: bool = False
    fallback: bool = False
    fork: Fork | None = None
    discards: Sequence[Discard] = ()
    warnings: Sequence[str] = field(default=())


def refused(reason: str, lifted_by: str) -> Decision:
    """The decision to refuse the resync."""
    return Decision("refuse", reason, lifted_by)


@dataclass(frozen=True)
class Divergence:
    """The data of this server that its source lacks. `commits`: None if that WAL is gone."""

    fork: Fork | None
    commits: int | None
    unknown: str = ""

    @property
    def nothing(self) -> bool:
        """Whether nothing is lost: no transaction ended past the fork."""
        return not self.unknown and (self.fork is None or self.fork.past == 0 or self.commits == 0)

    def discards(self) -> list[Discard]:
        """The data that would be discarded."""
        if self.nothing:
            return []
        if self.fork is None:
            return [Discard(f"data that cannot be compared ({self.unknown})", None, "bytes")]
        where = f"WAL past {shown(self.fork.lsn)} on timeline {self.fork.timeline}"
        return [Discard(where, self.fork.past, "bytes"), Discard("transactions in it", self.commits, "transactions")]


def fork(mine: OwnState, source: Source) -> Divergence:
    """The fork of the two servers, without inspecting the WAL past it."""
    if mine.position is None:
        return Divergence(None, None, mine.unknown)
    found = fork_of(mine.position, source.position)
    if found is None:
        return Divergence(None, None, "the two servers have no timeline in common")
    if not mine.follows and not source.recovers and mine.position.branches == source.position.branches:
        return Divergence(None, None, "both servers were primaries on the same timeline")
    return Divergence(found, None)


def decide(request: ResyncRequest, mine: OwnState, source: Source, divergence: Divergence, where: str) -> Decision:
    """The method of a resync. `where` is the source's address."""
    if mine.control.system != source.system:
        return _foreign(request, mine, source, where)
    if request.adopt not in (None, source.system):
        return refused(
            f"adopt names the cluster {request.adopt}, and {where} belongs to the cluster {source.system}",
            "leave adopt out: this server belongs to the same cluster",
        )
    if not divergence.nothing and not request.force:
        return _refuse_to_lose(request, mine, divergence, where)
    return replace(_method(request, mine, divergence), fork=divergence.fork, discards=divergence.discards())


def in_step(mine: OwnState, endpoint: tuple[str, str]) -> bool:
    """Whether this server already receives from the source. A delayed or paused replay counts as in sync."""
    return mine.streaming and mine.source == endpoint


def _foreign(request: ResyncRequest, mine: OwnState, source: Source, where: str) -> Decision:
    reason = (
        f"{where} belongs to another cluster: its system identifier is {source.system}, here it is "
        f"{mine.control.system}"
    )
    if request.adopt != source.system or request.mode not in ("auto", "copy"):
        return refused(reason, f'check the address; adopt "{source.system}" replaces the data of this server')
    lost = Discard(f"the data of the cluster {mine.control.system}", None, "bytes")
    return Decision("copy", reason, discards=[lost])


def _refuse_to_lose(request: ResyncRequest, mine: OwnState, divergence: Divergence, where: str) -> Decision:
    if divergence.fork is None:
        reason = f"it is unknown whether this server has data that {where} lacks: {divergence.unknown}"
    else:
        state = "follows no source and" if not mine.follows else "has diverged and"
        commits = "an unknown number of" if divergence.commits is None else divergence.commits
        reason = (
            f"this server {state} has {divergence.fork.past} bytes of WAL past {shown(divergence.fork.lsn)} (timeline "
            f"{divergence.fork.timeline}) with {commits} transactions that {where} lacks"
        )
    if request.mode == "follow":
        return refused(reason, "resync_slave_db rebuilds it; force is needed to discard this")
    return refused(reason, "force is needed to discard this")


def _method(request: ResyncRequest, mine: OwnState, divergence: Divergence) -> Decision:
    """The method for servers of one cluster when nothing is lost, or with `force`."""
    if request.mode == "copy":
        return Decision("copy", "mode copy was requested")
    if divergence.fork is None:
        return _only_copy(request, divergence.unknown)
    if not _needs_rewind(mine, divergence.fork):
        if request.mode == "rewind":
            return refused("there is nothing to rewind: the data has not diverged", "leave mode out")
        return Decision("follow", "the data has not diverged", reload=mine.live and mine.follows)
    reason = f"diverged at {shown(divergence.fork.lsn)} on timeline {divergence.fork.timeline}"
    if request.mode == "follow" and mine.up and not mine.follows:
        return refused(
            "this server accepts writes of its own", "replication.demote hands over, resync_slave_db rebuilds"
        )
    if request.mode == "follow":
        return refused(f"this server cannot follow without a rebuild: {reason}", "resync_slave_db rebuilds it")
    if divergence.fork.ahead:
        return _only_copy(request, f"{reason}: ahead of its source on the same timeline, where pg_rewind does nothing")
    if not mine.control.rewindable:
        return _only_copy(request, f"{reason}, and pg_rewind needs checksums or wal_log_hints, which were off")
    return Decision("rewind", reason, fallback=request.mode == "auto")


def _needs_rewind(mine: OwnState, parted: Fork) -> bool:
    """Whether a rewind is needed; also for a running primary without WAL past the fork, whose shutdown writes a
    checkpoint there."""
    return parted.past > 0 or (mine.up and not mine.follows)


def _only_copy(request: ResyncRequest, reason: str) -> Decision:
    if request.mode != "auto":
        return refused(f"mode {request.mode} is not possible: {reason}", "mode copy, or auto")
    return Decision("copy", reason)
