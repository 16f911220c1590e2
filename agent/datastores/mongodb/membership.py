"""Change a replica set's configuration on its primary: remove one member or add it again.

The options of a removed member are stored in a file in its data directory, so that it gets the same priority,
votes, tags and delay when it is added again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreUnreachable, agreed
from agent.datastores.mongodb.connection import MongoRefused
from agent.datastores.mongodb.member import MemberState, look
from agent.plan import Plan, Would
from agent.util import atomic_files
from agent.util.poll import looks, poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB

KEPT = "agent-member.json"
CHANGED_MEANWHILE = (103, 109, 308)
"""NewReplicaSetConfigurationIncompatible, ConfigurationInProgress and CurrentConfigNotCommittedYet."""
Members = list[dict[str, Any]]


def plan_leave(here: MongoDB) -> Plan:
    """What `leave` would do now."""
    state = look(here)
    if state.membership == "alone" or state.state == "PRIMARY":
        return plan.refuse("not a replica: this server is a primary", "run this action on a replica")
    if state.membership != "member":
        return plan.nothing("this server follows no source already")
    if state.primary is None:
        reason = f"the set {state.set_name} has no primary now that could remove this member"
        return plan.refuse(reason, "promote a member first")
    return Plan(
        Would.CHANGE,
        f"the primary {state.primary} would remove this member from the set {state.set_name}",
        steps=["keep the options of this member in its data directory", f"replSetReconfig on {state.primary}"],
        warnings=_warnings(state),
        facts={"set": state.set_name, "set_id": state.set_id, "member": state.me},
    )


def leave(here: MongoDB, stop: Stop) -> dict[str, Any]:
    """Remove this member from the set, on the primary; it stays read-only, also after a restart."""
    decided = agreed(plan_leave(here))
    state = look(here)
    if decided.would is Would.NOTHING or state.primary is None:
        return {}
    member = next((dict(each) for each in state.config["members"] if each["host"] == state.me), {})
    kept = _keep(here, member)
    reconfigure(
        here.member(state.primary), lambda members: _without(members, str(state.me)), here.settings.timeout, stop
    )
    if not poll(lambda: "setName" not in here.hello(), here.settings.timeout, stop):
        raise DatastoreUnreachable(f"MongoDB at {here.address} was removed from its set and has not noticed it yet")
    return {"set": state.set_name, "removed": state.me, "member": member, "kept_in": kept}


def join(primary: MongoDB, me: str, member: Mapping[str, Any], timeout: float, stop: Stop) -> None:
    """Add a member without a vote, on the primary, so that its catch-up cannot cost the set its majority."""
    silent = {**member, "host": me, "priority": 0, "votes": 0}
    reconfigure(primary, lambda members: _with(members, silent), timeout, stop)


def give_vote(primary: MongoDB, me: str, member: Mapping[str, Any], timeout: float, stop: Stop) -> None:
    """Restore the stored options of a following member; without stored options use mongod's defaults."""
    options = {"priority": 1, "votes": 1} | {
        name: value for name, value in member.items() if name not in ("_id", "host")
    }
    reconfigure(
        primary,
        lambda members: [each | options if each["host"] == me else each for each in members],
        timeout,
        stop,
    )


def take_out(primary: MongoDB, me: str, timeout: float, stop: Stop) -> None:
    """Remove a member, on the primary."""
    reconfigure(primary, lambda members: _without(members, me), timeout, stop)


def kept_member(directory: Path | None) -> dict[str, Any]:
    """The stored options of this member; empty if none were stored."""
    if directory is None:
        return {}
    with suppress(OSError, ValueError):
        found = json.loads((directory / KEPT).read_text())
        return found if isinstance(found, dict) else {}
    return {}


def kept_address(directory: Path | None) -> str | None:
    """The address that this server had in its set before the agent removed it; None if unknown."""
    found = kept_member(directory).get("host")
    return None if found is None else str(found)


def reconfigure(primary: MongoDB, change: Callable[[Members], Members], timeout: float, stop: Stop) -> None:
    """Change the list of members; retry if the configuration was changed concurrently."""
    for last in looks(timeout, stop):
        config = primary.command("replSetGetConfig")["config"]
        members = change([dict(each) for each in config["members"]])
        if members == config["members"]:
            return
        try:
            primary.command("replSetReconfig", config | {"members": members, "version": config["version"] + 1})
        except MongoRefused as error:
            if error.code not in CHANGED_MEANWHILE or last:
                raise
        else:
            return


def _without(members: Members, address: str) -> Members:
    return [each for each in members if each["host"] != address]


def _with(members: Members, member: dict[str, Any]) -> Members:
    if any(each["host"] == member["host"] for each in members):
        return members
    free = max((int(each["_id"]) for each in members), default=-1) + 1
    return [*members, member | {"_id": free}]


def _keep(here: MongoDB, member: Mapping[str, Any]) -> str | None:
    """The file with the stored options; None if the agent cannot write there."""
    directory = here.data_directory()
    if directory is None:
        return None
    plain = {name: value for name, value in member.items() if isinstance(value, str | int | float | bool | dict)}
    try:
        atomic_files.replace(directory / KEPT, json.dumps(plain).encode())
    except (OSError, TypeError):
        return None
    return str(directory / KEPT)


def _warnings(state: MemberState) -> list[str]:
    found = []
    left = [each for each in state.others if each.has_data]
    if len(left) == 1:
        found.append(f"{left[0].address} would be the only member of the set with the data")
    votes = sum(each.votes for each in state.others)
    reachable = state.votes_of_others
    if reachable < votes // 2 + 1:
        found.append(f"{reachable} of the {votes} remaining votes are reachable: the set would have no majority")
    if sum(each.votes for each in left) < votes // 2 + 1 <= reachable:
        found.append("writes with the write concern majority would wait: too few members with data remain")
    return found
