"""The plan of an action: the answer of `POST /plan/<kind>`, and the first payload of many actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from agent.models import Json


class Would(StrEnum):
    """The effect of an action, from harmless to harmful."""

    NOTHING = "nothing"
    CHANGE = "change"
    DISRUPT = "disrupt"
    DESTROY = "destroy"
    REFUSE = "refuse"
    UNKNOWN = "unknown"


class Danger(StrEnum):
    """The worst effect that a kind can have, with any arguments."""

    NONE = "none"
    DISRUPTS = "disrupts"
    DESTROYS = "destroys"


DANGERS = {Would.DISRUPT: Danger.DISRUPTS, Would.DESTROY: Danger.DESTROYS}
"""The danger of each effect that needs a confirmation."""
SEVERITY = (Would.NOTHING, Would.CHANGE, Would.UNKNOWN, Would.DISRUPT, Would.DESTROY, Would.REFUSE)
"""From harmless to harmful; an unknown effect counts as worse than a change."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Data that is given up, such as `Discard("WAL after 0/3000148", 16777216, "bytes")`. `amount` None: unknown."""

    what: str
    amount: int | float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Needs:
    """The needs of an action: free bytes on disk, estimated seconds, and missing or required privileges."""

    disk_bytes: int | None = None
    seconds: float | None = None
    privileges: Sequence[str] = ()

    def as_json(self) -> dict[str, Json]:
        """The known members."""
        known: dict[str, Json] = {"disk_bytes": self.disk_bytes, "seconds": self.seconds}
        known["privileges"] = list(self.privileges) or None
        return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the action would fail in the planned state, and the change that would let it run."""

    reason: str
    lifted_by: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The effect of an action in the present state of the host and its server. Planning changes nothing.

    `facts`: the inputs of the decision; for a resync also its `method`.
    """

    would: Would
    summary: str
    steps: Sequence[str] = ()
    discards: Sequence[Discard] = ()
    needs: Needs = Needs()
    warnings: Sequence[str] = ()
    refusal: Refusal | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Json]:
        """The members of the answer, except `kind`."""
        return {
            "would": self.would.value,
            "summary": self.summary,
            "steps": list(self.steps),
            "discards": discards_as_json(self.discards),
            "needs": self.needs.as_json(),
            "warnings": list(self.warnings),
            "refusal": None if self.refusal is None else asdict(self.refusal),
            "facts": dict(self.facts),
        }


def to_confirm(kind: Danger, plan: Mapping[str, Any]) -> Danger:
    """The danger that a user confirms before an action: the worse of the kind's danger and the plan's effect.

    `plan` is the JSON form. A plan with `discards` destroys.
    """
    effect = Danger.DESTROYS if plan["discards"] else DANGERS.get(plan["would"], Danger.NONE)
    return max(kind, effect, key=list(Danger).index)


def object_name(kind: str, args: Mapping[str, Any]) -> str:
    """The name that a user types to confirm: the object's, or the kind if the arguments name no object."""
    for name in ("name", "database", "user", "application", "server"):
        if isinstance(args.get(name), str) and args[name]:
            return str(args[name])
    return kind


def discards_as_json(discards: Sequence[Discard]) -> list[dict[str, Json]]:
    """The member `discards` of a plan, and `discarded` of a result."""
    return [asdict(each) for each in discards]


def nothing(summary: str, **more: Any) -> Plan:
    """The plan of an action that has nothing to change."""
    return Plan(Would.NOTHING, summary, **more)


def refuse(reason: str, lifted_by: str, **more: Any) -> Plan:
    """The plan of an action that would fail and change nothing. `more`: other members of the plan."""
    return Plan(Would.REFUSE, reason, refusal=Refusal(reason, lifted_by), **more)


def in_order(summary: str, plans: Sequence[Plan]) -> Plan:
    """The plan of actions that run one after the other; the first refusal refuses all of them."""
    if refused := next((each for each in plans if each.would is Would.REFUSE), None):
        return refused
    return Plan(
        max((each.would for each in plans), key=SEVERITY.index, default=Would.NOTHING),
        summary,
        steps=[step for each in plans for step in each.steps],
        discards=[discard for each in plans for discard in each.discards],
        warnings=[warning for each in plans for warning in each.warnings],
    )


def unknown(summary: str, **more: Any) -> Plan:
    """The plan of an action with an unknown effect."""
    return Plan(Would.UNKNOWN, summary, **more)
