"""Repeated and concurrent deliveries of one push make one action, even after this action was pruned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.agent_process import StartAgent, eventually
from tests.conformance.shapes import assert_error
from tests.hooks.pushing import deliver, encoded, hooked, push, scheduled, taken


def test_the_same_delivery_is_the_same_action(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=hooked(tmp_path))
    body = encoded(push(ref="refs/heads/main"))
    action = taken(deliver(agent, body))
    assert taken(deliver(agent, body))["id"] == action["id"]
    eventually(lambda: agent.finished(), "it has ended")
    again = taken(deliver(agent, body, headers={"Idempotency-Key": "another", "X-GitHub-Delivery": "another"}))
    assert again["id"] == action["id"]
    assert again["finished_at"] is not None
    assert scheduled(agent) == 1
    agent.kill_all()
    agent.start()
    assert taken(deliver(agent, body))["id"] == action["id"]


def test_other_body_or_application_is_a_new_delivery(start_agent: StartAgent, tmp_path: Path) -> None:
    config = hooked(tmp_path).replace("refs/heads/release-*", "refs/heads/*")
    agent = start_agent(config=config)
    event = push()
    body = encoded(event)
    deliveries = [(body, "shop"), (body, "team/shop"), (body + b"\n", "shop"), (encoded(event | {"x": 1}), "shop")]
    ids = [taken(deliver(agent, *each))["id"] for each in deliveries]
    assert len(set(ids)) == 4


def test_key_of_a_caller_does_not_match_a_delivery(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=hooked(tmp_path))
    body = encoded(push())
    taken(deliver(agent, body, headers={"Idempotency-Key": "mine"}))
    agent.schedule("replicante.test.success", {}, headers={"Idempotency-Key": "mine"})
    taken(deliver(agent, encoded(push()), headers={"Idempotency-Key": "mine"}))
    assert scheduled(agent) == 3


def test_eight_concurrent_equal_deliveries_are_one_action(start_agent: StartAgent, tmp_path: Path) -> None:
    agent = start_agent(config=hooked(tmp_path))
    for _ in range(5):
        body = encoded(push())
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda body: deliver(agent, body), [body] * 8))
        assert len({taken(answer)["id"] for answer in answers}) == 1
    assert scheduled(agent) == 5
    assert "Traceback" not in agent.whole_log()
    assert "ERROR" not in agent.whole_log()


def test_delivery_is_refused_again_after_its_action_was_pruned(start_agent: StartAgent, tmp_path: Path) -> None:
    more = "[actions]\nprune_interval = 0.2\nprune_keep = 0\nexecute_interval = 0.2\n"
    agent = start_agent(config=hooked(tmp_path, more))
    body = encoded(push())
    taken(deliver(agent, body))
    eventually(lambda: scheduled(agent) == 0, "it is pruned")
    answer = deliver(agent, body)
    assert_error(answer, 409, "HookReplayed")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: deliver(agent, body), [body] * 7 + [encoded(push())]))
    assert [answer.status for answer in answers] == [409] * 7 + [200]
    agent.kill_all()
    agent.start()
    assert_error(deliver(agent, body), 409, "HookReplayed")
