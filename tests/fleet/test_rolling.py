"""The shortest rolling run over three booted nodes; `python -m tests.fleet` runs the others and the role."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet import nodes
from tests.fleet.rolling import Rolling
from tests.fleet.servers import PostgreSQL


@pytest.mark.timeout(400)
def test_a_killed_controller_continues_on_three_hosts_and_no_write_is_lost(agent_venv: Path, server_dir: Path) -> None:
    with nodes.booted(server_dir) as three:
        rolling = Rolling(three, PostgreSQL())
        rolling.set_up_from(agent_venv)
        rolling.check_mode_changes_nothing()
        rolling.killed_run_continues_without_lost_writes()
