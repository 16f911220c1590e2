"""The danger that a person confirms before an action: the worse of its kind and its plan."""

import pytest

from agent.plan import Danger, Discard, Plan, Would, refuse, to_confirm, unknown

LOST = [Discard("transactions of the old primary", 3, "transactions")]


@pytest.mark.parametrize(
    ("kind", "plan", "confirmed"),
    [
        (Danger.NONE, Plan(Would.CHANGE, "change"), Danger.NONE),
        (Danger.NONE, Plan(Would.DISRUPT, "stop"), Danger.DISRUPTS),
        (Danger.DISRUPTS, Plan(Would.NOTHING, "nothing"), Danger.DISRUPTS),
        (Danger.DISRUPTS, Plan(Would.DESTROY, "drop"), Danger.DESTROYS),
        (Danger.DISRUPTS, Plan(Would.CHANGE, "promote", discards=LOST), Danger.DESTROYS),
        (Danger.DISRUPTS, unknown("the server does not answer"), Danger.DISRUPTS),
        (Danger.DESTROYS, refuse("it is a primary", "force"), Danger.DESTROYS),
    ],
)
def test_worse_danger_of_kind_and_plan_is_confirmed(kind: Danger, plan: Plan, confirmed: Danger) -> None:
    assert to_confirm(kind, plan.as_json()) is confirmed
