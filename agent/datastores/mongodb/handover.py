"""Hand over from a primary to a named member by MongoDB's step-down, without losing an acknowledged write.

replSetStepDown stops writes and waits until a majority and one electable member have everything; if they do not
catch up, it fails and the primary accepts writes again. Then the named member calls an election. The other members
are frozen meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, agreed
from agent.datastores.mongodb import promotion
from agent.datastores.mongodb.connection import MongoAnswerLost, MongoRefused
from agent.datastores.mongodb.member import MemberState, Seen, look
from agent.plan import Plan, Would
from agent.util.poll import looks, poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

CATCH_UP = 10.0
"""Maximum seconds without writes while the named member catches up."""
MOST_LAG = 10.0
"""Maximum lag in seconds of the named member at the start."""


def plan_demote(here: MongoDB, primary: str) -> Plan:
    """What `demote` would do now."""
    peer = here.named(primary)
    state, there = look(here), look(peer)
    if state.membership != "member" or state.set_id != there.set_id:
        return plan.refuse(f"{peer.address} is in another replica set than this server", "name a member of its own set")
    if state.state == "SECONDARY" and state.primary == there.me:
        return plan.nothing(f"this server follows {there.me} already")
    if state.state != "PRIMARY":
        return plan.refuse(
            f"this server is no primary: it is in the state {state.state}", "run this action on the primary"
        )
    itself = state.seen(str(there.me))
    if itself is None:
        return plan.refuse(f"{peer.address} is this server or not in its set", "name another member")
    if (refusal := _refusal(state, itself)) is not None:
        return plan.refuse(*refusal)
    behind = promotion.lag(here, there, state)
    if behind.seconds is not None and behind.seconds > MOST_LAG:
        reason = f"{itself.address} is {behind.seconds:g} s behind"
        return plan.refuse(reason, "wait until it has caught up; MongoDB would not step down for it")
    return Plan(
        Would.DISRUPT,
        f"this server would hand over to {itself.address} and follow it",
        steps=[
            "keep the other members from being elected",
            f"replSetStepDown: stop writes and wait until {itself.address} has everything",
            f"let {itself.address} call an election; otherwise accept writes again",
        ],
        facts={"primary": itself.address, "lag": asdict(behind), "position": str(state.optime)},
    )


def demote(here: MongoDB, primary: str, stop: Stop) -> dict[str, Any]:
    """Hand over and follow. Idempotent: called again, it continues with the election or is done."""
    peer = here.named(primary)
    there = look(peer)
    state = look(here)
    position = str(state.optime)
    if state.state == "PRIMARY":
        agreed(plan_demote(here, primary))
        others = _frozen(here, state, str(there.me))
        try:
            _step_down(here, stop)
            _elect(here, peer, str(there.me), stop)
        finally:
            _thaw(others)
    elif state.primary != there.me:
        _elect(here, peer, str(there.me), stop)
    return {"handed_over_to": there.me, "position": position, "set": state.set_name}


def _refusal(state: MemberState, peer: Seen) -> tuple[str, str] | None:
    if not peer.reachable or peer.state != "SECONDARY":
        return f"{peer.address} is in the state {peer.state}", "wait until it is a secondary, or resync it"
    if peer.priority == 0:
        return f"the priority of {peer.address} is 0: it can never be elected", "name another member"
    if peer.delay:
        return f"{peer.address} is delayed by {peer.delay} s", "name another member"
    votes = sum(each.votes for each in state.members if each.reachable)
    if votes < state.majority:
        return f"{votes} votes of the set are reachable, and {state.majority} win an election", "start another member"
    return None


def _period(here: MongoDB) -> int:
    """Seconds for the catch-up, shorter than the timeout of the server's answer."""
    return max(1, int(min(CATCH_UP, here.settings.timeout / 2)))


def _step_down(here: MongoDB, stop: Stop) -> None:
    if stop.requested:
        raise DatastoreRefused(f"the hand-over was not begun: {stop.reason}")
    period = _period(here)
    lasting = int(2 * here.settings.timeout) + period
    try:
        here.command("replSetStepDown", lasting, secondaryCatchUpPeriodSecs=period)
    except MongoRefused as error:
        raise DatastoreRefused(f"{error}; this server still accepts writes") from error
    except MongoAnswerLost:
        if here.hello().get("isWritablePrimary"):  # mongod may close connections during the step-down
            raise


def _elect(here: MongoDB, peer: MongoDB, address: str, stop: Stop) -> None:
    """Make the peer call elections until it is primary; otherwise make this server primary again."""
    refusal = ""
    for last in looks(here.settings.timeout, stop):
        leads = None
        with suppress(DatastoreError):
            leads = here.hello().get("primary")
            if leads == address and peer.hello().get("isWritablePrimary"):
                return
        if leads != address:
            try:
                peer.command("replSetStepUp")
            except DatastoreError as error:
                refusal = f": {error}"
        if last:
            raise DatastoreRefused(f"{address} was not elected{refusal}; {_lead_again(here)}")


def _lead_again(here: MongoDB) -> str:
    """Unfreeze this server, and call an election if the set has no primary."""
    try:
        leads = here.hello().get("primary")
        if leads is not None:
            return f"{leads} is the primary"
        here.command("replSetFreeze", 0)
        here.command("replSetStepUp")
        if not poll(lambda: here.hello().get("isWritablePrimary"), here.settings.timeout):
            raise DatastoreUnreachable("it was elected and does not accept writes yet")
    except DatastoreError as error:
        return f"it is unknown whether this server accepts writes again: {error}"
    return "this server accepts writes again"


def _frozen(here: MongoDB, state: MemberState, chosen: str) -> list[MongoDB]:
    """Freeze the other electable members. One that refuses may win the election and hands over afterwards."""
    frozen = []
    for each in state.others:
        if each.address != chosen and each.has_data and each.priority > 0:
            member = here.member(each.address)
            with suppress(DatastoreError):
                member.command("replSetFreeze", int(here.settings.timeout) + _period(here) + 1)
                frozen.append(member)
    return frozen


def _thaw(members: list[MongoDB]) -> None:
    for member in members:
        with suppress(DatastoreError):
            member.command("replSetFreeze", 0)
