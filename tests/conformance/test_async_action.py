"""The AsyncAction resource: twelve members, correct at every moment, over the same queue."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.agent_process import AgentProcess, Response
from tests.conformance.shapes import FAIL, LOOP, PING, SUCCESS, TIME, assert_json, seed

ACTIONS = "/api/3/stacks/default/actions"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SECRET = "correct horse battery staple"

SEED: dict[str, Any] = seed("async_action")
NULL_UNTIL_FINAL = {"finished_at", "finished_success", "finished_message", "finished_result"}


@pytest.fixture(scope="module")
def own_kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with two additional kinds: one with a secret, one with a parameter of two spellings."""
    directory = tmp_path_factory.mktemp("kinds")
    (directory / "own.py").write_text(
        """
from marshmallow import fields
from agent.kinds.base import Args, Done, Failed, Kind

class SecretArgs(Args):
    name = fields.String(required=True)
    password = fields.String(required=True, metadata={"secret": True})

class Secretive(Kind):
    "Repeats its secret wherever it can."
    name = "own.secretive"
    args = SecretArgs
    resource_type = "DatabaseUser"
    def resource(self, args):
        return self.resource_type, args["name"]
    def step(self, step):
        return Failed({"said": [f"no: {step.args['password']}!"]}, f"{step.args['password']} is refused")

class OnContainerArgs(Args):
    container = fields.String(required=True)
    count = fields.Integer(strict=True, load_default=1)
    process_name = fields.String()

class OnContainer(Kind):
    "Takes a container."
    name = "own.container"
    args = OnContainerArgs
    def step(self, step):
        return Done(step.args["container"], "seen")
"""
    )
    agent = AgentProcess(
        directory, config='[agent]\nkinds = ["own"]\nnode = "db-1"\n', env={"PYTHONPATH": f"{directory}:{Path.cwd()}"}
    ).start()
    yield agent
    agent.close()


def begin(agent: AgentProcess, command: str, *, path: str = ACTIONS, **parameters: Any) -> Response:
    return agent.post(path, json={"command": command, **parameters})


def await_final(agent: AgentProcess, async_id: int) -> Any:
    """The AsyncAction of the action at this position, once it is final."""
    ids = [item["id"] for item in agent.queue()]
    for action_id in ids:
        agent.await_final(action_id)
    return agent.get(f"{ACTIONS}/{async_id}").json["response"]


def assert_async_action(action: Any) -> None:
    """Assert the members and types of the seed's example, in the running or finished form."""
    assert set(action) == set(SEED)
    final = action["finished_at"] is not None
    for member, value in action.items():
        if member in NULL_UNTIL_FINAL and not final:
            assert value is None, member
        else:
            assert type(value) is type(SEED[member]), member
    assert TIME.fullmatch(action["started_at"])
    assert not final or TIME.fullmatch(action["finished_at"])


def test_new_async_action_has_the_running_form(busy_agent: AgentProcess) -> None:
    answer = begin(busy_agent, PING, count=3)
    assert_json(answer)
    assert set(answer.json) == {"response"}
    action = answer.json["response"]
    assert_async_action(action)
    assert action["finished_at"] is None
    assert action["action"] == PING
    assert action["started_via"] == "api"
    assert action["metadata"] == {"count": 3}


def test_finished_async_action_has_the_finished_form(shared_agent: AgentProcess) -> None:
    action = await_final(shared_agent, begin(shared_agent, PING, count=2).json["response"]["id"])
    assert_async_action(action)
    assert action["finished_success"] is True
    assert action["finished_message"] == "2 of 2 pongs"
    assert [pong[:8] for pong in action["finished_result"]["payload"]] == ["Pong at "] * 2


def test_failed_async_action_has_finished_success_false(shared_agent: AgentProcess) -> None:
    action = await_final(shared_agent, begin(shared_agent, FAIL).json["response"]["id"])
    assert_async_action(action)
    assert action["finished_success"] is False
    assert action["finished_result"] == {}


@pytest.mark.parametrize("suffix", ["", ".json"])
def test_every_address_answers_with_and_without_the_suffix(shared_agent: AgentProcess, suffix: str) -> None:
    begun = begin(shared_agent, SUCCESS, path=f"{ACTIONS}{suffix}")
    assert_json(begun)
    one = shared_agent.get(f"{ACTIONS}/{begun.json['response']['id']}{suffix}")
    assert one.json["response"]["id"] == begun.json["response"]["id"]
    assert_json(shared_agent.get(f"{ACTIONS}{suffix}"))


