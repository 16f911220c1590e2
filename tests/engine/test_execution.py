"""The execution of one action: results of its steps, and every way to its end."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent import clock
from agent.errors import InvalidArgs
from agent.kinds.base import MASK, Done, Failed, Running, Step, StepResult
from agent.kinds.base.masking import mask, mask_names_too
from agent.processes import command
from agent.store import transitions
from tests.agent_process import eventually
from tests.engine.fakes import Scene, Work, count_to


def raising(error: BaseException) -> Work:
    def step(step: Step) -> StepResult:
        raise error

    return step


# Results of a step


def test_done_result_ends_the_action_as_done(scene: Scene) -> None:
    stored = scene.run(lambda step: Done({"a": 1}, "well"))
    assert (stored.state, stored.payload, stored.message) == ("DONE", {"a": 1}, "well")
    assert stored.history == ["NEW", "RUNNING", "DONE"]


def test_failed_result_ends_the_action_as_failed(scene: Scene) -> None:
    stored = scene.run(lambda step: Failed([1], "ill"))
    assert (stored.state, stored.payload, stored.message) == ("FAILED", [1], "ill")


def test_running_result_continues_with_its_payload(scene: Scene) -> None:
    stored = scene.run(count_to(4))
    assert (stored.state, stored.payload) == ("DONE", 4)
    assert stored.history == ["NEW", *["RUNNING"] * 4, "DONE"]


def test_an_exception_is_a_failure_with_its_message(scene: Scene) -> None:
    stored = scene.run(raising(KeyError("where is it")))
    assert stored.state == "FAILED"
    assert stored.payload == {"message": "'where is it'", "error": "KeyError"}
    assert stored.message == "'where is it'"


def test_an_exception_without_a_message_is_reported_by_its_name(scene: Scene) -> None:
    assert scene.run(raising(ValueError())).message == "ValueError"


def test_error_with_causes_is_reported_with_its_layers(scene: Scene) -> None:
    stored = scene.run(raising(InvalidArgs("no", layers=["because", "of this"])))
    assert stored.payload == {"message": "no", "layers": ["because", "of this"]}


@pytest.mark.parametrize(
    "rubbish",
    [
        None,
        "done",
        {"state": "DONE"},
        Done,
        Running(1, after="soon"),  # type: ignore[arg-type]
        Running(1, after=None),  # type: ignore[arg-type]
        Done({}, message=None),  # type: ignore[arg-type]
        Failed({}, message={"why": "no text"}),  # type: ignore[arg-type]
        Done({1, 2}),
        Done({"at": time}),
        Done(float("nan")),
        Running([float("inf")]),
        Running(b"bytes"),
    ],
    ids=repr,
)
def test_invalid_result_of_a_step_fails_the_action_and_not_the_queue(scene: Scene, rubbish: Any) -> None:
    scene.kind(lambda step: rubbish)
    scene.kind(lambda step: Done(), name="next")
    bad, good = scene.schedule(), scene.schedule("next")
    scene.drain()
    assert scene.stored(bad).state == "FAILED"
    assert scene.stored(bad).message
    assert scene.stored(good).state == "DONE"


def test_a_payload_that_refers_to_itself_fails_the_action(scene: Scene) -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert scene.run(lambda step: Done(endless)).state == "FAILED"


@pytest.mark.parametrize("text", ["\udcff", "a\x00b", "\ud800"])
def test_message_with_nul_or_lone_surrogates_is_stored(scene: Scene, text: str) -> None:
    stored = scene.run(raising(OSError(text)))
    assert (stored.state, stored.payload["message"]) == ("FAILED", text)
    assert stored.history == ["NEW", "RUNNING", "FAILED"]


def test_message_of_an_exception_is_never_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        scene.run(raising(ValueError("the secret argument")))
    logged = [record.getMessage() for record in caplog.records if "raised" in record.getMessage()]
    assert len(logged) == 1
    assert "ValueError" in logged[0]
    assert "the secret argument" not in logged[0]


# Arguments and secrets


def test_a_step_gets_its_arguments_and_secrets(scene: Scene) -> None:
    seen: list[Any] = []

    def step(step: Step) -> StepResult:
        seen.append(step.args)
        return Done()

    scene.run(step, args={"user": "bob", "password": MASK}, secrets={"password": "hunter22"})
    assert seen == [{"user": "bob", "password": "hunter22"}]


@pytest.mark.parametrize(
    "outcome",
    [
        Done({"said": ["is hunter22", ("hunter22", 1)]}, "hunter22!"),
        Failed("hunter22", "bad hunter22"),
        ValueError("server said hunter22"),
        InvalidArgs("no hunter22", layers=["hunter22"]),
    ],
    ids=repr,
)
def test_secret_in_the_result_of_a_step_is_masked(scene: Scene, outcome: Any) -> None:
    def step(step: Step) -> StepResult:
        if isinstance(outcome, Exception):
            raise outcome
        kept: StepResult = outcome
        return kept

    stored = scene.run(step, args={"password": MASK}, secrets={"password": "hunter22"})
    assert "hunter22" not in repr(stored)
    assert MASK in stored.message


def test_secret_in_the_payload_of_a_running_action_is_masked(scene: Scene) -> None:
    def step(step: Step) -> StepResult:
        return Done() if step.payload else Running("hunter22")

    scene.run(step, args={"password": MASK}, secrets={"password": "hunter22"})
    kept = scene.store.read("SELECT * FROM history") + scene.store.read("SELECT * FROM actions")
    assert "hunter22" not in repr([tuple(row) for row in kept])


def test_member_names_booleans_and_numbers_of_a_payload_are_not_masked(scene: Scene) -> None:
    def step(step: Step) -> StepResult:
        return Done(step.payload) if step.payload else Running({"phase": {"creating": True, "looks": 12}})

    for secret in ("eat", "phase", "1", "True"):
        stored = scene.run(step, args={"password": MASK}, secrets={"password": secret})
        assert (stored.state, stored.payload) == ("DONE", {"phase": {"creating": True, "looks": 12}})


def test_action_leaves_no_file_descriptor_open(scene: Scene) -> None:
    scene.kind(count_to(2))
    scene.schedule()
    scene.drain()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        scene.schedule()
    scene.drain()
    assert len(os.listdir("/proc/self/fd")) <= before


# Cancel


def test_cancel_during_a_step_ends_the_action_after_this_step(scene: Scene) -> None:
    def step(step: Step) -> StepResult:
        transitions.cancel(scene.store, step.action.id)
        executor.check_running()
        return Running("half", after=600)

    kind = scene.kind(step)
    action_id = scene.schedule()
    executor = scene.executor()
    executor.drain()
    stored = scene.stored(action_id)
    assert (stored.state, stored.payload, stored.message) == (
        "FAILED",
        {"cancelled": True, "payload": "half"},
        "cancelled",
    )
    assert kind.seen == [("step", None), ("cancel", "half")]


def test_action_that_succeeds_after_a_cancel_request_is_done(scene: Scene) -> None:
    def step(step: Step) -> StepResult:
        step.stop.request("cancelled")
        return Done("whole", "made it")

    stored = scene.run(step)
    assert (stored.state, stored.payload, stored.message) == ("DONE", "whole", "made it")


def test_a_step_that_fails_because_of_a_cancel_is_cancelled(scene: Scene) -> None:
    def step(step: Step) -> StepResult:
        step.stop.request("cancelled")
        raise OSError("interrupted system call")

    stored = scene.run(step)
    assert stored.payload["cancelled"] is True
    assert stored.payload["payload"] == {"message": "interrupted system call", "error": "OSError"}


def test_a_cancel_between_two_steps_ends_the_wait(scene: Scene) -> None:
    kind = scene.kind(count_to(9, after=600))
    action_id = scene.schedule()
    executor = scene.executor()
    thread = scene.start(executor)
    eventually(lambda: scene.stored(action_id).payload == 1, "it waits")
    transitions.cancel(scene.store, action_id)
    executor.check_running()
    thread.join(5)
    assert scene.stored(action_id).payload == {"cancelled": True, "payload": 1}
    assert kind.seen == [("step", None), ("cancel", 1)]


def test_a_cancel_ends_the_command_of_a_step(scene: Scene) -> None:
    ended: list[str | None] = []

    def step(step: Step) -> StepResult:
        outcome = command.run(["sleep", "600"], timeout=600, stop=step.stop, action=step.action.id)
        ended.append(outcome.ended)
        return Failed(outcome.describe(), outcome.describe())

    scene.kind(step)
    action_id = scene.schedule()
    executor = scene.executor()
    thread = scene.start(executor)
    eventually(lambda: scene.stored(action_id).state == "RUNNING", "it runs")
    transitions.cancel(scene.store, action_id)

    def tick() -> bool:
        """Check like the engine each second: the cancel may be stored before the executor starts the action."""
        executor.check_running()
        thread.join(0.05)
        return not thread.is_alive()

    eventually(tick, "the end of the step")
    assert ended == ["cancelled"]
    assert scene.stored(action_id).payload["cancelled"] is True


def test_a_cancel_is_honoured_after_a_restart(scene: Scene) -> None:
    kind = scene.kind(count_to(3))
    action_id = scene.crash()
    transitions.cancel(scene.store, action_id)
    scene.drain()
    stored = scene.stored(action_id)
    assert stored.state == "FAILED"
    assert stored.payload == {"cancelled": True, "payload": None, "interrupted": True}
    assert kind.seen == [("cancel", None)], "nothing was begun again"


def test_cancel_does_not_affect_the_next_action(scene: Scene) -> None:
    """A cancel affects neither the end of the next action nor its wait between two steps."""

    def cancelled(step: Step) -> StepResult:
        transitions.cancel(scene.store, step.action.id)
        executor.check_running()
        return Running()

    scene.kind(cancelled, name="cancelled")
    scene.kind(count_to(2, after=0.4), name="next")
    scene.schedule("cancelled")
    following = scene.schedule("next")
    executor = scene.executor()
    begin = time.monotonic()
    executor.drain()
    assert scene.stored(following).state == "DONE"
    assert time.monotonic() - begin >= 0.4


def test_exception_in_cancel_still_ends_the_action_as_cancelled(scene: Scene) -> None:
    def step(step: Step) -> StepResult:
        step.stop.request("cancelled")
        return Running()

    scene.kind(step, cancel=raising(OSError("cannot")))
    action_id = scene.schedule()
    scene.drain()
    assert scene.stored(action_id).payload["cancelled"] is True


# Timeout


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, as the only number in this list."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return now


def test_a_timeout_between_two_steps_ends_the_action(scene: Scene) -> None:
    kind = scene.kind(count_to(1000, after=600), timeout=0.2)
    action_id = scene.schedule()
    begin = time.monotonic()
    scene.drain()
    assert 0.2 <= time.monotonic() - begin < 600
    stored = scene.stored(action_id)
    assert (stored.state, stored.payload, stored.message) == (
        "FAILED",
        {"timed_out": True, "payload": 1},
        "timed out after 0.2 s",
    )
    assert kind.seen == [("step", None), ("cancel", 1)], "no step was taken early"


def test_a_timeout_ends_the_command_of_a_step(scene: Scene) -> None:
    def step(step: Step) -> StepResult:
        outcome = command.run(["sleep", "600"], timeout=600, stop=step.stop, action=step.action.id)
        return Failed(outcome.describe(), outcome.describe())

    scene.kind(step, timeout=0.2)
    action_id = scene.schedule()
    executor = scene.executor()
    thread = scene.start(executor)

    def ticked() -> bool:
        executor.check_running()
        return not thread.is_alive()

    eventually(ticked, "a tick ends it")
    assert scene.stored(action_id).payload["timed_out"] is True


def test_step_that_succeeds_after_the_timeout_is_done(scene: Scene, steady: list[float]) -> None:
    def step(step: Step) -> StepResult:
        steady[0] += 1000
        executor.check_running()
        return Done("whole")

    scene.kind(step)
    action_id = scene.schedule()
    executor = scene.executor()
    executor.drain()
    assert scene.stored(action_id).state == "DONE"


def test_a_timeout_survives_a_restart(scene: Scene, steady: list[float]) -> None:
    kind = scene.kind(count_to(3), resume=count_to(3), timeout=100.0)
    action_id = scene.crash()
    steady[0] += 101
    scene.drain()
    assert scene.stored(action_id).payload == {"timed_out": True, "payload": None, "interrupted": True}
    assert kind.seen == [("cancel", None)]


def test_the_time_before_a_restart_counts_only_in_the_same_boot(
    scene: Scene, steady: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.kind(count_to(3), resume=count_to(3), timeout=100.0)
    action_id = scene.crash()
    steady[0] = 50.0  # a later boot than that of the claim
    monkeypatch.setattr(clock, "boot_id", lambda: "another boot")
    scene.drain()
    assert scene.stored(action_id).state == "DONE"


def test_timeout_of_a_kind_comes_from_the_configuration(tmp_path: Path) -> None:
    scene = Scene(tmp_path, timeouts={"fake": 0.1})
    stored = scene.run(count_to(1000, after=600))
    assert stored.message == "timed out after 0.1 s"
    scene.close()


# Interrupted


def test_interrupted_action_fails_with_an_unknown_effect_by_default(scene: Scene) -> None:
    kind = scene.kind(count_to(3))
    action_id = scene.crash()
    scene.drain()
    stored = scene.stored(action_id)
    assert stored.state == "FAILED"
    assert stored.payload == {"interrupted": True, "payload": None}
    assert "may or may not have taken effect" in stored.message
    assert kind.seen == [("resume", None)]


def test_only_the_first_step_after_a_restart_is_a_resume(scene: Scene) -> None:
    kind = scene.kind(count_to(3), resume=lambda step: Running(1))
    action_id = scene.crash()
    scene.drain()
    assert kind.seen == [("resume", None), ("step", 1), ("step", 2)]
    assert scene.stored(action_id).state == "DONE"


def test_an_exception_of_a_resume_is_a_failure(scene: Scene) -> None:
    scene.kind(count_to(3), resume=raising(OSError("cannot look")))
    action_id = scene.crash()
    scene.drain()
    assert scene.stored(action_id).message == "cannot look"


def test_actions_of_a_kind_no_longer_offered_fail_with_the_reason(scene: Scene) -> None:
    scene.kind(count_to(3))
    running, waiting = scene.crash(), scene.schedule()
    scene.registry.offered.clear()
    scene.registry.missing["fake"] = "it was taken out of the configuration"
    scene.drain()
    for action_id in (running, waiting):
        assert scene.stored(action_id).state == "FAILED"
        assert (
            "fake is not available on this node: it was taken out of the configuration"
            in scene.stored(action_id).message
        )


def test_arguments_no_longer_accepted_fail_the_action(scene: Scene) -> None:
    kind = scene.kind(count_to(3))
    action_id = scene.schedule()
    kind.schema = type(kind.schema)(unknown="raise")
    scene.store.write(lambda connection: connection.execute("UPDATE actions SET args = '{\"old\": 1}'"))
    scene.drain()
    assert scene.stored(action_id).state == "FAILED"
    assert "does not accept" in scene.stored(action_id).message


def test_exception_while_loading_arguments_fails_the_action_and_not_the_queue(scene: Scene) -> None:
    kind = scene.kind(count_to(3))
    action_id = scene.crash()
    transitions.record(scene.store, 1, {"count": 1})

    def load(args: Any) -> Any:
        raise KeyError("gone")

    kind.load = load  # type: ignore[method-assign]
    scene.drain()
    assert scene.stored(action_id).state == "FAILED"
    assert scene.stored(action_id).payload["error"] == "KeyError"


def test_mask_covers_all_values_and_no_member_names() -> None:
    value = {"a hunter22": [{"b": "hunter22hunter22"}, ("hunter22", None, 1.5, True)], "x": "HUNTER22"}
    assert mask(value, ["hunter22"]) == {
        "a hunter22": [{"b": MASK + MASK}, [MASK, None, 1.5, True]],
        "x": "HUNTER22",
    }


def test_member_names_chosen_by_a_command_are_masked() -> None:
    assert mask_names_too({"a hunter22": ["hunter22"]}, ["hunter22"]) == {f"a {MASK}": [MASK]}


def test_secret_is_masked_in_its_json_form_too() -> None:
    secret = 'g\u00e4nse"fu\\ss\nchen'
    for printed in (secret, json.dumps({"password": secret}), json.dumps({"x": secret}, ensure_ascii=False)):
        masked = mask(f"got {printed}", [secret])
        assert MASK in masked and "nse" not in masked and "chen" not in masked


def test_text_with_a_short_secret_is_masked_whole() -> None:
    assert mask(["the user was created", "another"], ["eat"]) == [MASK, "another"]


def test_stop_keeps_its_first_reason(scene: Scene) -> None:
    reasons: list[str | None] = []

    def step(step: Step) -> StepResult:
        threads = [threading.Thread(target=step.stop.request, args=(f"reason {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reasons.append(step.stop.reason)
        step.stop.request("too late")
        reasons.append(step.stop.reason)
        return Done()

    scene.run(step)
    assert reasons[0] == reasons[1]
