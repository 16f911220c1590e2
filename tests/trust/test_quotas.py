"""Limits of what one caller can make an agent store, and no test kinds on an agent in production."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.agent_process import PREFIX, StartAgent, eventually
from tests.conformance.shapes import PING, SUCCESS, assert_error
from tests.kinds.configuring import toml
from tests.trust.guarded import StartGuarded


def test_large_bodies_do_not_fill_the_disk(start_agent: StartAgent) -> None:
    anything = {"action": ["true"], "check": ["echo", '{"status": "finished"}']}
    agent = start_agent(
        config=toml({"actions": {"queue_bytes": 1_000_000}, "external_actions": {"anything": anything}})
    )
    running = agent.occupy()
    taken = [agent.post_schedule("external.anything", {"x": "a" * 300_000}) for _ in range(5)]
    assert [answer.status for answer in taken] == [200, 200, 200, 429, 429]
    assert_error(taken[-1], 429, "QueueFull")
    assert "actions.queue_bytes" in taken[-1].json["error"] and taken[-1].headers["Retry-After"]
    assert agent.post_schedule(SUCCESS, {}).status == 200, "small ones still find room"
    agent.cancel(running)
    eventually(lambda: not agent.queue(), "all are final", 20)
    assert agent.post_schedule("external.anything", {"x": "a" * 300_000}).status == 200


def test_a_long_action_does_not_fill_the_disk(start_agent: StartAgent) -> None:
    report = json.dumps({"status": "running", "log": "x" * 10_000})
    script = f"import random; print({report!r}[:-1] + ', \"n\": ' + str(random.random()) + '}}')"
    chatty = {"action": ["true"], "check": [sys.executable, "-c", script], "interval": 0.01}
    agent = start_agent(config=toml({"actions": {"history_bytes": 30_000}, "external_actions": {"chatty": chatty}}))
    action_id = agent.schedule("external.chatty", {})
    eventually(lambda: len(agent.info(action_id)["history"]) > 8, "it has said much", 30)
    agent.cancel(action_id)
    history = agent.await_final(action_id)["history"]
    shortened = [line for line in history if "left_out" in (line["state_payload"] or {})]
    assert len(shortened) >= 3
    assert shortened[0]["state_payload"]["left_out"]["option"] == "actions.history_bytes"
    assert "left_out" not in history[0]["state_payload"], "the end is whole"


def test_authenticated_agent_offers_test_kinds_only_if_configured(
    start_guarded: StartGuarded, tokens_file: Path
) -> None:
    guarded = start_guarded("[agent]\ntest_kinds = true\n")
    assert guarded.post_schedule(PING, {}).status == 200
    (guarded.directory / "agent.toml").write_text(f'[api]\ntokens = "{tokens_file}"\n')
    guarded.reload()
    answer = guarded.post_schedule(PING, {})
    assert (answer.status, answer.json["variant"]) == (404, "ActionNotAvailable")
    assert "agent.test_kinds" in answer.json["error"]
    offered = guarded.get(f"{PREFIX}/available").json
    assert not [each for each in offered if each["kind"].startswith("replicante.test.")]


def test_unauthenticated_agent_offers_test_kinds_unless_switched_off(start_agent: StartAgent) -> None:
    assert start_agent().post_schedule(PING, {}).status == 200
    assert start_agent(config="[agent]\ntest_kinds = false\n").post_schedule(PING, {}).status == 404
