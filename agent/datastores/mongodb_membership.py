"""The configuration of a replica set, changed by its primary: one member leaves it or joins it again.

What a member was configured with is kept in a file in its data directory when it leaves, so that it joins with the same
priority, votes, tags and delay.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import plan
from agent.datastores.base import DatastoreUnreachable, agreed
from agent.datastores.mongodb_connection import MongoRefused
from agent.datastores.mongodb_member import State, look
from agent.hosts import files
from agent.plan import Plan, Would
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.mongodb import MongoDB

KEPT = "agent-member.json"
CHANGED_MEANWHILE = (103, 109, 308)
"""NewReplicaSetConfigurationIncompatible, ConfigurationInProgress and CurrentConfigNotCommittedYet."""
LOOK_EVERY = 0.1
Members = list[dict[str, Any]]


def plan_leave(here: MongoDB) -> Plan:
    """What `leave` would do now."""
    state = look(here)
    if state.part == "alone" or state.state == "PRIMARY":
        return plan.refuse("not a replica: this server is a primary", "run this action on a replica")
    if state.part != "member":
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
    """Let the primary remove this member from the set; it stays read-only, also after a restart."""
    decided = agreed(plan_leave(here))
    state = look(here)
    if decided.would is Would.NOTHING or state.primary is None:
        return {}
    member = next((dict(each) for each in state.config["members"] if each["host"] == state.me), {})
    kept = _keep(here, member)
    reconfigure(
        here.member(state.primary), lambda members: _without(members, str(state.me)), here.settings.timeout, stop
    )
    deadline = time.monotonic() + here.settings.timeout
    while "setName" in here.hello():
        if stop.requested or time.monotonic() > deadline:
            raise DatastoreUnreachable(f"MongoDB at {here.address} was removed from its set and does not know it yet")
        stop.wait(LOOK_EVERY)
    return {"set": state.set_name, "removed": state.me, "member": member, "kept_in": kept}


def join(primary: MongoDB, me: str, member: Mapping[str, Any], timeout: float, stop: Stop) -> None:
    """Let the primary add a member without a vote, so that its way to the present costs the set no majority."""
    silent = {**member, "host": me, "priority": 0, "votes": 0}
    reconfigure(primary, lambda members: _with(members, silent), timeout, stop)


def give_vote(primary: MongoDB, me: str, member: Mapping[str, Any], timeout: float, stop: Stop) -> None:
    """Give a member that follows the options that it had, else those that mongod gives to a new one."""
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
    """Let the primary remove a member."""
    reconfigure(primary, lambda members: _without(members, me), timeout, stop)


def kept_member(directory: Path | None) -> dict[str, Any]:
    """The options of this member when it left; empty where they were not kept."""
    if directory is None:
        return {}
    with suppress(OSError, ValueError):
        found = json.loads((directory / KEPT).read_text())
        return found if isinstance(found, dict) else {}
    return {}


def reconfigure(primary: MongoDB, change: Callable[[Members], Members], timeout: float, stop: Stop) -> None:
    """Change the list of members, again from the start where the configuration has changed meanwhile."""
    deadline = time.monotonic() + timeout
    while True:
        config = primary.command("replSetGetConfig")["config"]
        members = change([dict(each) for each in config["members"]])
        if members == config["members"]:
            return
        try:
            primary.command("replSetReconfig", config | {"members": members, "version": config["version"] + 1})
        except MongoRefused as error:
            if error.code not in CHANGED_MEANWHILE or stop.requested or time.monotonic() > deadline:
                raise
            stop.wait(LOOK_EVERY)
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
    """The file that the options are kept in; None where the agent may not write there."""
    directory = here.data_directory()
    if directory is None:
        return None
    plain = {name: value for name, value in member.items() if isinstance(value, str | int | float | bool | dict)}
    try:
        files.replace(directory / KEPT, json.dumps(plain).encode())
    except (OSError, TypeError):
        return None
    return str(directory / KEPT)


def _warnings(state: State) -> list[str]:
    found = []
    left = [each for each in state.others if each.has_data]
    if len(left) == 1:
        found.append(f"{left[0].address} would be the only member of the set with the data")
    votes = sum(each.votes for each in state.others)
    reachable = state.votes_of_others
    if reachable < votes // 2 + 1:
        found.append(f"{reachable} of the {votes} votes that remain can be had: the set would have no majority")
    if sum(each.votes for each in left) < votes // 2 + 1 <= reachable:
        found.append("writes that ask for a majority would wait: too few members with data remain")
    return found
