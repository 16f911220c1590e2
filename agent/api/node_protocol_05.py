"""Generation 0.5 of the node protocol: an envelope around the arguments, requesters of the core, kinds by domain."""

import re
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, fields, validate

from agent import clock
from agent.api import permissions
from agent.api.node_protocol import ScheduleRequest, SeedWords
from agent.api.request_metadata import microseconds
from agent.api.routing import UUID
from agent.kinds.base import Kind
from agent.kinds.base.json_schema import json_schema
from agent.models import Action, Json
from agent.store.action_list import Item
from agent.util.validation import load

AGENT_API = "AGENT_API"
CORE = ("CORE_API", "CORE_PLAYBOOK", "CORE_DECLARATIVE")
PERMISSION = "controller"
"""The permission that a caller needs to name a requester of the core."""
EXACT = {
    "replicante.service.gracefulrestart": "replicante.io/service.graceful.restart",
    "replicante.service.gracefulstop": "replicante.io/service.graceful.stop",
}
PREFIXES = {
    "replicante.service.": "replicante.io/service.",
    "replicante.store.": "replicante.io/store.",
    "replicante.test.": "agent.replicante.io/test.",
    "external.": "external.agent.replicante.io/",
}
"""Prefixes of the agent's own names and their replacements. Other names are the same in both."""
ID = re.compile(rf"{UUID}\Z")
AHEAD = 24 * 3600
"""Seconds that the clock of a controller may be ahead of the agent's."""


class MomentField(fields.Field[int]):
    """A time of RFC 3339, loaded as microseconds since the epoch."""

    default_error_messages = {
        "invalid": "Not a time as in RFC 3339, such as 2026-01-31T03:00:00Z.",
        "ahead": "More than a day later than the clock of the agent.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        try:
            found = microseconds(value)
        except ValueError:
            raise self.make_error("invalid") from None
        if found > clock.now() + AHEAD * 1_000_000:
            raise self.make_error("ahead")
        return found


class Envelope(Schema):
    """The body of a schedule call. Null is the same as an absent member."""

    action_id = fields.String(
        allow_none=True,
        validate=validate.Regexp(ID, error="Not a uuid."),
        metadata={"description": "The id of the action; a known id is answered 409. Default: the agent generates one."},
    )
    args = fields.Raw(allow_none=True, metadata={"description": "The arguments; null is {}."})
    created_ts = MomentField(
        allow_none=True,
        metadata={"description": "When the action was created; now unless given.", "format": "date-time"},
    )
    requester = fields.String(
        allow_none=True,
        validate=validate.OneOf((AGENT_API, *CORE)),
        metadata={"description": f"The requester; CORE_* needs the permission {PERMISSION}."},
    )


class Words05(SeedWords):
    """Generation 0.5."""

    generation = "0.5"
    requesters = (AGENT_API, *CORE)

    def kind_name(self, name: str) -> str:
        return EXACT.get(name) or _replaced(name, PREFIXES) or name

    def meant(self, name: str) -> str:
        own = {there: here for here, there in EXACT.items()}.get(name)
        own = own or _replaced(name, {there: here for here, there in PREFIXES.items()}) or name
        if own == name != self.kind_name(own):
            raise KeyError(name)
        return own

    def requester(self, action: Action | Item) -> str:
        """One value for all channels of the agent itself."""
        return action.core_requester or AGENT_API

    def wanted(self, body: Json) -> ScheduleRequest:
        refusal = "the body is not an envelope of the node protocol 0.5 (action_id, args, created_ts, requester)"
        found: dict[str, Any] = load(Envelope(), body, refusal)
        requester, action_id = found.get("requester"), found.get("action_id")
        if requester in CORE:
            permissions.require(PERMISSION)
        args = found.get("args")
        return ScheduleRequest(
            {} if args is None else args, action_id and action_id.lower(), found.get("created_ts"), requester
        )

    def changed(self, action: Action | Item) -> dict[str, Any]:
        changed = {"kind": self.kind_name(action.kind), "requester": self.requester(action)}
        # A caller's own time is returned with its fraction; whole seconds have the form of all other times.
        if action.created_ts % 1_000_000:
            changed["created_ts"] = _precise(action.created_ts)
        return changed

    def body_schema(self, kind: Kind) -> dict[str, Any]:
        envelope = json_schema(Envelope())
        args = kind.args_schema()
        required = {"required": ["args"]} if args.get("required") else {}
        return envelope | {"properties": envelope["properties"] | {"args": args}} | required

    def any_body(self) -> dict[str, Any]:
        return json_schema(Envelope())


def _replaced(name: str, prefixes: dict[str, str]) -> str | None:
    """The name with its prefix replaced; None if it has none of these prefixes."""
    return next((new + name[len(old) :] for old, new in prefixes.items() if name.startswith(old)), None)


def _precise(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
