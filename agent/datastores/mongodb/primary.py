"""Find and identify the primary for a resync. A set is identified by its id, because names may be reused."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.datastores.base import DatastoreError, DatastoreRefused
from agent.datastores.mongodb import address as mongodb_address
from agent.datastores.mongodb.member import MemberState, look
from agent.datastores.refusal import PlanRefused
from agent.datastores.replication_requests import ResyncRequest

if TYPE_CHECKING:
    from agent.datastores.mongodb.server import MongoDB


@dataclass(frozen=True, slots=True)
class Primary:
    """The primary of the set and its state; `foreign`: this server was never a member of that set."""

    server: MongoDB
    state: MemberState
    address: str
    foreign: bool = False


def find(here: MongoDB, state: MemberState | None, request: ResyncRequest) -> Primary:
    """The named peer; otherwise `datastore.primary`, otherwise the present primary of the set.

    If `datastore.primary` is no longer the primary, the present primary of the same set is used.
    Raises `PlanRefused` and `DatastoreError`.
    """
    if request.primary is not None:
        return _named(here, state, request)
    if here.primary is not None:
        try:
            return _configured(here, here.primary, state, request)
        except DatastoreError:
            if state is None or state.primary is None:
                raise
    return _current(here, state)


def _named(here: MongoDB, state: MemberState | None, request: ResyncRequest) -> Primary:
    server = here.named(str(request.primary))
    found = _identified(here, server, look(server), state, request)
    return _leading(found)


def _configured(here: MongoDB, server: MongoDB, state: MemberState | None, request: ResyncRequest) -> Primary:
    found = _identified(here, server, look(server), state, request)
    if found.state.state != "PRIMARY" and found.state.primary is not None:
        other = here.member(found.state.primary)
        found = _identified(here, other, look(other), state, request)
    return _leading(found)


def _current(here: MongoDB, state: MemberState | None) -> Primary:
    """The primary according to this member or to the other members of its set."""
    if state is None:
        raise DatastoreRefused(
            "set datastore.primary, or name a peer: this server is down and cannot report its primary"
        )
    addresses = [state.primary] if state.primary else [str(each["host"]) for each in state.config.get("members", ())]
    for address in addresses:
        with suppress(DatastoreError):
            server = here.member(address)
            there = look(server)
            if there.state == "PRIMARY" and there.set_id == state.set_id:
                return Primary(server, there, address)
    raise PlanRefused(f"the set {state.set_name} has no reachable primary now", "promote one of its members first")


def _identified(
    here: MongoDB, server: MongoDB, there: MemberState, state: MemberState | None, request: ResyncRequest
) -> Primary:
    if there.membership != "member" or there.me is None:
        raise PlanRefused(f"{server.address} is in no replica set", "name the primary of the set of this server")
    if request.adopt is not None and request.adopt != there.set_id:
        raise PlanRefused(
            f"adopt names {request.adopt}, and the set of {server.address} has the id {there.set_id}", "check both"
        )
    if state is not None and there.me == state.me:
        raise PlanRefused(f"{server.address} is this server itself", "name another server as the primary")
    foreign = state is not None and state.set_id is not None and state.set_id != there.set_id
    if foreign and request.adopt is None:
        assert state is not None
        raise PlanRefused(
            f"{server.address} belongs to another replica set: its id is {there.set_id}, and the set of this server, "
            f"{state.set_name}, has the id {state.set_id}",
            f'check the address; a server that was removed from its set discards its data with adopt: "{there.set_id}"',
            set_id=state.set_id,
            primary_set_id=there.set_id,
        )
    return Primary(server, there, there.me, foreign)


def _leading(found: Primary) -> Primary:
    if found.state.state != "PRIMARY":
        known = f"the primary of its set is {found.state.primary}" if found.state.primary else "its set has none now"
        raise PlanRefused(
            f"{found.server.address} is no primary, it is in the state {found.state.state}: {known}",
            "name the primary, or promote this member first",
        )
    return found


def own_address(here: MongoDB, primary: Primary) -> str:
    """The address of this server in the primary's set; a foreign set has no member at this address."""
    if (me := mongodb_address.own_address(here, primary.state.config)) is None:
        raise PlanRefused(
            f"the set {primary.state.set_name} of {primary.address} has no member at the address of this server",
            "name the primary of the set of this server, or add this server there by rs.add()",
            primary_set_id=primary.state.set_id,
        )
    return me
