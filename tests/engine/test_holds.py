"""Kinds held by maintenance mode: other kinds run meanwhile, and the reason is shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.errors import ConfigError
from agent.kinds.base.registry import discover
from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import ACTION, FAIL, ITEM, LOOP, SUCCESS, moment
from tests.kinds.configuring import toml

MODE = "maintenance_mode"
ACTIONS = "/api/3/stacks/default/actions"
TICK = 0.2


def configured(*holds: str, **agent: str) -> str:
    return toml({"agent": agent, "actions": {"execute_interval": TICK}, "maintenance": {"holds": list(holds)}})


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent that holds every test kind except `fail`, by globs."""
    config = configured("*.succes?", "*.loop", "*.test.[p]ing", MODE)
    started = AgentProcess(tmp_path_factory.mktemp("agent"), config=config).start()
    yield started
    started.close()


@pytest.fixture
def agent(holding: AgentProcess) -> Iterator[AgentProcess]:
    yield holding
    flag_of(holding).unlink(missing_ok=True)
    eventually(lambda: not holding.queue(), "nothing waits any more", 20)


def flag_of(agent: AgentProcess) -> Path:
    return agent.directory / "maintenance"


def turn(agent: AgentProcess, value: int) -> str:
    action_id = agent.schedule(MODE, {"value": value})
    assert agent.await_final(action_id)["action"]["state"] == "DONE"
    return action_id


def order(agent: AgentProcess, *ids: str) -> list[str]:
    """The finished ones of these actions, in the order of their ends."""
    return [each["id"] for each in reversed(agent.finished()) if each["id"] in ids]


def test_held_kinds_wait_while_others_run_and_then_the_oldest_runs_first(agent: AgentProcess) -> None:
    turn(agent, 1)
    held = [agent.schedule(SUCCESS, {}) for _ in range(3)]
    passing = agent.schedule(FAIL, {})
    agent.await_final(passing)
    assert [agent.state(each) for each in held] == ["NEW"] * 3
    later = agent.schedule(SUCCESS, {})
    off = turn(agent, 0)
    agent.await_final(later)
    assert order(agent, *held, passing, off, later) == [passing, off, *held, later]


def test_queue_shows_held_actions_like_all_others(agent: AgentProcess) -> None:
    turn(agent, 1)
    held = agent.schedule(SUCCESS, {})
    assert agent.queue() == [{"kind": SUCCESS, "id": held, "state": "NEW"}]
    assert set(agent.queue()[0]) == ITEM


def test_reason_of_a_hold_is_shown_on_both_wires_while_it_lasts(agent: AgentProcess) -> None:
    since = agent.info(turn(agent, 1))["action"]["state_payload"]["since"]
    answer = agent.post(ACTIONS, json={"command": LOOP, "target": 2, "delay": 0.1, "user_reference": "r"})
    number = answer.json["response"]["id"]
    held = agent.queue()[0]["id"]
    why = f"maintenance mode is on since {since}"
    moment(since)
    action = agent.info(held)["action"]
    assert set(action) == ACTION | {"held"} and action["held"] == why
    seen = {"target": 2, "delay": 0.1, "user_reference": "r"}
    listed = agent.get(f"{ACTIONS}?user_reference=r").json["response"][-1]
    for each in (answer.json["response"], agent.get(f"{ACTIONS}/{number}").json["response"], listed):
        assert each["metadata"] == seen | {"held": why}
    turn(agent, 0)
    agent.await_final(held)
    assert set(agent.info(held)["action"]) == ACTION
    assert agent.get(f"{ACTIONS}/{number}").json["response"]["metadata"] == seen


def test_openapi_document_has_held_as_an_optional_member(agent: AgentProcess) -> None:
    described = agent.get("/openapi.json").json["components"]["schemas"]["Action"]
    assert described["properties"]["held"]["type"] == "string" and "held" not in described["required"]


