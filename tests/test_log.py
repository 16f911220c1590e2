"""The log when it cannot be written, and its rate limits for refused callers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent.util.rate_limiter import RateLimiter
from tests.agent_process import PREFIX, AgentProcess, StartAgent, eventually
from tests.conformance.shapes import SUCCESS
from tests.hooks.pushing import deliver, encoded, hooked, push
from tests.kinds.configuring import toml
from tests.trust.conftest import start_guarded, tokens_file
from tests.trust.guarded import StartGuarded

__all__ = ["start_guarded", "tokens_file"]

CALLS = 300
REPORT = json.dumps({"status": "finished"})


class Unheard(AgentProcess):
    """An agent whose standard error cannot be written, and is buffered by Python as in a unit."""

    def command(self) -> list[str]:
        return ["env", "--unset=PYTHONUNBUFFERED", "sh", "-c", 'exec "$@" 2>/dev/full', "sh", *super().command()]


def test_unwritable_log_does_not_affect_actions(tmp_path: Path) -> None:
    action = {"action": ["true"], "check": ["echo", REPORT]}
    agent = Unheard(tmp_path, config=toml({"external_actions": {"one": action}})).start()
    try:
        for _ in range(2):
            ended = agent.await_final(agent.schedule("external.one", {}))["action"]
            assert ended["state"] == "DONE", ended
    finally:
        agent.close()


def test_rate_limiter_counts_the_suppressed_lines() -> None:
    now = [5.0]
    ration = RateLimiter(3, lambda: now[0])
    assert [ration.take() for _ in range(5)] == [0, 0, 0, None, None]
    now[0] = 5.999
    assert ration.take() is None
    now[0] = 6.0
    assert [ration.take() for _ in range(4)] == [3, 0, 0, None]
    now[0] = 1000.0
    assert [ration.take(), ration.take()] == [1, 0]


def assert_all_are_counted(agent: AgentProcess, call: Callable[[], None], line: str) -> None:
    """Call `call` many times at once: a few lines are logged, and a count of all others."""
    agent.log.write_text("")
    calls, began = CALLS, time.monotonic()
    for _ in range(CALLS):
        call()
    lasted = time.monotonic() - began
    assert len(lines_of(agent, line)) <= 10 * (int(lasted) + 2)

    def logged() -> bool:
        nonlocal calls
        calls += 1
        call()
        return len(lines_of(agent, line)) + sum(left_out(agent)) == calls

    eventually(logged, "the rest is counted in the next line")
    assert left_out(agent)


def lines_of(agent: AgentProcess, line: str) -> list[str]:
    return re.findall(line, agent.log_text())


def left_out(agent: AgentProcess) -> list[int]:
    return [
        int(count)
        for count in re.findall(r"^(?:WARNING|ERROR) and (\d+) more calls were refused$", agent.log_text(), re.M)
    ]


def test_refused_callers_do_not_flood_the_log(start_guarded: StartGuarded) -> None:
    guarded = start_guarded()
    with closing(guarded.connect()) as connection:

        def call() -> None:
            answer = guarded.get(f"{PREFIX}/queue", headers={"Authorization": None}, connection=connection)
            assert answer.status == 401

        call()
        assert "refused with 401: a token is required" in guarded.log_text(), "a single one has its line"
        assert_all_are_counted(guarded, call, "WARNING a caller from 127.0.0.1 was refused with 401")
    action_id = guarded.schedule(SUCCESS, {})
    guarded.await_final(action_id)
    assert f"action {action_id} {SUCCESS} scheduled by " in guarded.log_text()


@pytest.mark.parametrize(("secret", "status"), [("another", 401), (None, 503)])
def test_refused_deliveries_do_not_flood_the_log(
    start_agent: StartAgent, tmp_path: Path, secret: str | None, status: int
) -> None:
    agent = start_agent(config=hooked(tmp_path))
    if secret is None:
        (tmp_path / "shop.secret").unlink()
    headers: dict[str, str | None] = {"X-Hub-Signature-256": "sha256=00"}

    def call() -> None:
        assert deliver(agent, encoded(push()), headers=headers).status == status

    lines = {
        401: "WARNING a caller from 127.0.0.1 was refused with 401: applications.shop.hook_secret",
        503: "ERROR applications.shop.hook_secret",
    }
    assert_all_are_counted(agent, call, lines[status])


def test_malformed_requests_do_not_flood_the_log(agent: AgentProcess) -> None:
    def call() -> None:
        assert agent.get("/", headers={"A B": "c"}).status == 400

    assert_all_are_counted(agent, call, "WARNING a request was refused with 400: InvalidHeaderName")
