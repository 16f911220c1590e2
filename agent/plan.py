"""What an action would do now: the answer of `POST /plan/<kind>`, and the first thing that an action records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from agent.models import Json


class Would(StrEnum):
    """The effect of an action on the world, from harmless to harmful (PROTOCOL.md section 4)."""

    NOTHING = "nothing"
    CHANGE = "change"
    DISRUPT = "disrupt"
    DESTROY = "destroy"
    REFUSE = "refuse"
    UNKNOWN = "unknown"


class Danger(StrEnum):
    """The worst that a kind of action can do, whatever its arguments."""

    NONE = "none"
    DISRUPTS = "disrupts"
    DESTROYS = "destroys"


DANGERS = {Would.DISRUPT: Danger.DISRUPTS, Would.DESTROY: Danger.DESTROYS}
"""What an effect is called where it needs a confirmation."""
SEVERITY = (Would.NOTHING, Would.CHANGE, Would.UNKNOWN, Would.DISRUPT, Would.DESTROY, Would.REFUSE)
"""Harmless first; what is not known counts as more than a change."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Data that is given up, such as `Discard("WAL after 0/3000148", 16777216, "bytes")`. `amount` None: not known."""

    what: str
    amount: int | float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Needs:
    """What an action needs: free bytes on disk, an estimate of its seconds, privileges that are missing or required."""

    disk_bytes: int | None = None
    seconds: float | None = None
    privileges: Sequence[str] = ()

    def as_json(self) -> dict[str, Json]:
        """Only what is known."""
        known: dict[str, Json] = {"disk_bytes": self.disk_bytes, "seconds": self.seconds}
        known["privileges"] = list(self.privileges) or None
        return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the action would fail with the world as it was, and what would let it run."""

    reason: str
    lifted_by: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an action would do in the present state of the world. Making one changes nothing.

    `facts` are what the decision was made from; `method` among them names the way that a resync takes.
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
        """The members of the wire's answer, but for `kind`."""
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
    """What a person confirms before an action: the worse of the danger of its kind and the effect of its plan.

    `plan` is one as JSON. A plan that gives up data destroys, whatever else it does.
    """
    effect = Danger.DESTROYS if plan["discards"] else DANGERS.get(plan["would"], Danger.NONE)
    return max(kind, effect, key=list(Danger).index)


def object_name(kind: str, args: Mapping[str, Any]) -> str:
    """The name of the object that the action destroys, which a person types to confirm it; else its kind."""
    for name in ("name", "database", "user", "application", "server"):
        if isinstance(args.get(name), str) and args[name]:
            return str(args[name])
    return kind


def discards_as_json(discards: Sequence[Discard]) -> list[dict[str, Json]]:
    """The member `discards` of a plan, and `discarded` of a result."""
    return [asdict(each) for each in discards]


def nothing(summary: str, **more: Any) -> Plan:
    """The world is as wanted already."""
    return Plan(Would.NOTHING, summary, **more)


def refuse(reason: str, lifted_by: str, **more: Any) -> Plan:
    """The action would fail and change nothing. `more` are other members of the plan."""
    return Plan(Would.REFUSE, reason, refusal=Refusal(reason, lifted_by), **more)


def in_order(summary: str, plans: Sequence[Plan]) -> Plan:
    """The plan of actions that are carried out one after the other; the first refusal refuses all of them."""
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
    """What the action would do cannot be said."""
    return Plan(Would.UNKNOWN, summary, **more)
