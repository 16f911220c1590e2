"""Actions that wait for an approval or for their window, and the permission to approve."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.errors import ConfigError
from tests.agent_process import PREFIX, Response, eventually
from tests.conformance.shapes import PING, SUCCESS
from tests.trust.guarded import (
    DBA,
    DBA_TOKEN,
    PINGER,
    PINGER_TOKEN,
    READER_TOKEN,
    THREE,
    Guarded,
    assert_refused,
    bearer,
    table,
    write_tokens,
)  # fmt: skip

LEAD, LEAD_TOKEN = "lead@example.com", "the-token-of-the-lead-0123456789"
LOOP = "replicante.test.loop"


def hours_closed_now() -> str:
    """A window that opens in some hours and is open for an hour."""
    now = datetime.now().astimezone()
    return f"{now + timedelta(hours=6):%H:%M}-{now + timedelta(hours=7):%H:%M}"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """An agent with a fourth identity that only approves; the DBA may approve too."""
    directory = tmp_path_factory.mktemp("approval")
    may = 'permissions = ["approve", "audit"]\n'
    three = THREE.replace(f'["{PINGER}"]', f'{may}["{PINGER}"]', 1)
    tokens = write_tokens(directory / "tokens.toml", three + table(LEAD, LEAD_TOKEN, []) + may)
    text = (
        f'[api]\ntokens = "{tokens}"\n[actions]\napproval = ["{PING}"]\nexecute_interval = 0.2\n'
        f'[windows.night]\nkinds = ["*.{SUCCESS.rpartition(".")[2]}"]\nhours = "{hours_closed_now()}"\n'
    )
    started = Guarded(directory, config=text)
    started.token = DBA_TOKEN
    started.start()
    yield started
    started.close()


def approve(agent: Guarded, action_id: object, token: str = LEAD_TOKEN) -> Response:
    return agent.post(f"{PREFIX}/approve/{action_id}", headers=bearer(token))


def events(agent: Guarded, action_id: str) -> list[dict[str, Any]]:
    lines = agent.get("/api/unstable/events").body.splitlines()
    return [event for line in lines if (event := json.loads(line))["action_id"] == action_id]


def await_announced(agent: Guarded, action_id: str, reason: str) -> None:
    """Wait for one log line and one event with the reason of the hold."""
    text = f"is held in the queue: {reason}"
    eventually(lambda: re.search(f"action {action_id} .* {re.escape(text)}\n", agent.log_text()), text, 60)
    held = [event for event in events(agent, action_id) if event["event"] == "action.held"]
    assert [(event["user"], event["details"]) for event in held] == [(DBA, {"reason": reason})]


def test_kind_with_approval_is_held_until_another_identity_approves(agent: Guarded) -> None:
    action_id = agent.schedule(PING, {"count": 1})
    passing = agent.schedule("replicante.test.fail", {})
    agent.await_state(passing, "FAILED")
    action = agent.info(action_id)["action"]
    assert (action["state"], action["held"]) == ("NEW", "waits for the approval of another identity")
    assert action["approved_by"] is None
    await_announced(agent, action_id, action["held"])
    tag = agent.get_info(action_id).headers["ETag"]
    assert_refused(approve(agent, action_id, DBA_TOKEN), 409, "NotApprovable")  # its own
    for token in (PINGER_TOKEN, READER_TOKEN):
        assert_refused(approve(agent, action_id, token), 403, "Forbidden")
    assert_refused(approve(agent, "nothing"), 404, "ActionNotFound")
    assert agent.info(action_id)["action"]["state"] == "NEW"

    answer = approve(agent, action["async_action_id"])
    assert (answer.status, answer.json["id"]) == (200, action_id)
    assert agent.get_info(action_id).headers["ETag"] != tag
    final = agent.await_final(action_id)["action"]
    assert (final["state"], final["approved_by"], final["user"]) == ("DONE", LEAD, DBA)
    assert_refused(approve(agent, action_id), 409, "NotApprovable")
    approved = [event for event in events(agent, action_id) if event["event"] == "action.approved"]
    assert [(event["user"], event["kind"], event["details"]) for event in approved] == [(LEAD, PING, {"needed": True})]


def test_an_approved_action_is_not_approved_again(agent: Guarded) -> None:
    blocker = agent.schedule(LOOP, {"target": 600, "delay": 1})
    agent.await_state(blocker, "RUNNING")
    action_id = agent.schedule(PING, {"count": 1}, headers=bearer(PINGER_TOKEN))
    assert approve(agent, action_id).status == 200
    assert_refused(approve(agent, action_id, DBA_TOKEN), 409, "NotApprovable")
    agent.cancel(blocker)
    assert agent.await_final(action_id)["action"]["approved_by"] == LEAD


def test_a_closed_window_holds_its_kinds_and_an_approval_overrides_it(agent: Guarded) -> None:
    action_id = agent.schedule(SUCCESS, {})
    agent.await_state(agent.schedule("replicante.test.fail", {}), "FAILED")
    [item] = [each for each in agent.get(f"{PREFIX}/list?state=NEW").json["items"] if each["id"] == action_id]
    assert item["held"].startswith('the window "night" is closed until 2') and item["approved_by"] is None
    await_announced(agent, action_id, item["held"])
    assert approve(agent, action_id).status == 200
    assert agent.await_final(action_id)["action"]["outcome"] == "done"
    assert [event["details"] for event in events(agent, action_id) if event["event"] == "action.approved"] == [
        {"needed": False}
    ]


def test_an_action_that_waits_for_an_approval_can_be_cancelled(agent: Guarded) -> None:
    action_id = agent.schedule(PING, {"count": 1})
    assert agent.cancel(action_id).status == 200
    assert agent.info(action_id)["action"]["outcome"] == "cancelled"
    assert "held" not in agent.info(action_id)["action"]


def test_approvals_without_identities_are_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[actions]\napproval = ["deploy"]\n')
    with pytest.raises(ConfigError, match=r"actions\.approval: expected no kinds, as neither api\.tokens nor"):
        config.load({"AGENT_CONFIG": str(file)})
