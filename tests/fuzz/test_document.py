"""The agent against its own document: schemathesis generates valid and invalid requests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.agent_process import AgentProcess
from tests.fuzz.harmless import assert_unharmed

CONFIG = Path(__file__).parent / "schemathesis.toml"
TIMEOUT = 400
"""Seconds; on an idle machine the test takes a quarter of this time."""


def test_agent_answers_as_its_openapi_document_says(harmless_agent: AgentProcess, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{harmless_agent.port}/openapi.json"
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", address],
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1", "NO_PROXY": "127.0.0.1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
    # Compared by number, because old actions are pruned meanwhile.
    assert max(assert_unharmed(harmless_agent).values()) > 100
