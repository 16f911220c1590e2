"""A resync of PostgreSQL takes the way that is open, and whatever ends it half way leaves no data half made."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import config, supervisors
from agent.datastores import postgresql_resync
from agent.datastores.base import DatastoreError, DatastoreUnreachable, Role
from agent.datastores.postgresql_files import DataDirectory, work_of
from agent.stop import Stop
from tests.agent_process import StartAgent, eventually
from tests.datastores.postgresql_nodes import (
    FOR_RESYNC,
    assert_nowhere,
    await_value,
    configured,
    datastore_of,
    document,
    done,
    failed,
)
from tests.datastores.reports import into, nowhere
from tests.kinds.configuring import toml
from tests.servers.postgresql import OWNER, PostgresServer
from tests.servers.process import is_alive, is_root, run

Pair = tuple[PostgresServer, PostgresServer]


@pytest.fixture(scope="module")
def diverged(module_dir: Path) -> Iterator[Pair]:
    """The data of an old primary, killed, and of the new one that was its replica; both are down."""
    with PostgresServer(module_dir / "a") as old, closing(old.replica(module_dir / "b")) as new:
        old.psql(FOR_RESYNC)
        old.psql("CREATE TABLE t AS SELECT 1 AS x")
        await_value(new, "SELECT sum(x) FROM t", "1")
        new.psql("SELECT pg_promote(true, 30)")
        old.psql("INSERT INTO t VALUES (100)")
        old.kill()
        new.psql("INSERT INTO t VALUES (2)")
        new.stop()
        yield old, new


@pytest.fixture
def pair(diverged: Pair, server_dir: Path) -> Iterator[Pair]:
    """The two for one test; the new one is up."""
    old, new = (copy_of(server, server_dir / server.dir.name) for server in diverged)
    with new:
        yield old, new
        old.close()


def copy_of(server: PostgresServer, directory: Path) -> PostgresServer:
    copy = PostgresServer(directory, bin=server.bin)
    copy.password, copy.replication_password = server.password, server.replication_password
    run(["cp", "-a", server.data, copy.data])
    return copy


def resync(old: PostgresServer, new: PostgresServer, **options: Any) -> tuple[Any, list[str]]:
    """A resync in this process; its result and phases."""
    phases: list[str] = []
    parsed = config.parse(document(old, new, **options))
    assert parsed.service and parsed.datastore
    store = datastore_of(old, **document(old, new, **options)["datastore"])
    return store.resync(supervisors.of(parsed.service), into(phases)), phases


def lose_wal(old: PostgresServer) -> None:
    """What pg_rewind needs of it: the segments from before the divergence."""
    for segment in (old.data / "pg_wal").glob("0*"):
        segment.unlink()


def whole_and_following(old: PostgresServer, new: PostgresServer) -> None:
    assert old.psql("SELECT sum(x) FROM t") == "3" and old.psql("SELECT pg_is_in_recovery()") == "t"
    new.psql("INSERT INTO t VALUES (4)")
    await_value(old, "SELECT sum(x) FROM t", "7")
    assert sorted(path.name for path in old.dir.glob("data*")) == ["data", "data.primary.pgpass"]
    assert {path.stat().st_uid for path in [old.data, *old.data.rglob("*")]} == {old.data.stat().st_uid}


def test_without_a_way_to_rewind_it_is_copied(pair: Pair) -> None:
    old, new = pair
    (old.data / "postgresql.conf").write_text((old.data / "postgresql.conf").read_text() + "work_mem = '7MB'\n")
    new.psql("REVOKE EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) FROM replicator")
    result, phases = resync(old, new)
    assert result["method"] == "pg_basebackup"
    assert "permission denied for function pg_ls_dir" in result["instead_of_pg_rewind"]
    assert phases == [
        "looking at the primary", "stopping the server", "recovering from a crash", "pg_rewind", "pg_basebackup",
        "starting the server", "waiting until it follows", "removing what is left over",
    ]  # fmt: skip
    whole_and_following(old, new)
    assert old.psql("SHOW work_mem") == "7MB", "its own configuration is kept"


def test_a_server_without_its_wal_is_copied(pair: Pair) -> None:
    old, new = pair
    lose_wal(old)
    result, _ = resync(old, new)
    assert result["method"] == "pg_basebackup" and "does not recover" in result["instead_of_pg_rewind"]
    whole_and_following(old, new)


def test_one_that_does_not_follow_after_all_is_copied(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair
    monkeypatch.setattr(postgresql_resync, "PATIENCE", 1.0)
    result, _ = resync(old, new, programs=str(programs_with(old, "pg_rewind", Path("/bin/true"))))
    assert result["method"] == "pg_basebackup" and "does not follow its primary" in result["instead_of_pg_rewind"]
    whole_and_following(old, new)


def test_a_link_is_not_taken_for_the_data_directory(pair: Pair) -> None:
    old, new = pair
    (old.dir / "link").symlink_to(old.data)
    with pytest.raises(DatastoreError, match="is a mount point or a symbolic link"):
        resync(old, new, data_directory=str(old.dir / "link"))


def test_a_service_that_is_another_servers_is_noticed(pair: Pair) -> None:
    old, new = pair
    old.start()
    parsed = config.parse(document(old, new))
    assert parsed.service
    service = replace(parsed.service, pid=("false",))
    with pytest.raises(DatastoreError, match=r"\[service\] is not its service"):
        datastore_of(old, **document(old, new)["datastore"]).resync(supervisors.of(service), nowhere())
    assert old.answers() and not datastore_of(old).is_dirty()


def test_a_slot_that_the_primary_has_is_used_again(pair: Pair) -> None:
    old, new = pair
    new.psql("SELECT pg_create_physical_replication_slot('mine')")
    with (old.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("primary_slot_name = 'mine'\n")
    assert resync(old, new)[0]["slot"] == "mine"
    assert new.psql("SELECT slot_name FROM pg_replication_slots WHERE active") == "mine"
    whole_and_following(old, new)
    assert resync(old, new)[0]["slot"] == "mine", "it was let go in time"


def test_a_healthy_replica_knows_its_primary(pair: Pair) -> None:
    old, new = pair
    resync(old, new)
    options = document(old)["datastore"]
    assert "primary" not in options
    parsed = config.parse(document(old))
    assert parsed.service
    result = datastore_of(old).resync(supervisors.of(parsed.service), nowhere())
    assert result["primary"] == f"127.0.0.1:{new.port}" and result["method"] == "pg_rewind"
    whole_and_following(old, new)


def test_what_would_destroy_the_only_data_is_refused(pair: Pair, server_dir: Path) -> None:
    old, new = pair
    with pytest.raises(DatastoreError, match="is this very server"):
        resync(new, new)
    new.stop()
    with pytest.raises(DatastoreUnreachable, match="nothing listens"):
        resync(old, new)
    old.start()
    assert old.psql("SELECT sum(x) FROM t") == "101" and not datastore_of(old).is_dirty()


def test_what_is_not_set_is_named(pair: Pair) -> None:
    old, _ = pair
    with pytest.raises(DatastoreError, match=r"set \[service\]"):
        datastore_of(old).resync(None, nowhere())
    parsed = config.parse(document(old))
    assert parsed.service and parsed.datastore
    service = supervisors.of(parsed.service)
    with pytest.raises(DatastoreError, match=r"set datastore\.primary"):
        datastore_of(old).resync(service, nowhere())
    store = datastore_of(old)
    store.settings = replace(store.settings, data_directory=None)
    with pytest.raises(DatastoreError, match=r"set datastore\.data_directory"):
        store.resync(service, nowhere())


def test_an_agent_that_is_the_owner_does_it_too(pair: Pair, server_dir: Path, agent_venv: Path) -> None:
    """The job as the server's own user, without any right of root."""
    old, new = pair
    wanted = document(old, new)
    wanted["service"]["start"] = old.start_command[-len(old.start_command) + (3 if is_root() else 0) + 1 :]
    settings = server_dir / "agent.toml"
    settings.write_text(toml(wanted))
    run(["chown", OWNER, settings, wanted["datastore"]["primary_password_file"]])
    argv = [*old.tool("x")[:-1], str(agent_venv / "bin/python"), "-m", "agent.datastores.resync"]
    env = {"AGENT_CONFIG": str(settings), "PATH": os.environ["PATH"]}
    told = subprocess.run(argv, env=env, cwd=server_dir, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    whole_and_following(old, new)


LEAST = """
    CREATE ROLE hand LOGIN PASSWORD 'p';
    GRANT pg_monitor, pg_checkpoint TO hand;
    GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO hand;
    GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, restore_command TO hand
"""


def test_an_agent_without_superuser_leads_a_replica(pair: Pair) -> None:
    old, new = pair
    new.psql(LEAST)
    resync(old, new)
    store = datastore_of(old, url=f"postgresql://hand:p@127.0.0.1:{old.port}/postgres")
    assert store.role().streaming
    store.disable_replication(Stop())
    assert store.role() == Role("standalone")
    assert store.promote(Stop())["timeline"] == 3
    assert store.role() == Role("primary", writable=True)
    assert "has shut down" in store.shut_down(10, Stop()) and old.pid is None


# Killed


HELD = """#!/bin/sh
touch {0}/held
while [ ! -e {0}/go ]; do sleep 0.02; done
exec {1} "$@"
"""


def held(old: PostgresServer, command: str) -> Path:
    """A program that does its work only when it is let go."""
    program = old.dir / "held-program"
    program.write_text(HELD.format(old.dir, command))
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("moment", ["at once", "in pg_rewind", "in the start of the server"])
def test_the_agent_is_killed_and_the_resync_goes_on(moment: str, pair: Pair, start_agent: StartAgent) -> None:
    old, new = pair
    wanted = document(old, new)
    if moment == "in pg_rewind":
        wanted["datastore"]["programs"] = str(programs_with(old, "pg_rewind", held(old, str(old.bin / "pg_rewind"))))
    elif moment == "in the start of the server":
        wanted["service"]["start"] = [str(held(old, shlex.join(old.start_command)))]
    agent = start_agent(config=toml(wanted))
    action_id = agent.schedule("resync_slave_db", {})
    if moment != "at once":
        eventually((old.dir / "held").exists, moment, 30)
    agent.kill_all()
    agent.start()
    (old.dir / "go").touch()
    action = agent.await_final(action_id, 60)["action"]
    assert action["state"] == "DONE" and action["state_payload"]["method"] == "pg_rewind", action
    whole_and_following(old, new)
    assert_nowhere([old.replication_password], [agent], old, new)


def programs_with(old: PostgresServer, name: str, instead: Path) -> Path:
    """A directory with the programs of the server, one of which is another."""
    programs = old.dir / "programs"
    programs.mkdir()
    for real in old.bin.iterdir():
        (programs / real.name).symlink_to(instead if real.name == name else real)
    return programs


def hanging(old: PostgresServer, program: str) -> Path:
    """The programs, one of which does its work half and then hangs."""
    half = "rm -rf {0}/base {0}/global" if program == "pg_rewind" else "mkdir {0}; echo 15 > {0}/PG_VERSION"
    lines = ["#!/bin/sh", "directory=${1#*=}", half.format("$directory"), "exec sleep 300"]
    script = old.dir / "hanging-program"
    script.write_text("\n".join(lines))
    script.chmod(0o755)
    return programs_with(old, program, script)


def hangs(old: PostgresServer) -> list[int]:
    """The pid of the program that hangs."""
    done = subprocess.run(["pgrep", "-u", OWNER, "-x", "sleep"], capture_output=True, text=True)
    mine = [int(pid) for pid in done.stdout.split()]
    return [pid for pid in mine if Path(f"/proc/{pid}/cwd").resolve() == old.dir]


@pytest.mark.parametrize("program", ["pg_rewind", "pg_basebackup"])
def test_the_resync_is_killed_half_way_and_begun_anew(program: str, pair: Pair, start_agent: StartAgent) -> None:
    old, new = pair
    if program == "pg_basebackup":
        lose_wal(old)
    programs = hanging(old, program)
    agent = start_agent(config=configured(old, new, programs=str(programs)))
    action_id = agent.schedule("resync_slave_db", {})
    (left,) = eventually(lambda: hangs(old), f"{program} hangs", 30)
    (claim,) = agent.directory.glob("*.jobs/*/claim")
    agent.kill_all()
    os.kill(json.loads(claim.read_text())["runner"]["pid"], signal.SIGKILL)
    agent.start()
    payload = agent.await_final(action_id, 30)["action"]["state_payload"]
    assert payload["dirty"] and payload["message"].endswith("the data is not whole, resync it again"), payload
    if program == "pg_rewind":
        assert not old.data.exists(), "it is where nobody takes it for whole"
    (programs / program).unlink()
    (programs / program).symlink_to(old.bin / program)
    assert done(agent, "resync_slave_db", {}, 60)["method"] == "pg_basebackup"
    assert not is_alive(left)
    whole_and_following(old, new)


def test_one_that_was_promoted_before_its_resync_was_over_is_a_primary_like_any_other(
    pair: Pair, start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = pair
    with monkeypatch.context() as killed, pytest.raises(InterruptedError):
        killed.setattr(DataDirectory, "finish", interrupted)
        resync(old, new)
    assert work_of(old.data).exists() and not datastore_of(old).is_dirty(), "what runs is whole"
    agent = start_agent(config=configured(old, new))
    assert done(agent, "promote_slave_db", {"force": True})["writable"]
    old.psql("INSERT INTO t VALUES (1000)")
    assert "force is needed" in failed(agent, "resync_slave_db", {})
    assert old.psql("SELECT sum(x) FROM t") == "1003"
    old.stop()
    assert datastore_of(old).is_dirty(), "nobody can say"
    done(agent, "resync_slave_db", {}, 60)
    whole_and_following(old, new)


def interrupted(_: object) -> None:
    raise InterruptedError


def test_a_cancelled_resync_ends_its_programs(pair: Pair, start_agent: StartAgent) -> None:
    old, new = pair
    lose_wal(old)
    agent = start_agent(config=configured(old, new, programs=str(hanging(old, "pg_basebackup"))))
    action_id = agent.schedule("resync_slave_db", {})
    (left,) = eventually(lambda: hangs(old), "pg_basebackup hangs", 30)
    assert agent.cancel(action_id).status == 200
    assert agent.await_final(action_id, 30)["action"]["state"] == "FAILED"
    eventually(lambda: not is_alive(left), "its end")
    assert old.data.exists() or datastore_of(old).is_dirty()
