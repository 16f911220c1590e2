"""What a resync of a PostgreSQL would do, decided from both servers alone: gentle first, for named reasons only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from agent.datastores.postgresql_mine import Mine
from agent.datastores.postgresql_source import Source
from agent.datastores.postgresql_timelines import Fork, fork_of, shown
from agent.datastores.requests import ResyncRequest
from agent.plan import Discard


@dataclass(frozen=True)
class Decision:
    """`method`: `none`, `follow`, `rewind`, `copy`, or `refuse` with `reason` and `lifted_by`.

    `reload`: to follow needs no restart. `reason` is why no gentler way does. `fallback`: a rewind that finds no WAL
    may become a copy.
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
    """Nothing would be done."""
    return Decision("refuse", reason, lifted_by)


@dataclass(frozen=True)
class Worth:
    """What this server has that its source lacks. `commits`: None where that WAL is gone."""

    fork: Fork | None
    commits: int | None
    unknown: str = ""

    @property
    def nothing(self) -> bool:
        """Whether all of it is worthless: no transaction ended past the fork."""
        return not self.unknown and (self.fork is None or self.fork.past == 0 or self.commits == 0)

    def discards(self) -> list[Discard]:
        """What would be given up."""
        if self.nothing:
            return []
        if self.fork is None:
            return [Discard(f"data that cannot be judged ({self.unknown})", None, "bytes")]
        where = f"WAL past {shown(self.fork.lsn)} on timeline {self.fork.timeline}"
        return [Discard(where, self.fork.past, "bytes"), Discard("transactions in it", self.commits, "transactions")]


def fork(mine: Mine, source: Source) -> Worth:
    """Where this server left its source, without a look at what lies past that."""
    if mine.position is None:
        return Worth(None, None, mine.unknown)
    found = fork_of(mine.position, source.position)
    if found is None:
        return Worth(None, None, "the two servers have no timeline in common")
    if not mine.follows and not source.recovers and mine.position.branches == source.position.branches:
        return Worth(None, None, "both servers were primaries on the same timeline")
    return Worth(found, None)


def decide(request: ResyncRequest, mine: Mine, source: Source, worth: Worth, where: str) -> Decision:
    """The way that a resync would take. `where` is the source's address."""
    if mine.control.system != source.system:
        return _foreign(request, mine, source, where)
    if request.adopt not in (None, source.system):
        return refused(
            f"adopt names the cluster {request.adopt}, and {where} is of the cluster {source.system}",
            "leave adopt out: this server is of the same cluster",
        )
    if not worth.nothing and not request.force:
        return _worthy(request, mine, worth, where)
    return replace(_way(request, mine, worth), fork=worth.fork, discards=worth.discards())


def in_step(mine: Mine, endpoint: tuple[str, str]) -> bool:
    """Whether it receives from that source already. A delayed or paused replay is no reason to mend anything."""
    return mine.streaming and mine.source == endpoint


def _foreign(request: ResyncRequest, mine: Mine, source: Source, where: str) -> Decision:
    reason = (
        f"{where} is of another cluster: its system identifier is {source.system}, here it is {mine.control.system}"
    )
    if request.adopt != source.system or request.mode not in ("auto", "copy"):
        return refused(reason, f'check the address; adopt "{source.system}" replaces the data of this server')
    lost = Discard(f"the data of the cluster {mine.control.system}", None, "bytes")
    return Decision("copy", reason, discards=[lost])


def _worthy(request: ResyncRequest, mine: Mine, worth: Worth, where: str) -> Decision:
    if worth.fork is None:
        reason = f"it cannot be known whether this server has data that {where} lacks: {worth.unknown}"
    else:
        was = "follows no source and" if not mine.follows else "diverged:"
        commits = "an unknown number of" if worth.commits is None else worth.commits
        reason = (
            f"this server {was} has {worth.fork.past} bytes of WAL past {shown(worth.fork.lsn)} (timeline "
            f"{worth.fork.timeline}) with {commits} transactions that {where} lacks"
        )
    if request.mode == "follow":
        return refused(reason, "resync_slave_db rebuilds it, where force is needed to give this up")
    return refused(reason, "force is needed to give this up")


def _way(request: ResyncRequest, mine: Mine, worth: Worth) -> Decision:
    """Of servers of one cluster with nothing to lose, or with `force`."""
    if request.mode == "copy":
        return Decision("copy", "mode copy was requested")
    if worth.fork is None:
        return _only_copy(request, worth.unknown)
    if not _needs_rewind(mine, worth.fork):
        if request.mode == "rewind":
            return refused("there is nothing to rewind: the data has not diverged", "leave mode out")
        return Decision("follow", "the data has not diverged", reload=mine.live and mine.follows)
    reason = f"diverged at {shown(worth.fork.lsn)} on timeline {worth.fork.timeline}"
    if request.mode == "follow" and mine.up and not mine.follows:
        return refused("this server takes writes of its own", "replication.demote hands over, resync_slave_db rebuilds")
    if request.mode == "follow":
        return refused(f"this server cannot follow as it is: {reason}", "resync_slave_db rebuilds it")
    if worth.fork.ahead:
        return _only_copy(request, f"{reason}: ahead of its source on the same timeline, where pg_rewind does nothing")
    if not mine.control.rewindable:
        return _only_copy(request, f"{reason}, and pg_rewind needs checksums or wal_log_hints, which were off")
    return Decision("rewind", reason, fallback=request.mode == "auto")


def _needs_rewind(mine: Mine, parted: Fork) -> bool:
    """Also a primary that runs and has nothing past the fork: its shutdown will write a checkpoint there."""
    return parted.past > 0 or (mine.up and not mine.follows)


def _only_copy(request: ResyncRequest, reason: str) -> Decision:
    if request.mode != "auto":
        return refused(f"mode {request.mode} is not possible: {reason}", "mode copy, or auto")
    return Decision("copy", reason)
