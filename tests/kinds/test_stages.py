"""A staged kind runs its stages in order, and an interruption resumes the running stage."""

from __future__ import annotations

from typing import Any

import pytest

from agent.config import Settings
from agent.kinds.base import Done, Failed, Kind, NotOffered, Running, Step, StepResult
from agent.kinds.base.staged import Staged
from tests.kinds.performing import perform, step_of


class Stage(Kind):
    """Runs twice and is done; `seen` has its calls."""

    name = "first"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.seen: list[tuple[str, Any]] = []

    def step(self, step: Step) -> StepResult:
        self.seen.append(("step", step.payload))
        return Done({"turn": 2}, f"{self.name} is done") if step.payload else Running({"turn": 1}, after=0.001)

    def resume(self, step: Step) -> StepResult:
        self.seen.append(("resume", step.payload))
        return Running({"turn": 1})

    def cancel(self, step: Step) -> None:
        self.seen.append(("cancel", step.payload))


class Second(Stage):
    name = "second"


class Failing(Stage):
    name = "failing"

    def step(self, step: Step) -> StepResult:
        return Failed({"why": "no"}, "it would not")


class Nowhere(Stage):
    name = "nowhere"

    def __init__(self, settings: Settings) -> None:
        raise NotOffered("set [something] in the configuration")


class Both(Staged):
    name = "both"
    stages = (Stage, Second)


class OneFails(Staged):
    name = "one-fails"
    stages = (Failing, Second)


class OneIsMissing(Staged):
    name = "one-is-missing"
    stages = (Stage, Nowhere)


def payload(stage: int, state: str, own: Any) -> dict[str, Any]:
    return {"stage": stage, "state": state, "payload": own}


def seen(kind: Staged) -> list[list[tuple[str, Any]]]:
    return [stage.seen for stage in kind._stages if isinstance(stage, Stage)]


def test_each_stage_starts_without_a_payload_and_its_end_is_a_transition() -> None:
    kind = Both(Settings())
    assert perform(kind) == [
        Running(payload(0, "RUNNING", {"turn": 1}), after=0.001),
        Running(payload(0, "DONE", {"turn": 2})),
        Running(payload(1, "RUNNING", {"turn": 1}), after=0.001),
        Done(payload(1, "DONE", {"turn": 2}), "second is done"),
    ]
    assert seen(kind) == [[("step", None), ("step", {"turn": 1})]] * 2


def test_failed_stage_fails_the_action_and_no_later_stage_starts() -> None:
    kind = OneFails(Settings())
    assert perform(kind) == [
        Failed(payload(0, "FAILED", {"why": "no"}), "stage 1 of 2, failing: it would not"),
    ]
    assert seen(kind)[1] == []


@pytest.mark.parametrize(
    "left, called",
    [
        (None, [[("resume", None)], []]),
        (payload(0, "RUNNING", {"turn": 1}), [[("resume", {"turn": 1})], []]),
        (payload(0, "DONE", {"turn": 2}), [[], [("resume", None)]]),
        (payload(1, "RUNNING", {"turn": 1}), [[], [("resume", {"turn": 1})]]),
    ],
)
def test_interrupted_stage_is_resumed(left: Any, called: Any) -> None:
    kind = Both(Settings())
    outcome = kind.resume(step_of(kind, left))
    assert seen(kind) == called
    assert outcome.payload == payload(0 if called[0] else 1, "RUNNING", {"turn": 1})


@pytest.mark.parametrize(
    "left, called",
    [
        (payload(0, "RUNNING", {"turn": 1}), [[("cancel", {"turn": 1})], []]),
        (payload(0, "DONE", {"turn": 2}), [[], [("cancel", None)]]),
        (payload(1, "DONE", {"turn": 2}), [[], []]),
    ],
)
def test_cancel_is_passed_to_the_running_stage(left: Any, called: Any) -> None:
    kind = Both(Settings())
    kind.cancel(step_of(kind, left))
    assert seen(kind) == called


def test_a_staged_kind_is_not_offered_without_one_of_its_stages() -> None:
    with pytest.raises(NotOffered, match=r"set \[something\]"):
        list(OneIsMissing.offered(Settings()))
