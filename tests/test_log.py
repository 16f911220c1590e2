"""What is said of every action, where nobody can hear it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.agent_process import AgentProcess
from tests.kinds.configuring import toml

REPORT = json.dumps({"status": "finished"})


class Unheard(AgentProcess):
    """An agent whose standard error takes nothing."""

    def command(self) -> list[str]:
        return ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *super().command()]


def test_a_log_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    action = {"action": ["true"], "check": ["echo", REPORT]}
    agent = Unheard(tmp_path, config=toml({"external_actions": {"one": action}})).start()
    try:
        for _ in range(2):
            ended = agent.await_final(agent.schedule("external.one", {}))["action"]
            assert ended["state"] == "DONE", ended
    finally:
        agent.close()
