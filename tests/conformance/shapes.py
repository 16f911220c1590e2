"""The schemas of the answers, taken from the seed's examples."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.agent_process import FINAL, PREFIX, AgentProcess, Response

FIXTURES = Path(__file__).parent / "fixtures"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
VARIANT = re.compile(r"([A-Z][a-z0-9]*)+")
STATES = ("NEW", "RUNNING", *FINAL)
LOOP = "replicante.test.loop"
PING = "replicante.test.ping"
SUCCESS = "replicante.test.success"
FAIL = "replicante.test.fail"


def seed(name: str) -> Any:
    """One example body of the seed documents."""
    return json.loads((FIXTURES / f"seed_{name}.json").read_text(encoding="utf-8"))


ITEM = set(seed("queue")[0])
# `scheduled_ts` is not in the seed's example, but in the action model that the seed refers to.
OURS = {
    "async_action_id",
    "user",
    "message",
    "outcome",
    "reason",
    "started_ts",
    "not_before",
    "not_after",
    "approved_by",
    "request_id",
    "traceparent",
}
ACTION = set(seed("info")["action"]) | {"scheduled_ts"} | OURS
OUTCOMES = {"DONE": ("done",), "FAILED": ("failed", "cancelled", "timed_out", "interrupted", "expired")}
HISTORY_ITEM = set(seed("info")["history"][0])


def assert_json(answer: Response, status: int = 200) -> None:
    """Assert this status and a JSON body."""
    assert answer.status == status, answer
    assert answer.headers.get_content_type() == "application/json", answer


def assert_item(item: Any, states: tuple[str, ...]) -> None:
    """Assert an item of the queue or of the finished actions."""
    assert set(item) == ITEM
    assert all(isinstance(value, str) for value in item.values())
    assert item["state"] in states


def assert_info(info: Any) -> None:
    """Assert a complete and consistent answer to an info call."""
    assert set(info) == set(seed("info"))
    assert_action(info["action"])
    for item in info["history"]:
        assert_history_item(item, info["action"]["id"])
    assert_history_of(info["action"], info["history"])


def assert_action(action: Any) -> None:
    """Assert the full action model."""
    assert set(action) == ACTION
    for member in ("kind", "id", "requester", "state"):
        assert isinstance(action[member], str)
    assert action["state"] in STATES
    assert action["requester"] in ("API", "WEB", "HOOK", "CLI")
    assert isinstance(action["headers"], dict)
    assert all(isinstance(value, str) for value in action["headers"].values())
    assert moment(action["created_ts"]) <= moment(action["scheduled_ts"])
    assert (action["finished_ts"] is not None) == (action["state"] in FINAL)
    assert action["outcome"] in OUTCOMES.get(action["state"], (None,))
    assert isinstance(action["message"], str) == (action["state"] in FINAL)
    if action["finished_ts"] is not None:
        assert moment(action["scheduled_ts"]) <= moment(action["finished_ts"])


def assert_history_item(item: Any, action_id: str) -> None:
    """Assert one transition of this action."""
    assert set(item) == HISTORY_ITEM
    assert item["action_id"] == action_id
    assert item["state"] in STATES
    moment(item["timestamp"])


def assert_history_of(action: Any, history: list[Any]) -> None:
    """Assert the order, newest first: from the current state down to NEW without a payload."""
    now, oldest = history[0], history[-1]
    assert (now["state"], now["state_payload"]) == (action["state"], action["state_payload"])
    assert (oldest["state"], oldest["state_payload"]) == ("NEW", None)
    for later, earlier in pairwise(history):
        assert moment(later["timestamp"]) >= moment(earlier["timestamp"])
        assert later["state"] != "NEW"
        assert earlier["state"] not in FINAL
    if action["finished_ts"] is not None:
        assert now["timestamp"] == action["finished_ts"]


def moment(text: Any) -> datetime:
    """The parsed time; asserts RFC 3339, UTC, whole seconds, `Z`."""
    assert isinstance(text, str)
    assert TIME.fullmatch(text), text
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def assert_error(answer: Response, status: int, *variants: str) -> None:
    """Assert an error of this status, and of one of these variants if any are given."""
    assert_json(answer, status)
    optional = {"details"} if status in (400, 413, 415) else set()
    assert {"error", "layers", "variant"} <= set(answer.json)
    assert set(answer.json) <= {"error", "layers", "variant"} | optional
    assert_sentence(answer.json["error"])
    assert isinstance(answer.json["layers"], list)
    assert all(isinstance(layer, str) for layer in answer.json["layers"])
    assert VARIANT.fullmatch(answer.json["variant"])
    assert not variants or answer.json["variant"] in variants, answer
    assert_details(answer.json.get("details", {}))
    assert b"Traceback" not in answer.body


def assert_sentence(text: Any) -> None:
    """Assert one line that is not empty."""
    assert isinstance(text, str)
    assert text.strip()
    assert "\n" not in text


def assert_details(details: Any) -> None:
    """Assert messages for each field."""
    assert isinstance(details, dict)
    for wrong in details.values():
        assert isinstance(wrong, list)
        assert wrong
        assert all(isinstance(each, str) for each in wrong)


def assert_invalid_args(answer: Response, *fields: str) -> None:
    """Assert that the kind refused these fields, or any if none are given."""
    assert_error(answer, 400, "InvalidArgs")
    assert answer.json["details"]
    assert set(fields) <= set(answer.json["details"]), answer


def post_body(agent: AgentProcess, kind: str, body: bytes, **options: Any) -> Response:
    """Schedule with exactly these bytes as the body."""
    return agent.post(f"{PREFIX}/schedule/{kind}", body=body, **options)


def ids(items: list[Any]) -> list[str]:
    """The ids of a list answer, in its order."""
    return [item["id"] for item in items]
