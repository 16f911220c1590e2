"""Read the present state of one member of a replica set from the member itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import total_ordering
from typing import TYPE_CHECKING, Any

from agent.datastores.mongodb.connection import MongoRefused

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

NOT_A_MEMBER = (93, 94)
"""InvalidReplicaSetConfig and NotYetInitialized: the member is not in its configuration, or has none."""
HAS_DATA = ("PRIMARY", "SECONDARY")


@total_ordering
@dataclass(frozen=True, slots=True)
class OpTime:
    """A position in the oplog: seconds, number within the second, and the term of the primary that wrote it."""

    seconds: int
    number: int
    term: int

    def __lt__(self, other: OpTime) -> bool:
        return (self.term, self.seconds, self.number) < (other.term, other.seconds, other.number)

    def __str__(self) -> str:
        return f"{self.seconds}.{self.number}@{self.term}"


def optime_of(document: Any) -> OpTime | None:
    """Parse mongod's `{ts, t}`; None if the member has no position or it is unknown."""
    if not isinstance(document, Mapping) or document.get("ts") is None or not document["ts"].time:
        return None
    return OpTime(document["ts"].time, document["ts"].inc, int(document.get("t", -1)))


@dataclass(frozen=True, slots=True)
class Seen:
    """One member of the set, as reported by another member or by itself."""

    address: str
    state: str
    reachable: bool
    itself: bool
    optime: OpTime | None
    priority: float
    votes: int
    delay: int

    @property
    def has_data(self) -> bool:
        return self.reachable and self.state in HAS_DATA


@dataclass(frozen=True, slots=True)
class MemberState:
    """`membership` is `alone` (not in a set), `new` (no configuration yet), `removed` or `member`.

    `state` is mongod's name (PRIMARY, SECONDARY, STARTUP2 …), `committed` the optime that is known to be
    majority-committed.
    """

    membership: str
    set_name: str | None = None
    set_id: str | None = None
    me: str | None = None
    state: str | None = None
    primary: str | None = None
    source: str | None = None
    term: int | None = None
    optime: OpTime | None = None
    committed: OpTime | None = None
    date: datetime | None = None
    members: Sequence[Seen] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def itself(self) -> Seen | None:
        return next((each for each in self.members if each.itself), None)

    @property
    def others(self) -> list[Seen]:
        return [each for each in self.members if not each.itself]

    def seen(self, address: str) -> Seen | None:
        """The member of this address."""
        return next((each for each in self.members if each.address == address), None)

    @property
    def majority(self) -> int:
        """Votes that win an election."""
        return sum(each.votes for each in self.members) // 2 + 1

    @property
    def votes_of_others(self) -> int:
        """Votes of the other reachable members."""
        return sum(each.votes for each in self.others if each.reachable)


def look(here: MongoDB) -> MemberState:
    """Read the state. Raises `DatastoreError` if the server cannot be queried."""
    hello = here.hello()
    if "setName" not in hello:
        return _outside(here) if hello.get("isreplicaset") else MemberState("alone")
    status = here.command("replSetGetStatus")
    config = here.command("replSetGetConfig")["config"]
    members = [_seen(each, config) for each in status["members"]]
    itself = next((each for each in members if each.itself), None)
    optimes = status.get("optimes", {})
    return MemberState(
        "member",
        set_name=hello["setName"],
        set_id=set_id(config),
        me=hello.get("me") or (itself.address if itself else None),
        state=itself.state if itself else None,
        primary=hello.get("primary"),
        source=status.get("syncSourceHost") or None,
        term=status.get("term"),
        optime=optime_of(optimes.get("appliedOpTime")) or (itself.optime if itself else None),
        committed=optime_of(optimes.get("lastCommittedOpTime")),
        date=status.get("date"),
        members=members,
        config=config,
        status=status,
    )


def set_id(config: Mapping[str, Any]) -> str | None:
    """The id of a set, created at its initiation: unlike the name it is unique."""
    found = config.get("settings", {}).get("replicaSetId")
    return None if found is None else str(found)


def _outside(here: MongoDB) -> MemberState:
    """The state of a server configured for a set but not in one. A removed member keeps its last configuration."""
    try:
        config = here.command("replSetGetConfig")["config"]
    except MongoRefused as error:
        if error.code in NOT_A_MEMBER:
            return MemberState("new")
        raise
    return MemberState("removed", set_name=config.get("_id"), set_id=set_id(config), config=config)


def _seen(member: Mapping[str, Any], config: Mapping[str, Any]) -> Seen:
    options: Mapping[str, Any] = next((each for each in config["members"] if each["host"] == member["name"]), {})
    return Seen(
        address=member["name"],
        state=member["stateStr"],
        reachable=bool(member.get("self")) or member.get("health") == 1,
        itself=bool(member.get("self")),
        optime=optime_of(member.get("optime")),
        priority=options.get("priority", 1),
        votes=int(options.get("votes", 1)),
        delay=int(options.get("secondaryDelaySecs", options.get("slaveDelay", 0))),
    )
