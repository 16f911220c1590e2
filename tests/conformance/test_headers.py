"""The headers stored with an action: those of a list, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.config import Api
from agent.config.mistakes import Mistakes
from agent.config.option import options
from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import SUCCESS, assert_error, assert_json, ids, post_body

RECORDED = ("traceparent", "tracestate", "x-request-id", "request-id", "from", "action-reason")
OTHERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
    "User-Agent": "a client",
    "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA",
    "Idempotency-Key": "headers",
    "X-Change": "CH-7",
}
SECRET = "not-to-be-kept"
CREDENTIALS = (
    "Authorization", "Proxy-Authorization", "X-Original-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "ApiKey",
    "Api-Key", "X-Auth-Key", "X-Auth-Token", "X-Access-Token", "X-Forwarded-Access-Token", "X-Forwarded-Id-Token",
    "X-Auth-Request-Access-Token", "X-Gitlab-Token", "Private-Token", "Job-Token", "X-CSRF-Token", "X-Vault-Token",
    "X-Amz-Security-Token", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Data", "X-Goog-Iap-Jwt-Assertion",
    "Cf-Access-Client-Secret", "Cf-Access-Jwt-Assertion", "X-Functions-Key", "Ocp-Apim-Subscription-Key",
    "X-Session-Id", "X-Password", "X-Hub-Signature", "X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature",
    "X-Gogs-Signature", "Signature", "X-Auth", "DPoP", "Ssh-Auth", "Http2-Settings",
)  # fmt: skip


def recorded(agent: AgentProcess, headers: dict[str, str]) -> Any:
    """The stored headers of an action scheduled with these."""
    action_id = agent.schedule(SUCCESS, {}, headers=headers)
    return agent.info(action_id)["action"]["headers"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent that records more headers and is busy: scheduled actions stay NEW."""
    more = ["X-Change", *(f"X-{number}" for number in range(90)), "X-Rest", "X-Odd", "X-Empty"]
    started = AgentProcess(
        tmp_path_factory.mktemp("recording"), config=f"[api]\nrecord_headers = {json.dumps(more)}\n"
    ).start()
    started.occupy()
    yield started
    started.close()


def test_call_without_recorded_headers_stores_none(shared_agent: AgentProcess) -> None:
    assert recorded(shared_agent, {}) == {}


def test_only_the_documented_headers_are_recorded_in_lower_case(shared_agent: AgentProcess) -> None:
    sent = {name.title(): f"{name} of the test" for name in RECORDED}
    assert recorded(shared_agent, sent | OTHERS) == {name: f"{name} of the test" for name in RECORDED}


def test_configured_headers_are_recorded_too(recording: AgentProcess) -> None:
    sent = {"x-change": "CH-7", "X-Other": "not named", "From": "dba@example.com"}
    assert recorded(recording, sent) == {"x-change": "CH-7", "from": "dba@example.com"}


def test_no_credential_is_in_an_answer_or_a_file(agent: AgentProcess) -> None:
    sent = dict.fromkeys(CREDENTIALS, f"Basic {SECRET}")
    action_id = agent.schedule(SUCCESS, {}, headers=sent | {"X-Request-Id": "yes"})
    agent.await_final(action_id)
    assert agent.info(action_id)["action"]["headers"] == {"x-request-id": "yes"}
    for path in agent.directory.iterdir():
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize("name", CREDENTIALS)
def test_the_configuration_cannot_add_a_credential(name: str) -> None:
    with pytest.raises(Mistakes, match="hold no credentials"):
        options(Api, {"record_headers": ["x-change", name]})


def test_unusual_and_empty_values_are_recorded_as_text(recording: AgentProcess) -> None:
    headers = recorded(recording, {"X-Odd": "é \t'\"\\ ;,= {}", "X-Empty": ""})
    assert set(headers) == {"x-odd", "x-empty"}
    assert isinstance(headers["x-odd"], str) and headers["x-empty"] == ""


def test_transfer_encoding_is_not_recorded(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post(f"{PREFIX}/schedule/{SUCCESS}", body=iter([b"{}"]))
    assert_json(answer)
    assert shared_agent.info(answer.json["id"])["action"]["headers"] == {}


def written(size: int) -> dict[str, str]:
    """Headers with this size as stored JSON."""
    headers = {f"x-{number}": "v" * 4000 for number in range(size // 4100)}
    left = size - len(json.dumps(headers | {"x-rest": ""}, separators=(",", ":")))
    return headers | {"x-rest": "v" * left}


def test_sixteen_kibibytes_of_headers_are_recorded_and_a_byte_more_is_refused(recording: AgentProcess) -> None:
    for size in (2000, 16 * 1024):
        assert recorded(recording, written(size)) == written(size)
    before = ids(recording.queue())
    for headers, variant in (
        (written(16 * 1024 + 1), "HeadersTooLarge"),
        ({"X-Odd": "\xe9" * 3000}, "HeadersTooLarge"),
        ({f"X-{n}": "v" * 8000 for n in range(90)}, "RequestHeaderFieldsTooLarge"),  # limit of the whole head
    ):
        assert_error(recording.post_schedule(SUCCESS, {}, headers=headers), 431, variant)
        command = {"command": SUCCESS}
        answer = recording.post("/api/3/stacks/default/actions", json=command, headers=headers)
        assert (answer.status, answer.json["variant"]) == (431, variant)
    assert ids(recording.queue()) == before


@pytest.mark.parametrize("name", ["User-Agent", "Authorization", "X-Api-Key", "Cookie"])
def test_header_that_is_not_recorded_may_be_large(recording: AgentProcess, name: str) -> None:
    assert recorded(recording, {name: "v" * 8000} | written(16 * 1024 - 100)) == written(16 * 1024 - 100)


def test_requester_is_the_api_for_any_headers(shared_agent: AgentProcess) -> None:
    answer = post_body(shared_agent, SUCCESS, b"{}", headers={"Requester": "WEB"})
    assert shared_agent.info(answer.json["id"])["action"]["requester"] == "API"
