"""The request line alone selects the route; headers of proxies do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent_process import PREFIX, AgentProcess, Response
from tests.conformance.shapes import SUCCESS

HOOK = "/hooks/deploy/shop"
MOVED = {
    "the script's name": (f"{HOOK}{PREFIX}/schedule/{SUCCESS}", {"SCRIPT_NAME": HOOK}),
    "the script's name with a dash": (f"{HOOK}{PREFIX}/schedule/{SUCCESS}", {"Script-Name": HOOK}),
    "another path": (HOOK, {"PATH_INFO": f"{PREFIX}/schedule/{SUCCESS}"}),
    "a prefix": (f"{HOOK}{PREFIX}/schedule/{SUCCESS}", {"X-Forwarded-Prefix": HOOK, "X-Script-Name": HOOK}),
    "the address before a rewrite": (
        HOOK,
        dict.fromkeys(("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri"), f"{PREFIX}/schedule/{SUCCESS}"),
    ),
}
FORWARDED = {
    "encrypted": {"X-Forwarded-Proto": "https"},
    "in the clear": {"X-Forwarded-Proto": "http"},
    "contradictory": {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "ssl"},
    "for another host": {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example;proto=https"},
    "from another caller": {"X-Forwarded-For": "192.0.2.1", "X-Real-IP": "192.0.2.1"},
    "with another method": {"X-HTTP-Method-Override": "DELETE"},
    "with a script's name": {"SCRIPT_NAME": "/nowhere"},
}


@pytest.fixture(scope="module", params=["loopback", "unix"])
def trusting(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[AgentProcess]:
    """An agent whose environment makes gunicorn trust every proxy."""
    directory = tmp_path_factory.mktemp(request.param)
    agent = AgentProcess(directory, env={"FORWARDED_ALLOW_IPS": "*"}, unix=request.param == "unix").start()
    yield agent
    agent.close()


def scheduled(agent: AgentProcess) -> list[str]:
    return [item["id"] for item in agent.queue() + agent.finished()]


@pytest.mark.parametrize(("path", "headers"), MOVED.values(), ids=MOVED.keys())
def test_forwarding_headers_do_not_change_the_route(trusting: AgentProcess, path: str, headers: dict[str, str]) -> None:
    before = scheduled(trusting)
    answer = trusting.post(path, json={}, headers=headers)
    assert (answer.status, answer.json["variant"]) == (401, "Unauthenticated"), "the hook of no application answered"
    assert scheduled(trusting) == before


@pytest.mark.parametrize("headers", FORWARDED.values(), ids=FORWARDED.keys())
def test_proxy_headers_change_no_answer(trusting: AgentProcess, headers: dict[str, str]) -> None:
    def answers(**more: dict[str, str]) -> list[Response]:
        return [trusting.get(f"{PREFIX}/queue", **more), trusting.post(f"{PREFIX}/schedule/nothing", json={}, **more)]

    for plain, forwarded in zip(answers(), answers(headers=headers), strict=True):
        assert (forwarded.status, forwarded.body) == (plain.status, plain.body)
