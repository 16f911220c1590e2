"""Kinds run without an agent: their steps one after the other, as the executor calls them."""

from __future__ import annotations

from typing import Any

from agent.kinds.base import Kind, Running, Step, StepResult
from agent.models import Action, State
from agent.util.stop import Stop

NO_ARGS: Any = {}


def step_of(kind: Kind, payload: Any = None, *, args: Any = NO_ARGS, action_id: str = "a-1") -> Step:
    """The step of an action of this kind after one that returned `payload`."""
    action = Action(
        seq=1, id=action_id, kind=kind.name, args=args, headers={}, requester="API", state=State.RUNNING,
        state_payload=payload, created_ts=0, scheduled_ts=0, finished_ts=None,
    )  # fmt: skip
    return Step(action, kind.load(args), payload)


def perform(
    kind: Kind, payload: Any = None, *, args: Any = NO_ARGS, action_id: str = "a-1", most: int = 100
) -> list[StepResult]:
    """All outcomes from the step after `payload` to the final one, with the waits between them."""
    outcomes: list[StepResult] = []
    while len(outcomes) < most:
        outcomes.append(outcome := kind.step(step_of(kind, payload, args=args, action_id=action_id)))
        if not isinstance(outcome, Running):
            return outcomes
        Stop().wait(outcome.after)
        payload = outcome.payload
    raise AssertionError(f"not final after {most} steps: {outcomes[-3:]}")
