"""Paths and queries: an unknown path is 404, an unknown query parameter is 400."""

from __future__ import annotations

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import SUCCESS
from tests.trust.guarded import assert_refused

PAGE = "/api/3/stacks/default/actions"


@pytest.mark.parametrize("path", [f"/{PREFIX}/queue", f"//{PREFIX}/queue", f"/{PAGE}", "//openapi.json", "//"])
def test_path_with_leading_slashes_is_not_found(shared_agent: AgentProcess, path: str) -> None:
    assert_refused(shared_agent.get(path), 404, "NotFound")


def test_path_with_leading_slashes_schedules_nothing(shared_agent: AgentProcess) -> None:
    assert_refused(shared_agent.post(f"/{PREFIX}/schedule/{SUCCESS}", json={}), 404, "NotFound")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{PREFIX}/queue?limit=1"),
        ("GET", f"{PREFIX}/finished?x"),
        ("GET", f"{PREFIX}/info/unknown?x=1"),
        ("GET", f"{PREFIX}/available?misisng=true"),
        ("GET", f"{PREFIX}/available?missing=true&missing=true"),
        ("GET", f"{PAGE}?page=1&utm=2"),
        ("GET", f"{PAGE}?page=1&page=2"),
        ("GET", f"{PAGE}/1?x=1"),
        ("GET", "/openapi.json?x=1"),
        ("POST", f"{PREFIX}/schedule/{SUCCESS}?dry_run=true"),
        ("POST", f"{PREFIX}/cancel/unknown?force=1"),
        ("POST", f"{PAGE}?command=deploy"),
        ("POST", "/hooks/deploy/shop?x=1"),
    ],
)
def test_unknown_or_repeated_query_parameter_is_refused(shared_agent: AgentProcess, method: str, path: str) -> None:
    answer = shared_agent.request(method, path, body=b"{}" if method == "POST" else None)
    assert_refused(answer, 400, "InvalidQuery")
    name = path.partition("?")[2].partition("=")[0].rpartition("&")[2]
    assert name in answer.json["error"]


@pytest.mark.parametrize("path", [f"{PREFIX}/available?missing=true", f"{PAGE}?page=1&per_page=5", f"{PREFIX}/queue?"])
def test_known_query_parameters_are_accepted(shared_agent: AgentProcess, path: str) -> None:
    assert shared_agent.get(path).status == 200