def test_action_that_is_not_held_has_no_member_held(agent: AgentProcess) -> None:
    on = turn(agent, 1)
    agent.await_final(failed := agent.schedule(FAIL, {}))
    for each in (on, failed):
        assert set(agent.info(each)["action"]) == ACTION


def test_the_etag_of_an_action_changes_while_it_is_held(agent: AgentProcess) -> None:
    turn(agent, 1)
    held = agent.schedule(SUCCESS, {})
    tag = agent.get_info(held).headers["ETag"]
    assert agent.get_info(held, headers={"If-None-Match": tag}).status == 304
    flag_of(agent).write_text('{"since": "2001-02-03T04:05:06Z"}')
    other = agent.get_info(held, headers={"If-None-Match": tag})
    assert other.status == 200 and other.json["action"]["held"] == "maintenance mode is on since 2001-02-03T04:05:06Z"
    assert other.headers["ETag"] != tag


def test_long_poll_returns_when_a_hold_begins_and_ends(agent: AgentProcess) -> None:
    running = agent.schedule(LOOP, {"target": 600, "delay": 1})
    agent.await_state(running, "RUNNING")
    waiting = agent.schedule(SUCCESS, {})
    tag = agent.get_info(waiting).headers["ETag"]
    flag_of(agent).touch()
    held = agent.get_info(waiting, headers={"Prefer": "wait=10", "If-None-Match": tag}, timeout=15)
    assert held.status == 200 and "held" in held.json["action"]
    flag_of(agent).unlink()
    free = agent.get_info(waiting, headers={"Prefer": "wait=10", "If-None-Match": held.headers["ETag"]}, timeout=15)
    assert free.status == 200 and "held" not in free.json["action"] and free.headers["ETag"] == tag
    agent.cancel(running)


def test_hold_does_not_affect_a_running_action(agent: AgentProcess) -> None:
    running = agent.schedule(LOOP, {"target": 8, "delay": 0.1})
    agent.await_state(running, "RUNNING")
    flag_of(agent).touch()
    assert agent.await_final(running)["action"]["state"] == "DONE"


def test_held_action_can_be_cancelled(agent: AgentProcess) -> None:
    flag_of(agent).touch()
    held = agent.schedule(SUCCESS, {})
    assert "held" in agent.info(held)["action"]
    assert agent.cancel(held).status == 200
    action = agent.info(held)["action"]
    assert (action["state"], action["state_payload"]) == ("FAILED", {"cancelled": True}) and set(action) == ACTION


def test_a_removed_flag_ends_the_hold_at_the_next_tick(agent: AgentProcess) -> None:
    flag_of(agent).touch()
    held = agent.schedule(SUCCESS, {})
    agent.await_final(agent.schedule(FAIL, {}))
    assert agent.state(held) == "NEW"
    flag_of(agent).unlink()
    assert agent.await_final(held)["action"]["state"] == "DONE"


def test_a_held_action_is_logged_once(agent: AgentProcess) -> None:
    turn(agent, 1)
    held = [agent.schedule(SUCCESS, {}) for _ in range(2)]
    eventually(lambda: all(lines_of(agent, each) == 1 for each in held), "both are logged")
    for _ in range(3):
        agent.await_final(agent.schedule(FAIL, {}))
    assert [lines_of(agent, each) for each in held] == [1, 1]


def lines_of(agent: AgentProcess, action_id: str) -> int:
    return sum(action_id in line and "is held in the queue" in line for line in agent.log_text().splitlines())


def test_maintenance_mode_itself_is_never_held(start_agent: StartAgent) -> None:
    agent = start_agent(config=configured("*"))
    turn(agent, 1)
    held = agent.schedule(FAIL, {})
    turn(agent, 1)
    assert agent.state(held) == "NEW"
    turn(agent, 0)
    agent.await_final(held)


