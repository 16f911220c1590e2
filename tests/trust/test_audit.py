"""The audit trail over the API and with agentctl, for callers with its permission."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.store.audit_chain import faults
from tests.agent_process import CHECKOUT, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import PING, SUCCESS, assert_error
from tests.trust.guarded import DBA, DBA_TOKEN, PINGER, PINGER_TOKEN, Guarded, StartGuarded, bearer, table, write_tokens

EVENTS = "/api/unstable/events"
AUDITOR, AUDITOR_TOKEN = "auditor@example.com", "the-token-of-the-auditor-012345"


@pytest.fixture
def audited(start_guarded: StartGuarded, tokens_file: Path) -> Guarded:
    """An agent with a further caller, who may only read the audit trail."""
    auditor = table(AUDITOR, AUDITOR_TOKEN, [], read_only=True) + 'permissions = ["audit"]\n'
    write_tokens(tokens_file, tokens_file.read_text() + auditor)
    return start_guarded("[actions]\nprune_keep = 0\nprune_interval = 1\n")


def trail(agent: AgentProcess, after: int = 0, **headers: str) -> list[dict[str, Any]]:
    answer = agent.get(f"{EVENTS}?after={after}", headers=bearer(AUDITOR_TOKEN) | headers, timeout=30)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson"), answer
    return [json.loads(line) for line in answer.body.splitlines()]


def named(agent: AgentProcess, name: str) -> list[dict[str, Any]]:
    return [event for event in trail(agent) if event["event"] == name]


def test_audit_trail_has_user_and_kind_after_the_action_was_pruned(audited: Guarded) -> None:
    action_id = audited.schedule(PING, {"count": 1}, headers=bearer(PINGER_TOKEN))
    eventually(lambda: audited.get_info(action_id).status == 404, "it is pruned", 20)
    events = [event for event in trail(audited) if event["action_id"] == action_id]
    assert [event["event"] for event in events] == ["action.scheduled", "action.started", "action.final"]
    assert {(event["user"], event["kind"]) for event in events} == {(PINGER, PING)}
    assert not [fault for _, fault in faults(trail(audited)) if fault]


def test_the_audit_trail_needs_the_permission_audit(audited: Guarded) -> None:
    for token in (DBA_TOKEN, PINGER_TOKEN):
        answer = audited.get(EVENTS, headers=bearer(token))
        assert (answer.status, answer.json["variant"]) == (403, "Forbidden")
        assert "audit" in answer.json["error"]
    assert audited.get(EVENTS, headers={"Authorization": None}).status == 401


def test_event_of_a_cancel_has_its_user(audited: Guarded) -> None:
    action_id = audited.occupy()
    audited.cancel(action_id)
    [event] = named(audited, "action.cancel_requested")
    assert (event["user"], event["requester"]) == (DBA, "API")
    assert (event["action_id"], event["details"]) == (action_id, {"state": "RUNNING"})


def test_refused_calls_are_counted_in_one_event(audited: Guarded) -> None:
    for _ in range(30):
        audited.get("/api/unstable/actions/queue", headers=bearer("wrong"))
    for _ in range(5):
        audited.post_schedule(SUCCESS, {}, headers=bearer(PINGER_TOKEN))
    assert named(audited, "calls.refused") == []
    audited.stop()
    audited.start()
    [event] = named(audited, "calls.refused")
    assert event["details"] == {
        "count": 35,
        "by": [
            {"status": 401, "caller": "127.0.0.1", "count": 30},
            {"status": 403, "caller": PINGER, "count": 5},
        ],
    }


def test_start_and_reload_are_events_with_the_changed_options(audited: Guarded) -> None:
    file = audited.directory / "agent.toml"
    file.write_text(file.read_text() + '[audit]\nkeep = "30d"\n')
    audited.reload()
    assert len(named(audited, "agent.started")) == 1
    [reloaded] = named(audited, "configuration.reloaded")
    assert reloaded["details"] == {"changed": ["audit.keep"]}


def test_long_poll_returns_the_next_event(audited: Guarded) -> None:
    last = trail(audited)[-1]["id"]
    found: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: found.extend(trail(audited, last, Prefer="wait=20")))
    waiting.start()
    audited.schedule(PING, {"count": 1})
    waiting.join(30)
    assert found and found[0]["event"] == "action.scheduled"
    assert trail(audited, found[-1]["id"], Prefer="wait=0") is not None


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=1&after=2", "before=3", f"after={'9' * 40}"])
def test_a_wrong_cursor_is_refused(audited: Guarded, query: str) -> None:
    answer = audited.get(f"{EVENTS}?{query}", headers=bearer(AUDITOR_TOKEN))
    assert_error(answer, 400, "InvalidQuery")


# agentctl


def agentctl(agent: AgentProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent.cli", *words]
    environ = agent.env | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, env=environ, cwd=agent.directory, capture_output=True, text=True, check=False)


def test_agentctl_prints_the_events_of_a_stopped_agent(audited: Guarded) -> None:
    audited.await_final(audited.schedule("replicante.test.loop", {"target": 1, "delay": 0}))
    wire = trail(audited)
    for stopped in (False, True):
        if stopped:
            audited.stop()
        printed = agentctl(audited, "events")
        assert printed.returncode == 0, printed.stderr
        lines = len(printed.stdout.splitlines())
        assert printed.stderr == f"{lines} events of {audited.db}: the chain is complete\n"
        assert [json.loads(line) for line in printed.stdout.splitlines()][: len(wire)] == wire
    assert agentctl(audited, "events", "--since", "1h").stdout.count("\n") == len(wire)
    assert agentctl(audited, "events", "--since", "2999-01-01T00:00:00Z").stdout == ""
    assert agentctl(audited, "events", "--since", "yesterday").returncode == 2


def test_agentctl_reports_a_changed_event(start_agent: StartAgent) -> None:
    agent = start_agent()
    agent.await_final(agent.schedule(SUCCESS, {}))
    agent.stop()
    with closing(sqlite3.connect(agent.db, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_never_change")
        connection.execute("UPDATE events SET user = 'innocent@example.com' WHERE event = 'action.scheduled'")
    printed = agentctl(agent, "events")
    assert printed.returncode == 1
    assert "was changed by another program: event 3 was changed" in printed.stderr


def test_agentctl_reports_removed_newest_events(start_agent: StartAgent) -> None:
    agent = start_agent()
    action_id = agent.schedule(SUCCESS, {})
    agent.await_final(action_id)
    agent.stop()
    assert agentctl(agent, "events").returncode == 0
    with closing(sqlite3.connect(agent.db, isolation_level=None)) as connection:
        for trigger in ("events_newest_never_deleted", "events_end_at_the_oldest"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("DELETE FROM events WHERE event = 'action.final'")
    printed = agentctl(agent, "events")
    assert printed.returncode == 1
    assert f"there is no event action.final of action {action_id}: events were removed" in printed.stderr


def test_agentctl_events_follows_new_events(start_agent: StartAgent) -> None:
    agent = start_agent()
    command = [sys.executable, "-m", "agent.cli", "events", "--follow", "--since", "1h"]
    environ = agent.env | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, env=environ, cwd=agent.directory, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            begun = [json.loads(following.stdout.readline())["event"] for _ in range(2)]
            assert begun == ["audit.begun", "agent.started"]
            action_id = agent.schedule(SUCCESS, {})
            lines = [json.loads(following.stdout.readline()) for _ in range(3)]
            assert [line["action_id"] for line in lines] == [action_id] * 3
        finally:
            following.terminate()


def test_created_rotated_and_revoked_tokens_are_events(audited: Guarded, tokens_file: Path) -> None:
    made = agentctl(audited, "token", "create", "new@example.com", "--kinds", "*", "--file", str(tokens_file))
    assert made.returncode == 0, made.stderr
    assert agentctl(audited, "token", "revoke", "new@example.com", "--file", str(tokens_file)).returncode == 0
    [created], [revoked] = named(audited, "token.created"), named(audited, "token.revoked")
    assert (created["details"]["identity"], created["requester"]) == ("new@example.com", "CLI")
    assert created["user"] == subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert revoked["details"] == {"identity": "new@example.com", "id": "all"}
    file = ("--file", str(tokens_file))
    agentctl(audited, "token", "create", "new@example.com", "--kinds", "*", *file)
    assert agentctl(audited, "token", "rotate", "new@example.com", *file).returncode == 0
    first, [rotated] = named(audited, "token.created")[-1], named(audited, "token.rotated")
    assert rotated["details"]["replaced"] == first["details"]["id"] != rotated["details"]["id"]
    assert made.stdout.strip() not in json.dumps(trail(audited))


def test_token_with_the_permission_audit_reads_the_events(audited: Guarded, tokens_file: Path) -> None:
    words = (
        "token",
        "create",
        "second@example.com",
        "--read-only",
        "--permissions",
        "audit",
        "--file",
        str(tokens_file),
    )
    made = agentctl(audited, *words)
    assert audited.get(EVENTS, headers=bearer(made.stdout.strip())).status == 200
    assert os.stat(tokens_file).st_mode & 0o077 == 0
