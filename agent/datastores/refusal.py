"""The exception for a request that the state of a server does not permit; it becomes the refusal of a plan."""

from __future__ import annotations

from typing import Any

from agent import plan
from agent.plan import Plan


class PlanRefused(Exception):
    """The request is refused; `lifted_by` is the cure."""

    def __init__(self, reason: str, lifted_by: str, **facts: Any) -> None:
        super().__init__(reason)
        self.reason, self.lifted_by, self.facts = reason, lifted_by, facts

    @property
    def plan(self) -> Plan:
        """The refusal, with the facts behind it."""
        return plan.refuse(self.reason, self.lifted_by, facts=self.facts)
