"""The generations of the node protocol: names of kinds and requesters, and the body of a schedule call.

`api.node_protocol` selects one. Every route of the Actions API reads and writes through `words()`.
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
"""A request header by which `agentctl` selects the generation `seed`, independent of the configuration."""


@dataclass(frozen=True)
class ScheduleRequest:
    """The content of the body of a schedule call. `created_ts` is in microseconds since the epoch."""

    args: Json
    action_id: str | None = None
    created_ts: int | None = None
    core_requester: str | None = None


class SeedWords:
    """The generation `seed`: the agent's own names; the body is the arguments."""

    generation = "seed"
    requesters: tuple[str, ...] = tuple(Requester)
    """The values of the member `requester`."""

    def kind_name(self, name: str) -> str:
        """The name of one of the agent's kinds in the protocol."""
        return name

    def meant(self, name: str) -> str:
        """The agent's own name of a kind of the protocol. Raises `KeyError` for an unknown kind."""
        return name

    def requester(self, action: Action | Item) -> str:
        """The requester of an action."""
        return action.requester

    def wanted(self, body: Json) -> ScheduleRequest:
        """The content of the body of a schedule call. Raises `InvalidArgs` and `Forbidden`."""
        return ScheduleRequest(body)

    def changed(self, action: Action | Item) -> dict[str, Any]:
        """The members of an action, or of an item of the list, that differ from those of `seed`."""
        return {}

    def body_schema(self, kind: Kind) -> dict[str, Any]:
        """The JSON Schema of the body of a schedule or plan call for this kind."""
        return kind.args_schema()

    def any_body(self) -> dict[str, Any]:
        """The JSON Schema of the body of a schedule or plan call for any kind."""
        return {}


SEED = SeedWords()


def init_app(app: Flask) -> None:
    """Set the header `Vary` if a request can select another generation than the configured one."""
    if app.extensions["agent.words"] is not SEED:
        app.after_request(_varying)


def _varying(response: Response) -> Response:
    if request.path.startswith(f"{ACTIONS}/"):
        response.vary.add(HEADER)
    return response


def words() -> SeedWords:
    """The generation of this request and its answer."""
    own = request.headers.get(HEADER) == SEED.generation or authentication.channel() is Requester.WEB
    return SEED if own else configured()


def configured() -> SeedWords:
    """The generation that `api.node_protocol` selects."""
    found: SeedWords = current_app.extensions["agent.words"]
    return found


def kind_called(name: str) -> Kind:
    """The kind with this name in the protocol. Raises `ActionNotAvailable`."""
    generation, registry = words(), context().registry
    try:
        return registry.get(generation.meant(name))
    except (KeyError, ActionNotAvailable):
        raise ActionNotAvailable(registry.why_not(name, generation.kind_name)) from None


def items(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the queue or of the finished actions, in the words of the protocol."""
    generation = words()
    return [row | {"kind": generation.kind_name(row["kind"])} for row in rows]


def shown(fields: Mapping[str, Any], action: Action | Item) -> dict[str, Any]:
    """The members of an action, or of an item of the list, in the words of the protocol."""
    return dict(fields) | words().changed(action)
