"""The words of the node protocol: names of kinds and requesters, and what the body of a schedule call holds.

`api.node_protocol` selects a generation. Every route of the Actions API reads and writes through `words()`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, current_app, request

from agent.api import authentication
from agent.api.context import context
from agent.api.routing import ACTIONS
from agent.errors import ActionNotAvailable
from agent.kinds.base import Kind
from agent.models import Action, Json, Requester
from agent.store.action_list import Item

HEADER = "Node-Protocol"
"""A request header by which `agentctl` asks for the words of this module, whatever the node is configured for."""


@dataclass(frozen=True)
class ScheduleRequest:
    """What the body of a schedule call asks for. `created_ts` is in microseconds since the epoch."""

    args: Json
    action_id: str | None = None
    created_ts: int | None = None
    core_requester: str | None = None


class SeedWords:
    """The seed's generation: the agent's own names, and a body that is the arguments."""

    generation = "seed"
    requesters: tuple[str, ...] = tuple(Requester)
    """All that the member `requester` may be."""

    def kind_name(self, name: str) -> str:
        """The name of one of the agent's kinds on the wire."""
        return name

    def meant(self, name: str) -> str:
        """The agent's own name for a name from the wire; raises `KeyError` where there is none."""
        return name

    def requester(self, action: Action | Item) -> str:
        """Who asked for an action."""
        return action.requester

    def wanted(self, body: Json) -> ScheduleRequest:
        """What a schedule call with this body asks for. Raises `InvalidArgs` and `Forbidden`."""
        return ScheduleRequest(body)

    def changed(self, action: Action | Item) -> dict[str, Any]:
        """The members of an action, or of an item of the list, that differ from the agent's own words."""
        return {}

    def body_schema(self, kind: Kind) -> dict[str, Any]:
        """The JSON Schema of the body of a schedule or plan call for this kind."""
        return kind.args_schema()

    def any_body(self) -> dict[str, Any]:
        """The JSON Schema of the body of a schedule or plan call for any kind."""
        return {}


SEED = SeedWords()


def init_app(app: Flask) -> None:
    """Where the header selects the words of an answer, tell caches so."""
    if app.extensions["agent.words"] is not SEED:
        app.after_request(_varying)


def _varying(response: Response) -> Response:
    if request.path.startswith(f"{ACTIONS}/"):
        response.vary.add(HEADER)
    return response


def words() -> SeedWords:
    """Those that this request is read and answered in."""
    own = request.headers.get(HEADER) == SEED.generation or authentication.channel() is Requester.WEB
    return SEED if own else configured()


def configured() -> SeedWords:
    """Those that `api.node_protocol` selects."""
    found: SeedWords = current_app.extensions["agent.words"]
    return found


def kind_called(name: str) -> Kind:
    """The kind of this name on the wire. Raises `ActionNotAvailable`."""
    spoken, registry = words(), context().registry
    try:
        return registry.get(spoken.meant(name))
    except (KeyError, ActionNotAvailable):
        raise ActionNotAvailable(registry.why_not(name, spoken.kind_name)) from None


def items(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The queue or the finished actions on the wire."""
    spoken = words()
    return [row | {"kind": spoken.kind_name(row["kind"])} for row in rows]


def shown(fields: Mapping[str, Any], action: Action | Item) -> dict[str, Any]:
    """The members of an action, or of an item of the list, on the wire."""
    return dict(fields) | words().changed(action)
