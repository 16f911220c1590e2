"""The permissions of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent_process import PREFIX, AgentProcess, eventually
from tests.conformance.shapes import LOOP, PING, SUCCESS
from tests.trust.guarded import (
    DBA,
    DBA_TOKEN,
    PINGER,
    PINGER_TOKEN,
    READER,
    READER_TOKEN,
    Guarded,
    StartGuarded,
    assert_refused,
    bearer,
    table,
    write_tokens,
)

STACK = "/api/3/stacks/default/actions"
ROUTES = [
    ("GET", f"{PREFIX}/queue"),
    ("GET", f"{PREFIX}/finished"),
    ("GET", f"{PREFIX}/available"),
    ("GET", f"{PREFIX}/info/x"),
    ("GET", f"{PREFIX}/"),
    ("GET", "/api/unstable/info/agent"),
    ("GET", "/api/unstable/info/datastore"),
    ("GET", "/api/unstable/shards"),
    ("HEAD", f"{PREFIX}/queue"),
    ("OPTIONS", f"{PREFIX}/queue"),
    ("POST", f"{PREFIX}/schedule/{SUCCESS}"),
    ("POST", f"{PREFIX}/cancel/x"),
    ("GET", STACK),
    ("GET", f"{STACK}/1"),
    ("POST", STACK),
    ("GET", "/nothing"),
    ("DELETE", f"{PREFIX}/queue"),
]
NOBODYS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {DBA_TOKEN[:-1]}",
    f"Bearer {DBA_TOKEN}x",
    f"Bearer {DBA_TOKEN} {DBA_TOKEN}",
    f"Bearer {DBA_TOKEN},Bearer {DBA_TOKEN}",
    f"Bearer {DBA_TOKEN.upper()}",
    f"Basic {DBA_TOKEN}",
    "Basic ZGJhQGV4YW1wbGUuY29tOg==",
    f"Token {DBA_TOKEN}",
    DBA_TOKEN,
    "Bearer é",
    "Bearer " + "x" * 8000,
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_needs_a_token(guarded: Guarded, method: str, path: str) -> None:
    answer = guarded.request(method, path)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    if method != "HEAD":
        assert_refused(answer, 401, "Unauthenticated")


@pytest.mark.parametrize("credentials", NOBODYS)
def test_an_unknown_token_is_refused_like_none(guarded: Guarded, credentials: str | None) -> None:
    headers = {"Authorization": None if credentials is None else credentials.encode().decode("latin-1")}
    answer = guarded.get(f"{PREFIX}/queue", headers=headers)
    assert_refused(answer, 401, "Unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert DBA_TOKEN[:-1].encode() not in answer.body


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_of_the_token_is_case_insensitive(guarded: Guarded, scheme: str) -> None:
    assert guarded.get(f"{PREFIX}/queue", headers={"Authorization": f"{scheme} {DBA_TOKEN}"}).status == 200


def test_token_in_the_query_is_ignored(guarded: Guarded) -> None:
    assert guarded.get(f"{PREFIX}/queue?access_token={DBA_TOKEN}").status == 401


@pytest.mark.parametrize("token", [DBA_TOKEN, PINGER_TOKEN, READER_TOKEN])
def test_every_token_may_read(guarded: Guarded, token: str) -> None:
    for path in ("queue", "finished", "available"):
        assert guarded.get(f"{PREFIX}/{path}", headers=bearer(token)).status == 200
    assert guarded.get(STACK, headers=bearer(token)).status == 200


def test_kind_that_matches_a_glob_may_be_scheduled(guarded: Guarded) -> None:
    assert guarded.post_schedule(PING, {}, headers=bearer(PINGER_TOKEN)).status == 200
    assert guarded.post(STACK, json={"command": PING}, headers=bearer(PINGER_TOKEN)).status == 200


def test_other_kind_is_forbidden_on_both_wires(guarded: Guarded) -> None:
    answers = [
        guarded.post_schedule(SUCCESS, {}, headers=bearer(PINGER_TOKEN)),
        guarded.post(STACK, json={"command": SUCCESS}, headers=bearer(PINGER_TOKEN)),
    ]
    for answer in answers:
        assert_refused(answer, 403, "Forbidden")
        assert PINGER in answer.json["error"]
        assert SUCCESS in answer.json["error"]


def test_read_only_token_may_neither_schedule_nor_cancel(guarded: Guarded) -> None:
    for path in (f"{PREFIX}/schedule/{PING}", f"{PREFIX}/schedule/nothing", f"{PREFIX}/cancel/x", STACK):
        answer = guarded.post(path, json={}, headers=bearer(READER_TOKEN))
        assert_refused(answer, 403, "Forbidden")
        assert READER in answer.json["error"]


def test_cancelling_needs_the_permission_for_that_kind(start_guarded: StartGuarded) -> None:
    guarded = start_guarded()
    loop = guarded.occupy()
    ping = guarded.schedule(PING, {})
    guarded.token = PINGER_TOKEN
    assert_refused(guarded.cancel(loop), 403, "Forbidden")
    assert guarded.state(loop) == "RUNNING"
    assert guarded.cancel(ping).status == 200
    guarded.token = DBA_TOKEN
    assert guarded.cancel(loop).status == 200
    guarded.await_final(loop)
    assert f"action {ping} {PING} of {DBA} via API: cancel requested by {PINGER}" in guarded.log_text()


def test_refusal_keeps_a_kept_connection_usable(guarded: Guarded) -> None:
    connection = guarded.connect()
    body = b'["' + b"GET / HTTP/1.1\r\n" * 500 + b'"]'
    refused = guarded.post(f"{PREFIX}/schedule/{PING}", body=body, connection=connection)
    assert refused.status == 401
    assert guarded.get(f"{PREFIX}/queue", connection=connection, headers=bearer(DBA_TOKEN)).status == 200
    assert guarded.get(f"{PREFIX}/queue", connection=connection).status == 401
    connection.close()


def test_tokens_are_needed_on_a_unix_socket(start_guarded: StartGuarded) -> None:
    guarded = start_guarded(unix=True)
    assert guarded.queue() == []
    guarded.token = None
    assert guarded.get(f"{PREFIX}/queue").status == 401


# The file changes


def admitted(agent: AgentProcess, token: str) -> bool:
    status = agent.get(f"{PREFIX}/queue", headers=bearer(token)).status
    assert status in (200, 401)
    return status == 200


def test_new_tokens_file_applies_to_the_next_request(start_guarded: StartGuarded, tokens_file: Path) -> None:
    guarded = start_guarded()
    write_tokens(tokens_file, table("new@example.com", "new", ["*"]))
    assert admitted(guarded, "new")
    assert not admitted(guarded, DBA_TOKEN)


def test_tokens_file_changed_in_place_with_the_same_size_is_read_again(
    start_guarded: StartGuarded, tokens_file: Path
) -> None:
    guarded = start_guarded()
    for token in ("one", "two", "six", "ten") * 3:
        tokens_file.write_text(table("new@example.com", token, ["*"]))
        assert admitted(guarded, token)
        assert not admitted(guarded, DBA_TOKEN)


def test_permissions_of_a_changed_file_apply_at_once(start_guarded: StartGuarded, tokens_file: Path) -> None:
    guarded = start_guarded()
    write_tokens(tokens_file, table(DBA, DBA_TOKEN, ["replicante.test.ping"]))
    assert_refused(guarded.post_schedule(LOOP, {"target": 1}), 403, "Forbidden")
    assert guarded.post_schedule(PING, {}).status == 200


# Identities


def test_identity_is_the_user_and_the_from_header_is_ignored(start_guarded: StartGuarded) -> None:
    guarded = start_guarded()
    action_id = guarded.schedule(PING, {}, headers={"From": "somebody.else@example.com"})
    guarded.await_final(action_id)
    (action,) = guarded.get(STACK).json["response"]
    assert (action["user"], action["started_via"]) == (DBA, "api")
    eventually(lambda: "is DONE" in guarded.log_text(), "the end is logged")
    log = guarded.log_text()
    assert f"action {action_id} {PING} scheduled by {DBA} via API" in log
    assert f"action {action_id} {PING} of {DBA} via API started" in log
    assert f"action {action_id} {PING} of {DBA} via API is DONE" in log


def test_token_is_in_no_file_of_the_agent_and_in_no_answer(start_guarded: StartGuarded) -> None:
    guarded = start_guarded()
    guarded.token = DBA_TOKEN
    headers = {"Proxy-Authorization": f"Bearer {DBA_TOKEN}", "X-Request-Id": "yes"}
    action_id = guarded.schedule(PING, {}, headers=headers)
    guarded.await_final(action_id)
    assert guarded.info(action_id)["action"]["headers"] == {"x-request-id": "yes"}
    guarded.get(f"{PREFIX}/queue", headers={"Authorization": f"Basic {DBA_TOKEN}"})
    guarded.get(f"{PREFIX}/queue", headers=bearer(f"{DBA_TOKEN}x"))
    guarded.post_schedule("nothing", {})
    for path in guarded.directory.iterdir():
        if path.is_file():
            assert DBA_TOKEN.encode() not in path.read_bytes(), path.name


def test_refused_callers_are_logged(start_guarded: StartGuarded) -> None:
    guarded = start_guarded()
    guarded.post_schedule(SUCCESS, {}, headers=bearer(PINGER_TOKEN))
    guarded.get(f"{PREFIX}/queue", headers=bearer("wrong"))
    log = guarded.log_text()
    assert f"a caller from 127.0.0.1 was refused with 403: {PINGER} may not schedule or cancel {SUCCESS}" in log
    assert "a caller from 127.0.0.1 was refused with 401: unknown token" in log