def test_maintenance_can_be_turned_off_although_held_actions_fill_the_queue(start_agent: StartAgent) -> None:
    agent = start_agent(config=configured("*").replace("actions = {", "actions = {queue_limit = 2, "))
    turn(agent, 1)
    held = [agent.schedule(SUCCESS, {}) for _ in range(2)]
    assert agent.post_schedule(SUCCESS, {}).status == 429
    turn(agent, 0)
    assert [agent.await_final(each)["action"]["state"] for each in held] == ["DONE", "DONE"]


def test_unreadable_maintenance_flag_holds_the_actions(start_agent: StartAgent, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    maintenance = {"holds": ["*.success"], "flag": str(loop / "flag")}
    agent = start_agent(config=toml({"actions": {"execute_interval": TICK}, "maintenance": maintenance}))
    held = agent.schedule(SUCCESS, {})
    agent.await_final(agent.schedule(FAIL, {}))
    assert agent.info(held)["action"]["held"].startswith("cannot read the maintenance flag: ")
    failed = agent.await_final(agent.schedule(MODE, {"value": 0}))["action"]
    assert failed["state_payload"]["message"].startswith(f"the flag {loop}/flag cannot be read: ")
    loop.unlink()
    assert agent.await_final(held)["action"]["state"] == "DONE"


def test_hold_glob_that_matches_no_kind_stops_the_start() -> None:
    settings = config.parse({"maintenance": {"holds": ["database_*", "deply"]}})
    with pytest.raises(ConfigError) as wrong:
        discover(settings)
    assert str(wrong.value) == 'maintenance.holds: expected kinds, or globs of them, got "deply"'


def test_held_action_stays_held_after_a_kill(start_agent: StartAgent) -> None:
    agent = start_agent(config=configured("*"))
    turn(agent, 1)
    held = agent.schedule(SUCCESS, {})
    eventually(lambda: lines_of(agent, held) == 1, "the hold is announced")
    agent.kill_all()
    agent.start()
    turn(agent, 1)  # the new agent has checked the queue
    assert agent.state(held) == "NEW" and "held" in agent.info(held)["action"]
    turn(agent, 0)
    assert agent.await_final(held)["action"]["state"] == "DONE"
    assert lines_of(agent, held) == 1, "each reason is announced once"


def test_two_agents_on_one_database_hold_and_show_the_same(start_agent: StartAgent, tmp_path: Path) -> None:
    environment = {"AGENT_DB": str(tmp_path / "agent.db")}
    first = start_agent(config=configured("*"), env=environment)
    eventually(lambda: "executes the queue" in first.log_text(), "the first executes")
    second = start_agent(config=configured("*"), env=environment)
    turn(second, 1)
    assert (tmp_path / "maintenance").exists()
    held = second.schedule(SUCCESS, {})
    assert first.info(held) == second.info(held) and "held" in first.info(held)["action"]
    first.kill_all()
    turn(second, 0)
    assert second.await_final(held)["action"]["state"] == "DONE"


def test_order_is_kept_for_many_clients_while_some_kinds_are_held(agent: AgentProcess) -> None:
    """Held and other actions each keep their order while maintenance is switched on and off."""
    ids: dict[str, list[str]] = {SUCCESS: [], FAIL: []}
    done = threading.Event()

    def toggle() -> None:
        while not done.is_set():
            turn(agent, 1)
            turn(agent, 0)

    thread = threading.Thread(target=toggle)
    thread.start()
    try:
        for number in range(60):
            kind = (SUCCESS, FAIL)[number % 2]
            ids[kind].append(agent.schedule(kind, {}))
    finally:
        done.set()
        thread.join(30)
    for each in ids[SUCCESS] + ids[FAIL]:
        agent.await_final(each)
    for kind in ids:
        assert order(agent, *ids[kind]) == ids[kind]


def test_nothing_is_held_where_maintenance_is_not_configured(start_agent: StartAgent) -> None:
    agent = start_agent()
    flag_of(agent).touch()
    held: Any = agent.await_final(agent.schedule(SUCCESS, {}))
    assert held["action"]["state"] == "DONE"
    assert agent.get(f"{PREFIX}/queue").json == []
