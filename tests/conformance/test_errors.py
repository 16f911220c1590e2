"""Every error is JSON with the same members."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.agent_process import PREFIX, AgentProcess, StartAgent
from tests.conformance.shapes import (
    PING,
    SUCCESS,
    assert_error,
    assert_json,
    ids,
    post_body,
)

UNKNOWN_KINDS = [
    "replicante",
    "replicante.test",
    "replicante.test.",
    ".replicante.test.ping",
    "REPLICANTE.TEST.SUCCESS",
    " replicante.test.success",
    "replicante.test.success ",
    "replicante.test.success\0",
    "replicante.test.success\n",
    "replicante.test.success/",
    "replicante/test/success",
    "a//b",
    "/",
    ".",
    "..",
    "../queue",
    "../../../../etc/passwd",
    "__class__",
    "' OR 1=1 --",
    "{}",
    "%s",
    "<script>",
    "ключ",
    "replicante.test.succéss",
    "🐘",
    "x" * 3000,
]
READ_ONLY = ["/finished", "/queue", "/available", "/info/x"]
WRITE_ONLY = [f"/schedule/{SUCCESS}", "/cancel/x"]
UNKNOWN_ROUTES = [
    "/nothing",
    "/api",
    "/api/unstable",
    f"{PREFIX}/nothing",
    f"{PREFIX}/info/",
    f"{PREFIX}/schedule/",
    f"{PREFIX}/queue/x",
    f"{PREFIX}/../../../etc/passwd",
    "/api/stable/actions/queue",
    "/%00",
    "/%ff",
    "/🐘",
]
SMALL_BODIES = "[api]\nmax_body = 1000\n"


@pytest.mark.parametrize("kind", UNKNOWN_KINDS)
def test_unknown_kind_is_not_available(shared_agent: AgentProcess, kind: str) -> None:
    assert_error(shared_agent.post_schedule(kind, {}), 404, "ActionNotAvailable")


@pytest.mark.parametrize("raw", ["%ff", "%ed%a0%80", "%c3", "%zz", "a%2f%2fb", "%2e%2e%2fqueue"])
def test_kind_with_invalid_encoding_is_not_available(shared_agent: AgentProcess, raw: str) -> None:
    assert_error(post_body(shared_agent, raw, b"{}"), 404, "ActionNotAvailable")


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("replicante.test.pong", PING),
        ("replicante.test.sucess", SUCCESS),
        ("replicante.tests.success", SUCCESS),
    ],
)
def test_error_for_a_mistyped_kind_names_the_closest_kinds(
    shared_agent: AgentProcess, mistyped: str, meant: str
) -> None:
    answer = shared_agent.post_schedule(mistyped, {})
    assert meant in " ".join([answer.json["error"], *answer.json["layers"]])


def test_a_kind_too_long_for_the_request_line_is_refused(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post_schedule("x" * 10_000, {})
    assert 400 <= answer.status < 500
    assert b"Traceback" not in answer.body
    assert shared_agent.get(f"{PREFIX}/queue").status == 200


@pytest.mark.parametrize("route", UNKNOWN_ROUTES)
def test_an_unknown_route_is_not_found(shared_agent: AgentProcess, route: str) -> None:
    assert_error(shared_agent.get(quote(route, safe="/%")), 404)


def test_error_for_an_unknown_address_names_it_without_odd_characters(shared_agent: AgentProcess) -> None:
    answer = shared_agent.get("/x%0A%C3%A9" + "y" * 200)
    shown = "GET /x\\n\\xe9" + "y" * 92
    assert answer.json["error"] == f"not found: {shown} (see /openapi.json)"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("route", READ_ONLY)
def test_read_routes_accept_only_get(shared_agent: AgentProcess, route: str, method: str) -> None:
    answer = shared_agent.request(method, PREFIX + route, json={})
    assert_error(answer, 405)
    assert "GET" in answer.headers["Allow"]
    assert method not in answer.headers["Allow"]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("route", WRITE_ONLY)
def test_write_routes_accept_only_post(shared_agent: AgentProcess, route: str, method: str) -> None:
    answer = shared_agent.request(method, PREFIX + route)
    assert_error(answer, 405)
    assert "POST" in answer.headers["Allow"]
    assert method not in answer.headers["Allow"]


def test_an_unknown_method_is_refused(shared_agent: AgentProcess) -> None:
    assert_error(shared_agent.request("BREW", f"{PREFIX}/queue"), 405)


@pytest.mark.parametrize("route", ["/finished", "/queue", "/available"])
def test_head_is_get_without_the_body(shared_agent: AgentProcess, route: str) -> None:
    answer = shared_agent.request("HEAD", PREFIX + route)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers.get_content_type() == "application/json"


def test_head_request_for_an_unknown_action_is_404_without_a_body(shared_agent: AgentProcess) -> None:
    answer = shared_agent.request("HEAD", f"{PREFIX}/info/x")
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    ("route", "method"),
    [(route, "GET") for route in READ_ONLY] + [(route, "POST") for route in WRITE_ONLY],
)
def test_options_lists_the_methods(shared_agent: AgentProcess, route: str, method: str) -> None:
    answer = shared_agent.request("OPTIONS", PREFIX + route)
    assert answer.status in (200, 204)
    assert method in answer.headers["Allow"]


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/vnd.api+json",
        "application/jsonp",
        "nonsense",
        "*/*",
    ],
)
def test_a_body_of_another_media_type_is_refused(shared_agent: AgentProcess, media_type: str | None) -> None:
    answer = post_body(shared_agent, SUCCESS, b"{}", headers={"Content-Type": media_type})
    assert_error(answer, 415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    "media_type",
    ["application/json; charset=utf-8", "application/json;x=y", "Application/JSON"],
)
def test_media_type_of_json_is_accepted_in_every_spelling(shared_agent: AgentProcess, media_type: str) -> None:
    answer = post_body(shared_agent, SUCCESS, b"{}", headers={"Content-Type": media_type})
    assert_json(answer)


def test_body_over_the_limit_is_refused_and_one_at_the_limit_accepted(start_agent: StartAgent) -> None:
    agent = start_agent(config=SMALL_BODIES)
    assert_json(post_body(agent, SUCCESS, b"{}".ljust(1000)))
    for size in (1001, 5_000_000):
        assert_error(post_body(agent, SUCCESS, b"{}".ljust(size)), 413, "BodyTooLarge")
    assert len(set(ids(agent.queue()) + ids(agent.finished()))) == 1


@pytest.mark.parametrize("behind", [b" ", b"something"])
def test_a_body_in_chunks_over_the_limit_is_refused(start_agent: StartAgent, behind: bytes) -> None:
    agent = start_agent(config=SMALL_BODIES)
    chunks = iter([b"{}", b" " * 998, behind])
    answer = agent.post(f"{PREFIX}/schedule/{SUCCESS}", body=chunks)
    assert_error(answer, 413, "BodyTooLarge")
    assert (agent.queue(), agent.finished()) == ([], [])


@pytest.mark.parametrize("path", ["/schedule/no.kind", f"/schedule/{PING}", "/queue", "/cancel/x"])
def test_refusal_keeps_a_kept_connection_usable(shared_agent: AgentProcess, path: str) -> None:
    connection = shared_agent.connect()
    body = b'["' + b"GET / HTTP/1.1\r\n" * 500 + b'"]'
    refused = shared_agent.post(PREFIX + path, body=body, connection=connection)
    assert 400 <= refused.status < 500
    assert shared_agent.get(f"{PREFIX}/queue", connection=connection).status == 200
    connection.close()


def test_details_of_an_error_are_limited_to_a_hundred_members(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post_schedule(SUCCESS, {f"other_{number}": 1 for number in range(5000)})
    assert_error(answer, 400, "InvalidArgs")
    assert len(answer.json["details"]) == 100