def test_both_wires_return_the_same_action(shared_agent: AgentProcess) -> None:
    action_id = shared_agent.schedule(PING, {"count": 4})
    info = shared_agent.await_final(action_id)["action"]
    pages = shared_agent.get(f"{ACTIONS}?per_page=100").json["response"]
    action = pages[-1]
    assert (action["action"], action["metadata"]) == (info["kind"], info["args"])
    assert (action["started_at"], action["finished_at"]) == (info["scheduled_ts"], info["finished_ts"])
    assert action["finished_result"] == {"payload": info["state_payload"]}


def test_ids_count_up_in_the_order_of_scheduling(busy_agent: AgentProcess) -> None:
    ids = [begin(busy_agent, SUCCESS).json["response"]["id"] for _ in range(5)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 5


def test_the_user_is_the_from_header_or_the_agent_itself(own_kinds: AgentProcess) -> None:
    answer = own_kinds.post(ACTIONS, json={"command": SUCCESS}, headers={"From": "John <john@example.com>"})
    assert answer.json["response"]["user"] == "john@example.com"
    assert begin(own_kinds, SUCCESS).json["response"]["user"] == "agent@db-1"


def test_the_id_of_a_resource_is_permanent(own_kinds: AgentProcess) -> None:
    first = begin(own_kinds, "own.secretive", name="joe", password=SECRET).json["response"]
    other = begin(own_kinds, "own.secretive", name="ann", password=SECRET).json["response"]
    again = begin(own_kinds, "own.secretive", name="joe", password=SECRET).json["response"]
    assert first["resource_type"] == "DatabaseUser"
    assert first["resource_id"] == again["resource_id"] != other["resource_id"]


def test_secret_is_masked_everywhere_and_erased_from_the_file(own_kinds: AgentProcess) -> None:
    begun = begin(own_kinds, "own.secretive", name="eve", password=SECRET)
    action = await_final(own_kinds, begun.json["response"]["id"])
    assert action["metadata"] == {"name": "eve", "password": "********"}
    assert action["finished_message"] == "******** is refused"
    assert action["finished_result"] == {"said": ["no: ********!"]}
    assert SECRET.encode() not in begun.body
    assert SECRET not in own_kinds.whole_log()


def test_a_parameter_may_be_spelled_in_either_way(own_kinds: AgentProcess) -> None:
    for spelled in ({"container": "web"}, {"container_id": "web"}):
        answer = begin(own_kinds, "own.container", **spelled)
        assert_json(answer)
        assert answer.json["response"]["metadata"] == {"container": "web"}
    answer = begin(own_kinds, "own.container", container="web", **{"process-name": "worker"})
    assert answer.json["response"]["metadata"] == {"container": "web", "process_name": "worker"}
    assert begin(own_kinds, "own.container", container="web", container_id="web").status == 400


def test_parameters_may_come_as_a_form(own_kinds: AgentProcess) -> None:
    body = urlencode({"command": "own.container", "container_id": "web", "count": "3", "user_reference": "r-form"})
    answer = own_kinds.post(ACTIONS, body=body.encode(), headers=FORM)
    assert_json(answer)
    assert answer.json["response"]["metadata"] == {"container": "web", "count": 3, "user_reference": "r-form"}
    wrong = urlencode({"command": "own.container", "container_id": "web", "count": "many"})
    refused = own_kinds.post(ACTIONS, body=wrong.encode(), headers=FORM)
    assert_json(refused, 400)
    assert list(refused.json["details"]) == ["count"]


def test_user_reference_is_in_the_metadata_and_filters_the_list(shared_agent: AgentProcess) -> None:
    for reference in ("ticket 1", "ticket 2", "ticket 1"):
        begin(shared_agent, SUCCESS, user_reference=reference)
    found = shared_agent.get(f"{ACTIONS}?{urlencode({'user_reference': 'ticket 1'})}").json
    assert [action["metadata"] for action in found["response"]] == [{"user_reference": "ticket 1"}] * 2
    assert found["pagination"]["count"] == 2
    assert begin(shared_agent, SUCCESS, user_reference="x" * 255).status == 200
    assert begin(shared_agent, SUCCESS, user_reference="x" * 256).status == 400


def test_idempotency_key_returns_the_same_async_action(shared_agent: AgentProcess) -> None:
    key = {"Idempotency-Key": "async-1"}
    first, again = (shared_agent.post(ACTIONS, json={"command": SUCCESS}, headers=key) for _ in range(2))
    assert first.json["response"]["id"] == again.json["response"]["id"]
    assert (first.headers["Idempotent-Replayed"], again.headers["Idempotent-Replayed"]) == (None, "true")


@pytest.mark.parametrize(
    ("path", "status", "variant"),
    [
        ("/api/3/stacks/other/actions", 404, "StackNotFound"),
        ("/api/3/stacks/other/actions/1", 404, "StackNotFound"),
        (f"{ACTIONS}/987654321", 404, "ActionNotFound"),
        (f"{ACTIONS}/{'9' * 40}.json", 404, "ActionNotFound"),
        (f"{ACTIONS}/first", 404, "NotFound"),
        (f"{ACTIONS}?page=0", 400, "InvalidArgs"),
        (f"{ACTIONS}?page=x", 400, "InvalidArgs"),
        (f"{ACTIONS}?page={'9' * 30}", 400, "InvalidArgs"),
        (f"{ACTIONS}?per_page=101", 400, "InvalidArgs"),
        (f"{ACTIONS}?per_page=0", 400, "InvalidArgs"),
    ],
)
def test_mistake_in_the_path_is_reported_in_the_form_of_the_async_action_clients(
    shared_agent: AgentProcess, path: str, status: int, variant: str
) -> None:
    assert_told(shared_agent.get(path), status, variant)


@pytest.mark.parametrize(
    ("body", "status", "variant"),
    [
        ({}, 400, "InvalidArgs"),
        ({"command": 3}, 400, "InvalidArgs"),
        ([], 400, "InvalidArgs"),
        ({"command": "no_such_kind"}, 404, "ActionNotAvailable"),
        ({"command": PING, "count": "three"}, 400, "InvalidArgs"),
        ({"command": PING, "kount": 3}, 400, "InvalidArgs"),
    ],
)
def test_mistake_in_the_body_is_reported_in_the_form_of_the_async_action_clients(
    shared_agent: AgentProcess, body: Any, status: int, variant: str
) -> None:
    assert_told(shared_agent.post(ACTIONS, json=body), status, variant)


def test_the_description_of_an_error_is_the_whole_sentence(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post(ACTIONS, json={"command": PING, "count": "three", "kount": 3})
    assert answer.json["error"] == f"{PING} does not accept these arguments"
    assert answer.json["error_description"] == (
        f"{PING} does not accept these arguments: count: Not a valid integer; kount: Unknown field"
    )
    unknown = shared_agent.get(f"{ACTIONS}/987654321").json
    assert unknown["error_description"] == unknown["error"] and "details" not in unknown


def test_body_of_another_media_type_is_refused(shared_agent: AgentProcess) -> None:
    answer = shared_agent.post(ACTIONS, body=b"command=x", headers={"Content-Type": "text/plain"})
    assert_told(answer, 415, "UnsupportedMediaType")


def assert_told(answer: Response, status: int, variant: str) -> None:
    assert_json(answer, status)
    wrong = {"details"} if variant == "InvalidArgs" else set()
    assert set(answer.json) == {"error", "error_description", "layers", "variant"} | wrong
    assert answer.json["variant"] == variant
    assert answer.json["error_description"].startswith(answer.json["error"])
    for name, texts in answer.json.get("details", {}).items():
        about = "" if name == "_schema" else f"{name}: "
        assert f": {about}{texts[0].rstrip('.')}" in answer.json["error_description"].replace("; ", ": ")


def test_pages_of_a_thousand_async_actions_stay_consistent_while_new_ones_arrive(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, config="[actions]\nqueue_limit = 5000\n").start()
    try:
        agent.schedule(LOOP, {"target": 600, "delay": 1})
        with ThreadPoolExecutor(4) as pool:
            answer = list(pool.map(lambda n: begin(agent, SUCCESS, user_reference=f"{n % 10}").json, range(999)))
            known = {1, *(each["response"]["id"] for each in answer)}
            arriving = pool.submit(lambda: [begin(agent, SUCCESS).status for _ in range(100)])
            seen = list(all_pages(agent, 30))
            assert set(arriving.result()) == {200}
        ids = [action["id"] for action in seen]
        assert ids == sorted(set(ids))
        assert known <= set(ids)
        some = list(all_pages(agent, 7, user_reference="3"))
        assert len(some) == 100
        assert all(action["metadata"]["user_reference"] == "3" for action in some)
    finally:
        agent.close()


def all_pages(agent: AgentProcess, per_page: int, **wanted: str) -> Iterator[Any]:
    number: int | None = 1
    while number:
        query = urlencode({"page": number, "per_page": per_page, **wanted})
        answer = agent.get(f"{ACTIONS}?{query}").json
        pagination = answer["pagination"]
        assert set(pagination) == {"previous", "next", "current", "per_page", "count", "pages"}
        assert answer["count"] == len(answer["response"])
        assert pagination["pages"] == -(-pagination["count"] // per_page)
        assert pagination["previous"] == (number - 1 or None)
        yield from answer["response"]
        number = pagination["next"]
