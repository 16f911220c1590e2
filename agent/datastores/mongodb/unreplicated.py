"""Find the data of one member that the primary of its set lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.datastores.mongodb import oplog
from agent.datastores.mongodb.member import MemberState, OpTime
from agent.plan import Discard

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

OF_THE_SERVER = ("oplog.rs", "startup_log", "clustermanager", "me")
"""Collections of `local` that mongod creates, in addition to `system.*` and `replset.*`."""


@dataclass(frozen=True, slots=True)
class Loss:
    """`lost` is a sentence about the data that would be lost; None: nothing.

    `parted_at` is the last common entry of diverged oplogs. `stale`: no member has the oplog that this one needs to
    catch up.
    """

    lost: str | None
    discards: tuple[Discard, ...] = ()
    parted_at: OpTime | None = None
    stale: bool = False


def of_writes(here: MongoDB, state: MemberState, primary: MongoDB, there: MemberState) -> Loss:
    """Lost replicated writes, by comparing the oplogs. `there` is the primary's state. Raises `DatastoreError`."""
    own = state.optime or oplog.newest(here)
    if own is None:
        return Loss(None, stale=True)
    stale = _is_stale(here, state, primary, there, own)
    if state.committed is not None and own <= state.committed:
        return Loss(None, stale=stale)  # majority-committed, so every later primary has it
    if oplog.has(primary, own):
        return Loss(None, stale=stale)
    parted_at, following = oplog.parting(here, primary)
    if parted_at is None:
        lost = (
            f"it is unknown whether the primary has all writes of this server: the last write here is {own}, "
            "and the oplogs have no entry in common"
        )
        unknown = Discard("writes of this server that the primary lacks", None, "writes")
        return Loss(lost, (unknown,), stale=True)
    lost = f"this server has {following} writes that the primary lacks: the oplogs diverged at {parted_at}"
    return Loss(lost, (Discard(f"writes of this server after {parted_at}", following, "writes"),), parted_at)


def of_local(here: MongoDB) -> Loss:
    """Lost collections in `local`, which are never replicated. Raises `DatastoreError`."""
    answer = here.command("listCollections", database="local", nameOnly=True, authorizedCollections=True)
    names = [str(each["name"]) for each in answer["cursor"]["firstBatch"]]
    own = [name for name in names if name not in OF_THE_SERVER and not name.startswith(("system.", "replset."))]
    if not own:
        return Loss(None)
    named = ", ".join(sorted(own))
    discard = Discard(f"collections of local: {named}", len(own), "collections")
    return Loss(f"the database local has collections that exist only on this server: {named}", (discard,))


def _is_stale(here: MongoDB, state: MemberState, primary: MongoDB, there: MemberState, own: OpTime) -> bool:
    """Whether no possible source has an oplog that reaches back to the last write of this member."""
    sources = [each for each in there.members if each.has_data and each.address != state.me]
    for each in sources:
        first = oplog.oldest(primary if each.itself else here.member(each.address))
        if first is not None and (first.seconds, first.number) <= (own.seconds, own.number):
            return False
    return bool(sources)
