"""GET available: the kinds that can be scheduled, with their arguments."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.conformance.shapes import FAIL, LOOP, PING, SUCCESS, assert_json


@pytest.fixture
def available(shared_agent: AgentProcess) -> Any:
    answer = shared_agent.get(f"{PREFIX}/available")
    assert_json(answer)
    return answer.json


def test_every_item_has_kind_description_danger_and_args(available: Any) -> None:
    for item in available:
        assert set(item) == {"kind", "description", "danger", "args"}
        assert isinstance(item["kind"], str)
        assert isinstance(item["description"], str)
        assert item["description"].strip()
        assert isinstance(item["args"], dict)
        assert item["danger"] in ("none", "disrupts", "destroys")


def test_kinds_are_sorted_and_named_once(available: Any) -> None:
    kinds = [item["kind"] for item in available]
    assert kinds == sorted(set(kinds))


def test_test_kinds_are_offered(available: Any) -> None:
    assert {FAIL, LOOP, PING, SUCCESS} <= {item["kind"] for item in available}


@pytest.mark.parametrize(("kind", "args"), [(PING, {"count"}), (LOOP, {"target", "delay"})])
def test_args_is_a_json_schema_of_the_arguments(available: Any, kind: str, args: set[str]) -> None:
    schema = next(item["args"] for item in available if item["kind"] == kind)
    assert schema["type"] == "object"
    assert set(schema["properties"]) == args
    assert set(schema.get("required", [])) <= args
    assert schema["additionalProperties"] is False


def test_missing_kinds_are_listed_with_the_reason(shared_agent: AgentProcess) -> None:
    answer = shared_agent.get(f"{PREFIX}/available?missing=true")
    assert_json(answer)
    assert all(set(item) == {"kind", "reason"} for item in answer.json)
    missing = {item["kind"]: item["reason"] for item in answer.json}
    assert list(missing) == sorted(missing)
    assert missing["replicante.service.start"] == "set [service] in the configuration"
    assert missing["database_create"] == "set [datastore] in the configuration"
    refused = shared_agent.post_schedule("database_create", {"name": "app"})
    assert missing["database_create"] in refused.json["error"]
