"""The headers an action remembers: the caller's own, no transport and no secret."""

from __future__ import annotations

from typing import Any

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import SUCCESS, assert_json, post_body

TRANSPORT = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
    "Cookie": "session=1",
    "User-Agent": "a client",
}
SECRET = "not-to-be-kept"


def recorded(agent: AgentProcess, headers: dict[str, str]) -> Any:
    """The headers that an action scheduled with these has kept."""
    action_id = agent.schedule(SUCCESS, {}, headers=headers)
    return agent.info(action_id)["action"]["headers"]


def test_a_plain_call_records_none(shared_agent: AgentProcess) -> None:
    assert recorded(shared_agent, {}) == {}


def test_the_callers_own_are_recorded_in_lower_case(shared_agent: AgentProcess) -> None:
    sent = {"X-Request-ID": "A1", "TraceParent": "00-ab", "from": "dba@example.com"}
    kept = {"x-request-id": "A1", "traceparent": "00-ab", "from": "dba@example.com"}
    assert recorded(shared_agent, sent) == kept


def test_the_ones_that_describe_the_transport_are_left_out(shared_agent: AgentProcess) -> None:
    assert recorded(shared_agent, TRANSPORT) == {}


def test_chunked_transfer_is_left_out(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post(f"{PREFIX}/schedule/{SUCCESS}", body=iter([b"{}"]))
    assert_json(answer)
    assert shared_agent.info(answer.json["id"])["action"]["headers"] == {}


def test_credentials_are_left_out_of_everything(agent: AgentProcess) -> None:
    sent = {
        "Authorization": f"Basic {SECRET}",
        "Proxy-Authorization": f"Basic {SECRET}",
        "Cookie": f"token={SECRET}",
        "X-Kept": "yes",
    }
    action_id = agent.schedule(SUCCESS, {}, headers=sent)
    agent.await_final(action_id)
    assert agent.info(action_id)["action"]["headers"] == {"x-kept": "yes"}
    for path in agent.directory.iterdir():
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path.name


def test_an_odd_value_stays_text(shared_agent: AgentProcess) -> None:
    headers = recorded(shared_agent, {"X-Odd": "é \t'\"\\ ;,= {}"})
    assert set(headers) == {"x-odd"}
    assert isinstance(headers["x-odd"], str)


def test_an_empty_value_is_a_value(shared_agent: AgentProcess) -> None:
    assert recorded(shared_agent, {"X-Empty": ""}) == {"x-empty": ""}


def test_the_requester_is_the_api_whatever_the_headers_say(shared_agent: AgentProcess) -> None:
    answer = post_body(shared_agent, SUCCESS, b"{}", headers={"Requester": "WEB"})
    assert shared_agent.info(answer.json["id"])["action"]["requester"] == "API"
