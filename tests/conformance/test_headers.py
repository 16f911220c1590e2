"""The headers an action remembers: the caller's own, no transport and no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import SUCCESS, assert_error, assert_json, ids, post_body

TRANSPORT = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
    "Cookie": "session=1",
    "User-Agent": "a client",
}
SECRET = "not-to-be-kept"
CREDENTIALS = (
    "Authorization", "Proxy-Authorization", "X-Original-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "ApiKey",
    "Api-Key", "X-Auth-Key", "X-Auth-Token", "X-Access-Token", "X-Forwarded-Access-Token", "X-Forwarded-Id-Token",
    "X-Auth-Request-Access-Token", "X-Gitlab-Token", "Private-Token", "Job-Token", "X-CSRF-Token", "X-Vault-Token",
    "X-Amz-Security-Token", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Data", "X-Goog-Iap-Jwt-Assertion",
    "Cf-Access-Client-Secret", "Cf-Access-Jwt-Assertion", "X-Functions-Key", "Ocp-Apim-Subscription-Key",
    "X-Session-Id", "X-Password", "X-Hub-Signature", "X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature",
    "X-Gogs-Signature", "Signature",
)  # fmt: skip
NO_CREDENTIALS = ("Idempotency-Key", "X-Request-Id", "X-Sort-Key", "X-Key", "X-Author", "X-Forwarded-User", "Trace")


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
    sent = dict.fromkeys(CREDENTIALS, f"Basic {SECRET}")
    action_id = agent.schedule(SUCCESS, {}, headers=sent | {"X-Kept": "yes"})
    agent.await_final(action_id)
    assert agent.info(action_id)["action"]["headers"] == {"x-kept": "yes"}
    for path in agent.directory.iterdir():
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path.name


def test_what_only_sounds_like_a_credential_is_kept(shared_agent: AgentProcess) -> None:
    kept = recorded(shared_agent, dict.fromkeys(NO_CREDENTIALS, "a value of the test's own"))
    assert set(kept) == {name.lower() for name in NO_CREDENTIALS}


def written(size: int) -> dict[str, str]:
    """Headers that are this large where they are recorded, as JSON."""
    headers = {f"x-{number}": "v" * 4000 for number in range(size // 4100)}
    left = size - len(json.dumps(headers | {"x-rest": ""}, separators=(",", ":")))
    return headers | {"x-rest": "v" * left}


def test_sixteen_kibibytes_of_headers_are_recorded_and_a_byte_more_is_refused(busy_agent: AgentProcess) -> None:
    for size in (2000, 16 * 1024):
        assert recorded(busy_agent, written(size)) == written(size)
    before = ids(busy_agent.queue())
    for headers in (written(16 * 1024 + 1), {"X-Odd": "\xe9" * 3000}, {f"X-{n}": "v" * 8000 for n in range(90)}):
        assert_error(busy_agent.post_schedule(SUCCESS, {}, headers=headers), 431, "HeadersTooLarge")
        command = {"command": SUCCESS}
        answer = busy_agent.post("/api/3/stacks/default/actions", json=command, headers=headers)
        assert (answer.status, answer.json["variant"]) == (431, "HeadersTooLarge")
    assert ids(busy_agent.queue()) == before


@pytest.mark.parametrize("name", ["User-Agent", "Authorization", "X-Api-Key", "Cookie"])
def test_what_is_not_recorded_may_be_large(shared_agent: AgentProcess, name: str) -> None:
    assert recorded(shared_agent, {name: "v" * 8000} | written(16 * 1024 - 100)) == written(16 * 1024 - 100)


def test_an_odd_value_stays_text(shared_agent: AgentProcess) -> None:
    headers = recorded(shared_agent, {"X-Odd": "é \t'\"\\ ;,= {}"})
    assert set(headers) == {"x-odd"}
    assert isinstance(headers["x-odd"], str)


def test_an_empty_value_is_a_value(shared_agent: AgentProcess) -> None:
    assert recorded(shared_agent, {"X-Empty": ""}) == {"x-empty": ""}


def test_the_requester_is_the_api_whatever_the_headers_say(shared_agent: AgentProcess) -> None:
    answer = post_body(shared_agent, SUCCESS, b"{}", headers={"Requester": "WEB"})
    assert shared_agent.info(answer.json["id"])["action"]["requester"] == "API"
