"""X-Request-Id and traceparent: checked, returned, stored, and passed to logs, commands and callbacks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from agent.util import trace_context
from tests.agent_process import PREFIX, AgentProcess
from tests.callbacks.receivers import Receiver
from tests.conformance.shapes import SUCCESS

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"
SPAN = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
COMMAND = '["/bin/sh", "-c", "echo TRACEPARENT=$TRACEPARENT; echo ACTION=$AGENT_ACTION"]'
CHECK = '["/bin/echo", "{\\"status\\": \\"finished\\"}"]'


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver().up()
    yield made
    made.down()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[AgentProcess]:
    text = f'[callbacks]\nurls = ["{receiver.url()}"]\n[external_actions.one]\naction = {COMMAND}\ncheck = {CHECK}\n'
    started = AgentProcess(tmp_path_factory.mktemp("agent"), config=text).start()
    yield started
    started.close()


def parts(traceparent: str) -> tuple[str, str, str]:
    found = SPAN.fullmatch(traceparent)
    assert found, traceparent
    return found[1], found[2], found[3]


def test_request_id_and_traceparent_are_returned_and_passed_on(agent: AgentProcess, receiver: Receiver) -> None:
    sent = {"X-Request-Id": "CH-7/a", "traceparent": VALID, "tracestate": "rojo=00f067aa0ba902b7"}
    answer = agent.post_schedule("external.one", {}, headers=sent)
    assert answer.headers["X-Request-Id"] == "CH-7/a"
    span = answer.headers["traceparent"]
    trace, own, flags = parts(span)
    assert (trace, flags) == (TRACE, "01") and own != PARENT
    action_id = answer.json["id"]
    action = agent.await_final(action_id)["action"]
    assert (action["request_id"], action["traceparent"]) == ("CH-7/a", span)
    assert action["headers"] == {name.lower(): value for name, value in sent.items()}
    output = agent.get(f"{PREFIX}/output/{action_id}").body.decode()
    assert f"TRACEPARENT={span}\n" in output
    [received] = [each for each in receiver.await_taken(1, timeout=60) if each.headers["x-agent-delivery"] == action_id]
    for name, value in {"x-request-id": "CH-7/a", "traceparent": span, "tracestate": sent["tracestate"]}.items():
        assert received.headers[name] == value
    assert set(received.action) == set(agent.get("/api/3/stacks/default/actions/1").json["response"])


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "traceparent of the test",
        VALID.upper(),
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01more",
        f"{VALID},{VALID}",
    ],
)
def test_invalid_traceparent_is_replaced_and_its_tracestate_dropped(
    agent: AgentProcess, receiver: Receiver, traceparent: str | None
) -> None:
    sent = {"tracestate": "rojo=00f067aa0ba902b7"} | ({"traceparent": traceparent} if traceparent else {})
    answer = agent.post_schedule(SUCCESS, {}, headers=sent)
    trace, _, flags = parts(answer.headers["traceparent"])
    assert (trace == TRACE, flags) == (False, "00")
    action = agent.await_final(answer.json["id"])["action"]
    assert action["traceparent"] == answer.headers["traceparent"]
    before = len(receiver.taken())
    taken = receiver.await_taken(max(before, 1), timeout=60)
    while not (own := [each for each in taken if each.headers["x-agent-delivery"] == answer.json["id"]]):
        taken = receiver.await_taken(len(taken) + 1, timeout=60)
    assert own[0].headers["traceparent"] == action["traceparent"]
    assert "tracestate" not in own[0].headers


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (f"cc-{TRACE}-{PARENT}-ff-what the future brings", f"00-{TRACE}-{PARENT}-03"),
        (f" {VALID} ", VALID),
        (f"01-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
    ],
)
def test_later_version_of_traceparent_is_read_as_version_00(sent: str, kept: str) -> None:
    assert str(trace_context.parse(sent)) == kept


def test_a_bad_request_id_is_replaced(agent: AgentProcess) -> None:
    for bad in ("", "a b", "é", "x" * 129, '"quoted"', "-x"):
        answer = agent.get(f"{PREFIX}/queue", headers={"X-Request-Id": bad})
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.headers["X-Request-Id"]), bad


def test_every_answer_and_error_has_both_headers(agent: AgentProcess) -> None:
    for path in ("/no-such-address", f"{PREFIX}/info/none", f"{PREFIX}/queue", "/live"):
        answer = agent.get(path, headers={"X-Request-Id": "CH-8"})
        assert answer.headers["X-Request-Id"] == "CH-8"
        assert SPAN.fullmatch(answer.headers["traceparent"])


def test_long_poll_answers_with_its_request_id(agent: AgentProcess) -> None:
    tag = agent.get(f"{PREFIX}/queue").headers["ETag"]
    headers = {"Prefer": "wait=1", "If-None-Match": tag, "X-Request-Id": "CH-9"}
    answer = agent.get(f"{PREFIX}/queue", headers=headers)
    assert (answer.status, answer.headers["X-Request-Id"]) == (304, "CH-9")
