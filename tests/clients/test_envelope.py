"""Generation 0.5: the members of the envelope, ids across identities, and requesters of the core."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.agent_process import PREFIX, Response, eventually
from tests.clients import lives, node_models
from tests.clients.lives import CONTROLLER_TOKEN, OTHER_TOKEN, Node
from tests.conformance.shapes import assert_error, assert_json
from tests.trust.guarded import bearer

PING = "agent.replicante.io/test.ping"
NOTE = "external.agent.replicante.io/note"
SUCCESS = "agent.replicante.io/test.success"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with lives.node(
        tmp_path_factory.mktemp("node"), 'node_protocol = "0.5"', "[actions]\nprune_keep = 100\n"
    ) as started:
        yield started


def envelope(**members: Any) -> dict[str, Any]:
    given = {
        "action_id": str(uuid.uuid4()),
        "args": {},
        "created_ts": "2026-01-31T03:00:00Z",
        "requester": "CORE_API",
    }
    return given | members


def ask(node: Node, body: Any, kind: str = SUCCESS, token: str = CONTROLLER_TOKEN, **headers: str) -> Response:
    return node.post(f"{PREFIX}/schedule/{kind}", json=body, headers=bearer(token) | dict(headers))


def info(node: Node, action_id: str) -> Any:
    return node_models.info("0.5")(node.info(action_id))["action"]


def test_envelope_sets_id_created_ts_and_requester(node: Node) -> None:
    for requester in node_models.REQUESTERS["0.5"]["API"], *node_models.CORE:
        body = envelope(args={"count": 1}, requester=requester)
        answer = ask(node, body, PING)
        assert_json(answer)
        assert str(node_models.SCHEDULED(answer.json)["id"]) == body["action_id"]
        found = info(node, body["action_id"])
        assert (str(found["id"]), found["kind"], found["args"]) == (body["action_id"], PING, {"count": 1})
        assert (
            found["requester"] == requester
            and node.info(body["action_id"])["action"]["created_ts"] == body["created_ts"]
        )
        assert found["user"] == lives.CONTROLLER


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-01-31T03:00:00Z", "2026-01-31T03:00:00Z"),
        ("2026-01-31T04:00:00.5+01:00", "2026-01-31T03:00:00.500000Z"),
        ("2026-01-31T03:00:00.123456789Z", "2026-01-31T03:00:00.123456Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2026-01-31t03:00:00z", "2026-01-31T03:00:00Z"),
    ],
)
def test_created_ts_is_kept_to_the_microsecond(node: Node, given: str, kept: str) -> None:
    action_id = ask(node, envelope(created_ts=given)).json["id"]
    assert node.info(action_id)["action"]["created_ts"] == kept
    info(node, action_id)


def test_every_member_of_the_envelope_may_be_absent_or_null(node: Node) -> None:
    before = datetime.now(UTC)
    for body in ({}, dict.fromkeys(envelope())):
        found = info(node, ask(node, body).json["id"])
        assert (found["args"], found["requester"]) == ({}, "AGENT_API")
        # The time of the request, before the commit; other times are in whole seconds.
        assert before - timedelta(seconds=1) < found["created_ts"] < found["scheduled_ts"] + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ({"action_id": 7}, "action_id"),
        ({"action_id": "7"}, "action_id"),
        ({"action_id": ""}, "action_id"),
        ({"action_id": "x" * 100_000}, "action_id"),
        ({"action_id": "9" * 36}, "action_id"),
        ({"action_id": f"{uuid.uuid4()}\n"}, "action_id"),
        ({"action_id": f"{{{uuid.uuid4()}}}"}, "action_id"),
        ({"action_id": uuid.uuid4().hex}, "action_id"),
        ({"created_ts": 1769828400}, "created_ts"),
        ({"created_ts": "2026-01-31T03:00:00"}, "created_ts"),
        ({"created_ts": "2026-01-31"}, "created_ts"),
        ({"created_ts": "1969-12-31T23:59:59Z"}, "created_ts"),
        ({"created_ts": "9999-12-31T23:59:59Z"}, "created_ts"),
        ({"created_ts": "0001-01-01T00:00:00+23:59"}, "created_ts"),
        ({"requester": "API"}, "requester"),
        ({"requester": "CORE_SOMETHING"}, "requester"),
        ({"requester": ["CORE_API"]}, "requester"),
        ({"kind": PING}, "kind"),
        ({"count": 1}, "count"),
    ],
)
def test_unknown_member_of_the_envelope_is_refused(node: Node, members: Any, wrong: str) -> None:
    before = node.get(f"{PREFIX}/list?limit=1").json
    answer = ask(node, envelope(**members))
    assert_error(answer, 400, "InvalidArgs")
    assert list(answer.json["details"]) == [wrong]
    assert node.get(f"{PREFIX}/list?limit=1").json["items"][0]["id"] == before["items"][0]["id"]


@pytest.mark.parametrize("body", [[], "text", 7, None, [{"args": {}}]])
def test_body_that_is_not_an_object_is_refused(node: Node, body: Any) -> None:
    assert_error(ask(node, body), 400, "InvalidArgs")


def test_created_ts_slightly_ahead_is_kept_and_a_day_ahead_refused(node: Node) -> None:
    def ahead(hours: int) -> str:
        return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")

    soon = ahead(1)
    assert node.info(ask(node, envelope(created_ts=soon)).json["id"])["action"]["created_ts"] == soon
    assert_error(ask(node, envelope(created_ts=ahead(48))), 400, "InvalidArgs")


def test_invalid_args_of_the_envelope_are_refused_and_not_stored(node: Node) -> None:
    body = envelope(args={"count": "three"})
    answer = ask(node, body, PING)
    assert_error(answer, 400, "InvalidArgs")
    assert list(answer.json["details"]) == ["count"]
    assert_error(node.get_info(body["action_id"]), 404, "ActionNotFound")
    assert_json(ask(node, body | {"args": {"count": 1}}, PING))


@pytest.mark.parametrize("name", ["replicante.test.ping", "external.note", "replicante.io/test.ping", "test.ping", ""])
def test_kind_outside_of_the_protocol_is_not_found(node: Node, name: str) -> None:
    answer = ask(node, envelope(), name)
    assert_error(answer, 404)
    if name == "replicante.test.ping":
        assert PING in answer.json["error"]


def test_plan_accepts_the_envelope(node: Node) -> None:
    answer = node.post(f"{PREFIX}/plan/{PING}", json=envelope(args={"count": 1}))
    assert_json(answer)
    assert answer.json["kind"] == PING
    assert_error(node.post(f"{PREFIX}/plan/{PING}", json={"count": 1}), 400, "InvalidArgs")


def test_list_is_filtered_by_the_kinds_of_the_protocol(node: Node) -> None:
    action_id = ask(node, envelope(), SUCCESS).json["id"]
    globs = "agent.replicante.io/test.s*", "*success", "agent.replicante.io/*", "*replicante.io/*", "agent.*ccess", "*"
    for glob in (SUCCESS, *globs):
        found = node.get(f"{PREFIX}/list?kind={glob}&limit=1").json["items"][0]
        assert (found["id"], found["kind"]) == (action_id, SUCCESS), glob
    note = ask(node, envelope(), NOTE).json["id"]
    for glob in (NOTE, "*.replicante.io/*", "external.*", "external.agent.replicante.io/n?te"):
        assert node.get(f"{PREFIX}/list?kind={glob}&limit=1").json["items"][0]["id"] == note, glob
    for glob in ("replicante.test.success", "replicante.test.*", "external.note", "replicante.io/*"):
        assert node.get(f"{PREFIX}/list?kind={glob}").json["items"] == [], glob


def test_long_poll_of_the_list_sees_a_new_kind(node: Node) -> None:
    eventually(lambda: node.get(f"{PREFIX}/queue").json == [], "earlier actions have ended and change nothing more", 60)
    path = f"{PREFIX}/list?kind=*test.fail"
    before = node.get(path)
    assert before.json["items"] == []
    headers = {"If-None-Match": str(before.headers["ETag"]), "Prefer": "wait=60"}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(node.get, path, headers=headers)
        failing = ask(node, envelope(), "agent.replicante.io/test.fail").json["id"]
        assert [each["id"] for each in waiting.result().json["items"]] == [failing]


# Ids


def test_known_action_id_is_a_conflict_for_any_request(node: Node) -> None:
    body = envelope()
    assert_json(ask(node, body, NOTE))
    for kind, again in (
        (NOTE, body),
        (NOTE, body | {"args": [1]}),
        (PING, body),
        (SUCCESS, {"action_id": body["action_id"]}),
    ):
        assert_error(ask(node, again, kind), 409, "ActionAlreadyExists")
    upper = body | {"action_id": body["action_id"].upper()}
    assert_error(ask(node, upper, NOTE), 409, "ActionAlreadyExists")
    node.await_final(body["action_id"], timeout=60)
    assert_error(ask(node, body, NOTE), 409, "ActionAlreadyExists")
    assert node.ran().count(body["action_id"]) == 1


def test_upper_case_action_id_is_the_same_id(node: Node) -> None:
    body = envelope(action_id=str(uuid.uuid4()).upper())
    assert ask(node, body).json["id"] == body["action_id"].lower()
    assert_error(ask(node, body | {"action_id": body["action_id"].lower()}), 409, "ActionAlreadyExists")


def test_action_id_of_another_identity_is_a_conflict_without_details(node: Node) -> None:
    body = envelope(args={"secret": "of-the-controller"})
    assert_json(ask(node, body, NOTE))
    theirs = {"action_id": body["action_id"]}
    refused = ask(node, theirs, PING, OTHER_TOKEN)
    assert_error(refused, 409, "ActionAlreadyExists")
    assert refused.json == {
        "error": f"an action with the id {body['action_id']} was scheduled before",
        "layers": [],
        "variant": "ActionAlreadyExists",
    }
    action = node.await_final(body["action_id"], timeout=60)["action"]
    assert (action["user"], action["kind"], action["args"]) == (lives.CONTROLLER, NOTE, body["args"])


def test_exactly_one_of_many_concurrent_calls_with_one_id_is_accepted(node: Node) -> None:
    action_id = str(uuid.uuid4())
    spellings = [(action_id, CONTROLLER_TOKEN), (action_id.upper(), CONTROLLER_TOKEN), (action_id, OTHER_TOKEN)]

    def race(number: int) -> int:
        spelled, token = spellings[number % len(spellings)]
        return ask(node, {"action_id": spelled, "args": [number]}, NOTE, token).status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(race, range(24)))
    assert statuses == [200] + [409] * 23
    node.await_final(action_id, timeout=60)
    assert node.ran().count(action_id) == 1


def test_action_id_made_by_the_agent_is_known_too(node: Node) -> None:
    own = ask(node, {}).json["id"]
    assert_error(ask(node, {"action_id": own}), 409, "ActionAlreadyExists")


def test_an_idempotency_key_does_not_count_beside_an_id(node: Node) -> None:
    first, second = envelope(), envelope()
    for body in (first, second):
        answer = ask(node, body, **{"Idempotency-Key": "of-the-user"})
        assert answer.json["id"] == body["action_id"] and "Idempotent-Replayed" not in answer.headers
    one, again = (ask(node, {}, **{"Idempotency-Key": "alone"}) for _ in range(2))
    assert one.json == again.json and again.headers["Idempotent-Replayed"] == "true"


# Requesters


@pytest.mark.parametrize("requester", node_models.CORE)
def test_core_requester_without_the_permission_controller_gets_403(node: Node, requester: str) -> None:
    body = envelope(requester=requester)
    answer = ask(node, body, token=OTHER_TOKEN)
    assert_error(answer, 403, "Forbidden")
    assert "controller" in answer.json["error"]
    assert_error(node.get_info(body["action_id"]), 404, "ActionNotFound")
    assert_json(ask(node, body | {"requester": "AGENT_API"}, token=OTHER_TOKEN))
    assert info(node, body["action_id"])["user"] == lives.OTHER


def test_audit_trail_has_the_named_requester_and_the_user(node: Node) -> None:
    body = envelope(requester="CORE_PLAYBOOK")
    assert_json(ask(node, body))
    with closing(sqlite3.connect(f"file:{node.db}?mode=ro", uri=True)) as connection:
        [event] = connection.execute(
            "SELECT user, requester, json_extract(details, '$.core_requester') FROM events "
            "WHERE event = 'action.scheduled' AND action_id = ?",
            (body["action_id"],),
        )
    assert event == (lives.CONTROLLER, "API", "CORE_PLAYBOOK")


def test_an_id_is_known_after_its_action_was_pruned(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("pruned")
    more = "[actions]\nprune_keep = 0\nprune_interval = 0.2\n"
    with lives.node(directory, 'node_protocol = "0.5"', more) as node:
        # An old created_ts: the time for which an id is remembered counts from the request.
        body = envelope(created_ts="1970-01-02T00:00:00Z")
        assert_json(ask(node, body, NOTE))
        own = ask(node, {}, SUCCESS).json["id"]
        ids = body["action_id"], own
        eventually(lambda: all(node.get_info(each).status == 404 for each in ids), "the actions are pruned", 60)
        for action_id in ids:
            for token in (CONTROLLER_TOKEN, OTHER_TOKEN):
                assert_error(ask(node, {"action_id": action_id}, NOTE, token), 409, "ActionAlreadyExists")
        assert node.ran() == [body["action_id"]]
