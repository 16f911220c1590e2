"""agentctl db on real agents: backup, restore, downgrade, check, vacuum; a restored queue runs nothing twice."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.jobs.jobs import Jobs, RunningJob
from agent.store.migrate import migrations
from tests.agent_process import AgentProcess, StartAgent, eventually
from tests.cli.calling import Ended, call

NEWEST = migrations()[-1].number


def db(agent: AgentProcess, *words: str) -> Ended:
    """agentctl db on the database of this agent."""
    return call(None, "db", *words, AGENT_CONFIG=agent.env["AGENT_CONFIG"], AGENT_DB=str(agent.db))


def test_queue_of_an_older_copy_does_not_run_after_a_restore(agent: AgentProcess, tmp_path: Path) -> None:
    running = agent.occupy()
    waiting = agent.schedule("replicante.test.success", {}, headers={"Idempotency-Key": "one"})
    copy = tmp_path / "copy.db"
    made = db(agent, "backup", str(copy))
    assert (made.status, made.stderr) == (0, "")
    assert made.stdout.startswith(f"{copy}: ")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("copy.db", "copy.db.key")] == [0o600, 0o600]
    later = agent.schedule("replicante.test.success", {})
    refused = db(agent, "restore", str(copy))
    [worker] = agent.workers()
    assert (refused.status, refused.stderr) == (2, f"an agent runs on {agent.db} (process {worker}): stop it first\n")
    agent.stop()
    restored = db(agent, "restore", str(copy))
    assert restored.stdout.startswith(f"{agent.db} is the copy of {copy}: 2 waiting actions are FAILED, 0 wait\n")
    agent.start()
    for action_id in (running, waiting):
        action = agent.info(action_id)["action"]
        assert (action["state"], action["outcome"]) == ("FAILED", "failed")
        assert action["message"].startswith("from a backup: the database was restored from copy.db, as of 20")
    assert agent.get_info(later).status == 404
    assert agent.await_final(agent.schedule("replicante.test.success", {}))["action"]["state"] == "DONE"
    (replaced,) = agent.directory.glob("agent.db.replaced-*Z")
    with closing(sqlite3.connect(replaced)) as connection:
        assert connection.execute("SELECT count(*) FROM actions").fetchone() == (3,)
    checked = db(agent, "check")
    assert (checked.status, checked.stdout.endswith("no fault found\n")) == (0, True), checked


def test_restored_queue_runs_if_it_is_kept(agent: AgentProcess, tmp_path: Path) -> None:
    agent.occupy()
    waiting = agent.schedule("replicante.test.success", {})
    copy = tmp_path / "copy.db"
    assert db(agent, "backup", str(copy)).status == 0
    agent.stop()
    assert "0 waiting actions are FAILED, 2 wait" in db(agent, "restore", "--keep-queue", str(copy)).stdout
    agent.start()
    assert [each["id"] for each in agent.queue()][-1] == waiting
    agent.cancel("1")
    assert agent.await_final(waiting)["action"]["state"] == "DONE"


def test_queue_of_a_copy_put_back_by_hand_or_of_a_clone_does_not_run(agent: AgentProcess, tmp_path: Path) -> None:
    agent.occupy()
    waiting = agent.schedule("replicante.test.success", {})
    copy = tmp_path / "copy.db"
    assert db(agent, "backup", str(copy)).status == 0
    agent.cancel("1")
    agent.await_final(waiting)
    agent.stop()
    for suffix in ("-wal", "-shm"):
        Path(f"{agent.db}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(copy, agent.db)
    agent.start()
    message = eventually(lambda: agent.info(waiting)["action"]["message"], "the agent has looked at its database")
    assert "the database is an older copy of the one that was used here last" in message
    agent.stop()
    for each in agent.directory.glob("agent.db*"):
        if each.is_file():
            each.unlink()
    shutil.copyfile(copy, agent.db)
    agent.start()
    message = eventually(lambda: agent.info(waiting)["action"]["message"], "the agent has looked at its database")
    assert "the database is a copy that was put in its place without agentctl db restore" in message
    agent.occupy()
    cloned = agent.schedule("replicante.test.success", {})
    agent.kill_all()
    with closing(sqlite3.connect(agent.db)) as connection, connection:
        connection.execute("""UPDATE host SET ids = '{"machine_id": "another"}'""")
    agent.start()
    assert "last used on another machine" in agent.await_final(cloned)["action"]["message"]
    assert "waiting actions are FAILED and will not run" in agent.log_text()


def test_restore_of_a_file_that_is_not_a_copy_is_refused_and_changes_nothing(
    start_agent: StartAgent, tmp_path: Path
) -> None:
    agent = start_agent()
    kept = agent.schedule("replicante.test.success", {})
    agent.await_final(kept)
    agent.stop()
    foreign, damaged, empty = tmp_path / "foreign.db", tmp_path / "damaged.db", tmp_path / "empty.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    damaged.write_bytes(b"no database " * 1000)
    empty.touch()
    whole, half, keyless = (tmp_path / f"{name}.db" for name in ("whole", "half", "keyless"))
    assert db(agent, "backup", str(whole)).status == 0
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    shutil.copyfile(whole, keyless)
    Path(f"{keyless}.key").write_bytes(b"")
    for file, message in (
        (foreign, "this is the database of another program"),
        (damaged, f"{damaged}: file is not a database"),
        (half, f"{half}: database disk image is malformed"),
        (empty, f"{empty}: it is empty"),
        (keyless, f"{keyless}.key is damaged: copy it again, or remove it to restore without the key"),
    ):
        ended = db(agent, "restore", str(file))
        assert (ended.status, message in ended.stderr, ended.stderr.count("\n")) == (2, True, 1), ended
    missing = db(agent, "restore", str(tmp_path / "none.db"))
    assert (missing.status, missing.stderr) == (7, f"there is no file {tmp_path}/none.db\n")
    assert not list(agent.directory.glob("agent.db.re*"))
    assert agent.start().info(kept)["action"]["state"] == "DONE"


@pytest.mark.parametrize("file", ["copy.db", "copy.db.key"])
def test_a_copy_that_the_agents_user_cannot_read_is_named(agent: AgentProcess, server_dir: Path, file: str) -> None:
    """Like a copy made by root from another host."""
    agent.schedule("replicante.test.success", {}, headers={"Idempotency-Key": "one"})
    assert db(agent, "backup", str(server_dir / "copy.db")).status == 0
    for each in server_dir.iterdir():
        each.chmod(0o600 if each.name == file else 0o644)
    (server_dir / "agent.toml").touch()
    state = {"AGENT_CONFIG": str(server_dir / "agent.toml"), "AGENT_DB": str(server_dir / "agent.db")}
    nobody = pwd.getpwnam("nobody").pw_uid
    os.seteuid(nobody)
    try:
        refused = call(None, "db", "restore", str(server_dir / "copy.db"), **state)
    finally:
        os.seteuid(0)
    message = f"{server_dir / file} cannot be read by nobody: copy it beside the database; then run chown nobody FILE\n"
    assert (refused.status, refused.stderr) == (2, message)


def test_backup_replaces_no_file_and_names_a_path_it_cannot_write(agent: AgentProcess, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    ended = db(agent, "backup", str(copy))
    assert (ended.status, ended.stderr) == (2, f"{copy} exists: name a new file\n")
    assert copy.read_text() == "precious"
    agent.schedule("replicante.test.success", {}, headers={"Idempotency-Key": "one"})
    nowhere = db(agent, "backup", str(tmp_path / "none" / "copy.db"))
    assert nowhere.status == 2
    assert f"{tmp_path}/none/copy.db cannot be written by " in nowhere.stderr
    other = tmp_path / "other.db"
    Path(f"{other}.key").write_text("of an earlier copy")
    ended = db(agent, "backup", str(other))
    assert (ended.status, ended.stderr) == (2, f"{other}.key exists: name a new file\n")
    assert not other.exists(), "a copy with the key of another one"


def test_a_disk_that_is_full_leaves_no_part_of_a_copy(agent: AgentProcess, tmp_path: Path) -> None:
    agent.schedule("replicante.test.success", {}, headers={"Idempotency-Key": "one"})
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        ended = db(agent, "backup", str(small / "copy.db"))
        message = f"{small}/copy.db cannot be made from {agent.db}: database or disk is full\n"
        assert (ended.status, ended.stderr, list(small.iterdir())) == (2, message, [])
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_restore_beside_a_reader_or_a_running_job_is_refused(agent: AgentProcess, tmp_path: Path) -> None:
    """The reader keeps the newest changes in the WAL; the job would run beside the next action."""
    copy = tmp_path / "copy.db"
    assert db(agent, "backup", str(copy)).status == 0
    kept = agent.schedule("replicante.test.success", {})
    agent.await_final(kept)
    with closing(sqlite3.connect(agent.db, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM actions").fetchone()
        agent.await_final(agent.schedule("replicante.test.success", {}))
        agent.stop()
        beside = db(agent, "restore", str(copy))
        why = f"{agent.db} is read by another process: end that process, or try again\n"
        assert (beside.status, beside.stderr) == (2, why)
    job = Jobs(agent.directory / "agent.db.jobs").start(f"{kept}.copy", ["sleep", "60"])
    runs = db(agent, "restore", str(copy))
    look = job.look()
    job.end(0)
    assert isinstance(look, RunningJob)
    why = f"the job {kept}.copy of an action still runs (process {look.pid})"
    how = "start the agent and wait for the action, or cancel it; then stop the agent"
    assert (runs.status, runs.stderr) == (2, f"{why}: {how}\n")
    assert agent.start().info(kept)["action"]["state"] == "DONE"
    agent.stop()
    assert [db(agent, "restore", str(copy)).status for _ in range(2)] == [0, 0]
    assert len(list(agent.directory.glob("agent.db.replaced-*Z"))) == 2


def test_waiting_action_runs_after_a_downgrade_to_a_schema_without_audit_trail(agent: AgentProcess) -> None:
    agent.occupy()
    waiting = agent.schedule("replicante.test.success", {})
    agent.stop()
    assert db(agent, "downgrade", "5").status == 0
    agent.start()
    agent.cancel("1")
    assert agent.await_final(waiting)["action"]["state"] == "DONE"


def test_check_finds_damage_and_a_changed_trail(agent: AgentProcess) -> None:
    agent.await_final(agent.schedule("replicante.test.success", {}))
    agent.stop()
    with closing(sqlite3.connect(agent.db)) as connection, connection:
        connection.execute("DROP TRIGGER events_never_change")
        connection.execute("UPDATE events SET user = 'mallory' WHERE event = 'action.scheduled'")
    ended = db(agent, "check")
    assert ended.status == 1
    assert "the audit trail was changed by another program: event" in ended.stdout
    raw = bytearray(agent.db.read_bytes())
    raw[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    agent.db.write_bytes(raw)
    damaged = db(agent, "check")
    assert damaged.status in (1, 2)
    assert str(agent.db) in damaged.stdout + damaged.stderr


def test_vacuum_makes_the_file_smaller(agent: AgentProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.stop()
    with closing(sqlite3.connect(agent.db)) as connection, connection:
        connection.execute("CREATE TABLE big AS SELECT hex(randomblob(2000000)) AS text")
        connection.execute("DROP TABLE big")
    before = agent.db.stat().st_size
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
        refused = db(agent, "vacuum")
    assert (refused.status, " has 1 MiB free, and " in refused.stderr) == (2, True), refused.stderr
    assert refused.stderr.endswith(" MiB are needed\n") and agent.db.stat().st_size == before
    ended = db(agent, "vacuum")
    assert (ended.status, ended.stderr) == (0, "")
    assert agent.db.stat().st_size < before / 4
    same = db(agent, "downgrade", str(NEWEST))
    assert (same.status, same.stdout, same.stderr) == (0, f"{agent.db} has schema {NEWEST} already\n", "")
    refused = db(agent, "downgrade", str(NEWEST + 1))
    why = f"has schema {NEWEST}, which is earlier than {NEWEST + 1}: the agent's start upgrades it"
    assert (refused.status, refused.stderr) == (2, f"{agent.db} {why}\n")
    agent.start()
