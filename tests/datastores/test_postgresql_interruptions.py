"""A resync of PostgreSQL ended by its agent, job or caller: the action reports the state correctly."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_process import StartAgent, eventually
from tests.datastores.postgresql_nodes import assert_nowhere, configured, document, done
from tests.datastores.postgresql_pairs import SUM, Pair, assert_follows, copy_of, diverged_pair
from tests.kinds.configuring import toml
from tests.servers.postgresql import OWNER, PostgresServer
from tests.servers.process import is_alive

HELD = """#!/bin/sh
touch {0}/held
while [ ! -e {0}/go ]; do sleep 0.02; done
exec {1} "$@"
"""
FORCE = {"force": True}


@pytest.fixture(scope="module")
def diverged(module_dir: Path) -> Iterator[Pair]:
    with diverged_pair(module_dir) as pair:
        yield pair


@pytest.fixture
def pair(diverged: Pair, server_dir: Path) -> Iterator[Pair]:
    """The old primary and the new one for one test; both are up."""
    old, new = (copy_of(server, server_dir / server.dir.name) for server in diverged)
    with new, old:
        yield old, new


def held(old: PostgresServer, command: str) -> Path:
    """A program that waits for a file before it does its work."""
    return script(old, HELD.format(old.dir, command))


def hanging(old: PostgresServer) -> Path:
    return script(old, "#!/bin/sh\nexec sleep 300\n")


def script(old: PostgresServer, text: str) -> Path:
    program = old.dir / "held-program"
    program.write_text(text)
    program.chmod(0o755)
    return program


def programs_with(old: PostgresServer, name: str, instead: Path) -> Path:
    """A folder with the programs of the server, one of them replaced."""
    programs = old.dir / "programs"
    programs.mkdir()
    for real in old.bin.iterdir():
        (programs / real.name).symlink_to(instead if real.name == name else real)
    return programs


def hangs(old: PostgresServer) -> list[int]:
    """The pid of the hanging program."""
    found = subprocess.run(["pgrep", "-u", OWNER, "-x", "sleep"], capture_output=True, text=True)
    mine = [int(pid) for pid in found.stdout.split()]
    return [pid for pid in mine if directory_of(pid) == str(old.dir)]


def directory_of(pid: int) -> str | None:
    """The working directory of a process; None if it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("moment", ["in pg_rewind", "in the start of the server"])
def test_resync_continues_after_a_kill_of_the_agent(moment: str, pair: Pair, start_agent: StartAgent) -> None:
    old, new = pair
    wanted = document(old, new)
    if moment == "in pg_rewind":
        wanted["datastore"]["programs"] = str(programs_with(old, "pg_rewind", held(old, str(old.bin / "pg_rewind"))))
    else:
        wanted["service"]["start"] = [str(held(old, shlex.join(old.start_command)))]
    agent = start_agent(config=toml(wanted))
    action_id = agent.schedule("resync_slave_db", FORCE)
    eventually((old.dir / "held").exists, moment, 60)
    agent.kill_all()
    agent.start()
    (old.dir / "go").touch()
    action = agent.await_final(action_id, 90)["action"]
    assert action["state"] == "DONE" and action["state_payload"]["method"] == "rewind", action
    assert_follows(old, new)
    assert_nowhere([old.replication_password], [agent], old, new)


def test_kill_of_the_job_puts_the_old_data_back(pair: Pair, start_agent: StartAgent) -> None:
    old, new = pair
    programs = programs_with(old, "pg_rewind", hanging(old))
    agent = start_agent(config=configured(old, new, programs=str(programs)))
    action_id = agent.schedule("resync_slave_db", FORCE)
    (left,) = eventually(lambda: hangs(old), "pg_rewind hangs", 60)
    (claim,) = agent.directory.glob("*.jobs/*/claim")
    agent.kill_all()
    os.kill(json.loads(claim.read_text())["runner"]["pid"], signal.SIGKILL)
    agent.start()
    payload = agent.await_final(action_id, 60)["action"]["state_payload"]
    assert "the data from before an interrupted resync is back" in payload["message"] and not payload["dirty"], payload
    assert not is_alive(left)
    assert old.psql(SUM) == "101" and old.psql("SELECT pg_is_in_recovery()") == "f"
    (programs / "pg_rewind").unlink()
    (programs / "pg_rewind").symlink_to(old.bin / "pg_rewind")
    assert done(agent, "resync_slave_db", FORCE, 90)["method"] == "rewind"
    assert_follows(old, new)


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_cancelled_or_timed_out_resync_puts_the_old_data_back_with_a_message(
    end: str, pair: Pair, start_agent: StartAgent
) -> None:
    old, new = pair
    wanted = document(old, new, programs=str(programs_with(old, "pg_rewind", hanging(old))))
    if end == "timeout":
        wanted["actions"] = {"timeouts": {"resync_slave_db": 10.0}}
    agent = start_agent(config=toml(wanted))
    action_id = agent.schedule("resync_slave_db", FORCE)
    (left,) = eventually(lambda: hangs(old), "pg_rewind hangs", 60)
    if end == "cancel":
        assert agent.cancel(action_id).status == 200
    action = agent.await_final(action_id, 90)["action"]
    assert action["state"] == "FAILED"
    payload = str(action["state_payload"])
    assert "the old data is in" in payload and "runs as before" in payload, action
    assert not is_alive(left) and old.psql(SUM) == "101"
    assert not old.data.with_name("data.resync").exists()
