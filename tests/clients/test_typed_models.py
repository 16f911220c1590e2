"""The typed models read every answer under /api/3, over complete lives of actions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_process import Response
from tests.clients import lives, stack_models
from tests.clients.lives import OTHER_TOKEN, Node
from tests.conformance.shapes import assert_json
from tests.trust.guarded import bearer, table, write_tokens

BLUE = "/api/3/stacks/blue"
ACTIONS = f"{BLUE}/actions"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PING = "replicante.test.ping"
MORE = """
[host]
reboot = ["false"]
[caches.one]
kind = "folder"
path = "{folder}"
[caches.two]
kind = "folder"
path = "{folder}"
[datastore]
kind = "redis"
url = "unix:///nowhere"
"""


@pytest.mark.parametrize("form", ["seed", "typed"])
def test_models_read_full_lives_by_every_channel(form: str, tmp_path: Path) -> None:
    action, error = stack_models.action(form), stack_models.error(form)
    with lives.node(tmp_path, f'async_actions = "{form}"') as node:

        def read(path: str) -> Any:
            answer = node.get(path)
            assert_json(answer)
            return answer.json

        for channels in lives.live(node):
            numbers = {
                each["async_action_id"]: each["id"] for each in node.get("/api/unstable/actions/list").json["items"]
            }
            found = stack_models.page(action)(read(f"{ACTIONS}.json"))["response"]
            assert [each["id"] for each in found] == sorted(numbers)
            for each in found:
                assert each["started_via"] == stack_models.STARTED_VIA[channels[numbers[each["id"]]]]
                assert stack_models.one(action)(read(f"{ACTIONS}/{each['id']}.json"))["response"] == each
        begun = node.post(f"{ACTIONS}.json", json={"command": PING, "count": 1})
        stack_models.one(action)(begun.json)
        mistakes: list[Any] = [{"command": PING, "count": "three"}, {"command": "none"}, [], {}]
        for wrong in mistakes:
            refused = node.post(f"{ACTIONS}.json", json=wrong)
            assert error(refused.json)["error"]
        assert ("details" in node.post(ACTIONS, json={"command": "none"}).json) is False


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("typed")
    (directory / "cache").mkdir()
    with lives.node(directory, 'async_actions = "typed"', MORE.format(folder=directory / "cache")) as started:
        yield started


def begin(node: Node, command: str, headers: dict[str, str | None] | None = None, **parameters: Any) -> Response:
    return node.post(f"{ACTIONS}.json", json={"command": command, **parameters}, headers=headers or {})


def action_of(answer: Response) -> Any:
    assert_json(answer)
    return stack_models.one(stack_models.action("typed"))(answer.json)["response"]


def refusal_of(answer: Response, status: int = 400) -> Any:
    assert_json(answer, status)
    return stack_models.error("typed")(answer.json)


# Where such clients start


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_the_stack_and_the_server_have_their_documented_types(node: Node, suffix: str) -> None:
    stack = stack_models.one(stack_models.STACK)(node.get(f"{BLUE}{suffix}").json)["response"]
    server = stack_models.one(stack_models.SERVER)(node.get(f"{BLUE}/servers/db-1{suffix}").json)["response"]
    assert (stack["uid"], stack["health"], stack["maintenance_mode"]) == ("blue", 3, False)
    assert (server["uid"], server["stack_uid"], server["server_roles"]) == ("db-1", "blue", ["redis"])
    for path, model in (
        (f"stacks{suffix}?page=1", stack_models.STACK),
        (f"stacks/blue/servers{suffix}", stack_models.SERVER),
    ):
        page = stack_models.page(model)(node.get(f"/api/3/{path}").json)
        assert (page["count"], page["pagination"]["pages"], page["pagination"]["next"]) == (1, 1, None)
    assert node.get(f"/api/3/stacks{suffix}?page=2").json["response"] == []


def test_only_ping_needs_no_token(node: Node) -> None:
    for suffix in ("", ".json"):
        anyone = node.get(f"/api/3/ping{suffix}", headers={"Authorization": None})
        assert stack_models.PING(anyone.json)["response"]["ok"] is True
        refusal_of(node.get(f"/api/3/ping{suffix}", headers=bearer("a-token-that-nobody-has-0123456")), 401)
    for path in ("stacks", "stacks/blue.json", "stacks/blue/servers", "stacks/blue/servers/db-1"):
        refusal_of(node.get(f"/api/3/{path}", headers={"Authorization": None}), 401)
    for path in ("deployments", "reboot_servers.json", "servers/db-1/reboot_server"):
        refusal_of(node.post(f"{BLUE}/{path}", json={}, headers={"Authorization": None}), 401)


@pytest.mark.parametrize(
    "path", ["stacks/green", "stacks/green/servers", "stacks/blue/servers/db-2", "stacks/green/servers/db-1"]
)
def test_unknown_stack_or_server_is_not_found(node: Node, path: str) -> None:
    assert refusal_of(node.get(f"/api/3/{path}"), 404)["variant"] in ("StackNotFound", "ServerNotFound")
    assert refusal_of(node.post(f"{BLUE}/servers/db-2/reboot_server", json={}), 404)["variant"] == "ServerNotFound"


def test_requested_private_key_is_null(node: Node) -> None:
    answer = node.get(f"{BLUE}/servers/db-1.json?include_private_key=1")
    assert stack_models.one(stack_models.SERVER)(answer.json)["response"]["ssh_private_key"] is None


# What they ask for


def test_deployment_schedules_a_deploy(node: Node) -> None:
    body = {
        "git_ref": "main", "deploy_strategy": "serial", "rollout_strategy": None, "canary_percentage": None,
        "deployment_profile": "", "services": None,
    }  # fmt: skip
    for sent in (body, {}, dict.fromkeys(body)):
        answer = stack_models.DEPLOYMENT(node.post(f"{BLUE}/deployments.json", json=sent).json)["response"]
        action = action_of(node.get(f"{ACTIONS}/{answer['async_action_id']}"))
        assert (action["action"], answer["ok"]) == ("deploy", True)
        wanted = {"git_ref": "main", "deployment_strategy": "rolling"} if sent is body else {}
        assert action["metadata"] == wanted


def test_a_deployment_behind_another_action_is_queued(node: Node) -> None:
    running = lives.by_api(node, lives.LOOP, {"target": 600, "delay": 1})
    node.await_state(running, "RUNNING", timeout=60)
    answer = stack_models.DEPLOYMENT(node.post(f"{BLUE}/deployments", json={}).json)["response"]
    assert answer["queued"] is True
    assert node.get(BLUE).json["response"]["status"] == 5
    node.cancel(str(answer["async_action_id"]))
    node.cancel(running)
    node.await_final(running, timeout=60)


@pytest.mark.parametrize(
    "body",
    [
        b"git_ref=main&services=&canary_percentage=&deploy_strategy=&rollout_strategy=&deployment_profile=",
        b"git_ref=main&services[]=",
        b"git_ref=main",
    ],
)
def test_empty_member_of_a_form_counts_as_absent(node: Node, body: bytes) -> None:
    answer = stack_models.DEPLOYMENT(node.post(f"{BLUE}/deployments", body=body, headers=FORM).json)["response"]
    assert action_of(node.get(f"{ACTIONS}/{answer['async_action_id']}"))["metadata"] == {"git_ref": "main"}
    as_json = node.post(f"{BLUE}/deployments", json={"git_ref": "", "services": "", "canary_percentage": ""})
    assert stack_models.DEPLOYMENT(as_json.json)["response"]["ok"] is True
    assert "unheard" in refusal_of(node.post(f"{BLUE}/deployments", body=b"unheard=", headers=FORM))["details"]


@pytest.mark.parametrize("services", [b"services=none", b"services[]=none"])
def test_single_service_of_a_form_is_read_as_a_list(node: Node, services: bytes) -> None:
    for body, wrong in ((services, "application: "), (services + b"&services=shop", "services: One application")):
        assert wrong in refusal_of(node.post(f"{BLUE}/deployments", body=body, headers=FORM))["details"]
    one = node.post(f"{BLUE}/deployments", body=services.replace(b"none", b"shop"), headers=FORM)
    assert stack_models.DEPLOYMENT(one.json)["response"]["ok"] is True


@pytest.mark.parametrize(
    ("members", "wrong"),
    [
        ({"deploy_strategy": "magic"}, "deploy_strategy"),
        ({"deployment_profile": "nightly"}, "deployment_profile"),
        ({"rollout_strategy": "canary"}, "rollout_strategy"),
        ({"canary_percentage": 10}, "canary_percentage"),
        ({"services": ["a", "b"]}, "services"),
        ({"services": [None]}, "services.0: Field may not be null"),
        ({"services": [5, "a", {}]}, "services.0: Not a valid string; services.2: Not a valid string"),
        ({"services": {"a": []}}, "services: Not a valid list"),
        ({"unheard": 1}, "unheard"),
        ({"git_ref": "-x"}, "git_ref"),
    ],
)
def test_deployment_with_invalid_parameters_is_refused(node: Node, members: Any, wrong: str) -> None:
    assert wrong in refusal_of(node.post(f"{BLUE}/deployments", json=members))["details"]


@pytest.mark.parametrize("body", [[], [None], 5, "text"])
def test_mistake_in_the_whole_body_is_reported_without_a_parameter_name(node: Node, body: Any) -> None:
    for path in ("deployments", "reboot_servers", "actions"):
        refused = refusal_of(node.post(f"{BLUE}/{path}", json=body))
        assert refused["error_description"] == "these parameters are not accepted: Invalid input type"


def test_reboot_of_all_servers_or_this_server_schedules_a_reboot(node: Node) -> None:
    sent: list[tuple[str, dict[str, Any]]] = [
        ("reboot_servers.json", {"json": {"strategy": "serial", "group": "all"}}),
        ("reboot_servers", {"json": {"strategy": "", "group": ""}}),
        ("reboot_servers", {"json": {"group": "redis"}}),
        ("servers/db-1/reboot_server.json", {}),
        ("servers/db-1/reboot_server", {"json": {}}),
    ]
    for path, body in sent:
        action = action_of(node.post(f"{BLUE}/{path}", **body))
        assert (action["action"], action["metadata"]) == ("stack_reboot", {})
    assert "group" in refusal_of(node.post(f"{BLUE}/reboot_servers", json={"group": "web"}))["details"]


def test_calls_need_the_permission_of_their_kinds(tmp_path: Path) -> None:
    with lives.node(tmp_path, 'async_actions = "typed"', '[host]\nreboot = ["false"]\n') as node:
        write_tokens(tmp_path / "tokens.toml", table(lives.OTHER, OTHER_TOKEN, ["replicante.*"]))
        node.token = OTHER_TOKEN
        for path in ("deployments", "reboot_servers", "servers/db-1/reboot_server.json"):
            assert refusal_of(node.post(f"{BLUE}/{path}", body=b"not json"), 403)["variant"] == "Forbidden"
        assert node.get(BLUE).status == 200


# Spellings


@pytest.mark.parametrize(
    ("body", "caches"),
    [
        (b"command=clear_caches&caches[]=one&caches[]=two", ["one", "two"]),
        (b"command=clear_caches&caches%5B%5D=one", ["one"]),
        (b"command=clear_caches&caches=one&caches[]=two", ["one", "two"]),
        (b"command=clear_caches&caches[]=two&caches=one", ["one", "two"]),
        (b"command=clear_caches&caches=one", ["one"]),
        (b"command=clear_caches", None),
    ],
)
def test_list_in_a_form_is_read_with_or_without_brackets(node: Node, body: bytes, caches: Any) -> None:
    action = action_of(node.post(ACTIONS, body=body, headers=FORM))
    assert action["metadata"].get("caches") == caches


@pytest.mark.parametrize("parameter", ["db_type", "server_group"])
@pytest.mark.parametrize("value", ["", "all", "redis"])
def test_every_spelling_of_all_servers_selects_the_datastore_of_this_node(
    node: Node, parameter: str, value: str
) -> None:
    command = {"command": "disable_replication_slave_db", "server_uid": "db-1", parameter: value}
    answer = node.post(ACTIONS, json=command)
    assert action_of(answer)["action"] == "disable_replication_slave_db"


def test_other_datastore_type_is_refused_and_other_kinds_accept_no_group(node: Node) -> None:
    wrong = refusal_of(begin(node, "disable_replication_slave_db", db_type="mysql"))
    assert "this node runs redis" in wrong["details"]
    assert "db_type: Unknown field" in refusal_of(begin(node, PING, db_type=""))["details"]


@pytest.mark.parametrize("body", [b"page=2", b'{"page": 2}', b"x"])
def test_parameters_in_the_body_of_a_get_are_refused(node: Node, body: bytes) -> None:
    for path in (ACTIONS, "/api/3/stacks.json", f"{ACTIONS}/1"):
        assert "from the URL" in refusal_of(node.get(path, body=body, headers=FORM))["error"]
    assert node.get(ACTIONS, body=b"{}").status == 200


# Repeats


def test_a_request_id_that_repeats_is_the_same_request(node: Node) -> None:
    once: dict[str, str | None] = {"Request-Id": "b6c7a1f0-1"}
    first = begin(node, PING, once, count=2)
    again = begin(node, PING, once, count=2)
    assert action_of(first)["id"] == action_of(again)["id"]
    assert (first.headers["Idempotent-Replayed"], again.headers["Idempotent-Replayed"]) == (None, "true")
    others = [
        begin(node, PING, once, count=3),
        begin(node, "replicante.test.success", once),
        begin(node, PING, {"Request-Id": "b6c7a1f0-2"}, count=2),
        begin(node, PING, {"Request-Id": ""}, count=2),
        begin(node, PING, {"Request-Id": "x" * 300}, count=2),
        begin(node, PING, count=2),
        begin(node, PING, once | bearer(OTHER_TOKEN), count=2),
        begin(node, PING, once | {"Idempotency-Key": "k"}, count=2),
    ]
    ids = [action_of(each)["id"] for each in (first, *others)]
    assert len(set(ids)) == len(ids)


def test_a_deployment_with_the_same_request_id_is_the_same_deploy(node: Node) -> None:
    headers = {"Request-Id": "deploy-1"}
    ids = {
        node.post(f"{BLUE}/deployments", json={}, headers=headers).json["response"]["async_action_id"] for _ in range(3)
    }
    assert len(ids) == 1
