"""A resync of PostgreSQL decides by the worth of the data, takes the gentlest method, and leaves no partial data."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent import config, supervisors
from agent.datastores.base import DatastoreError, DatastoreUnreachable, Role
from agent.datastores.postgresql import new_data_directory, service as postgresql_service
from agent.datastores.replication_requests import PromoteRequest, ResyncRequest
from agent.plan import Would
from agent.util.stop import Stop
from tests.agent_process import StartAgent
from tests.datastores.postgresql_nodes import assert_nowhere, configured, datastore_of, document, done, failed
from tests.datastores.postgresql_pairs import (
    FORCED,
    SUM,
    Pair,
    age,
    assert_follows,
    copy_of,
    diverged_pair,
    driver,
    plan,
    resync,
)
from tests.datastores.reports import nowhere
from tests.kinds.configuring import toml
from tests.servers.postgresql import OWNER, PostgresServer
from tests.servers.process import is_root, run


@pytest.fixture(scope="module")
def diverged(module_dir: Path) -> Iterator[Pair]:
    with diverged_pair(module_dir) as pair:
        yield pair


@pytest.fixture
def pair(diverged: Pair, server_dir: Path) -> Iterator[Pair]:
    """The old primary, down, and the new one, up, for one test."""
    old, new = (copy_of(server, server_dir / server.dir.name) for server in diverged)
    with new, closing(old):
        yield old, new


def lose_wal(old: PostgresServer) -> None:
    """Remove the WAL segments from before the divergence, which pg_rewind needs."""
    for segment in (old.data / "pg_wal").glob("0*"):
        segment.unlink()


# Divergence


@pytest.mark.parametrize("up", [False, True])
def test_writes_missing_on_the_primary_are_discarded_only_with_force(
    up: bool, pair: Pair, start_agent: StartAgent
) -> None:
    old, new = pair
    if up:
        old.start()
    agent = start_agent(config=configured(old, new))
    why = failed(agent, "resync_slave_db", {})
    assert "1 transactions that" in why and "force is needed" in why
    assert (old.pid is not None) is up, "it was not touched"
    payload = done(agent, "resync_slave_db", {"force": True}, 90)
    assert payload["method"] == "rewind"
    bytes_lost, transactions = payload["discarded"]
    assert bytes_lost["what"].startswith("WAL past 0/") and bytes_lost["amount"] > 0
    assert transactions["amount"] == 1
    assert_follows(old, new)
    assert_nowhere([old.replication_password], [agent], old, new)


def test_wal_without_transactions_needs_no_force(pair: Pair) -> None:
    old, new = pair
    resync(old, new)
    old.psql("SELECT pg_promote(true, 30)")
    old.psql("CHECKPOINT")
    look = plan(old, new, ResyncRequest())
    assert (look.would, look.facts["method"], list(look.discards)) == (Would.DISRUPT, "rewind", [])
    resync(old, new, ResyncRequest())
    assert_follows(old, new)


def test_unreadable_wal_is_refused_and_copied_with_force(pair: Pair) -> None:
    old, new = pair
    lose_wal(old)
    look = plan(old, new, ResyncRequest())
    assert look.would is Would.REFUSE and "it is unknown whether" in look.summary
    result, phases = resync(old, new)
    assert result["method"] == "copy" and "missing or damaged" in result["reason"]
    assert result["discarded"][0]["amount"] is None
    assert phases == [
        "checking the primary", "stopping the server", "pg_basebackup", "switching to the new data",
        "starting the server", "waiting until it follows", "removing the old data",
    ]  # fmt: skip
    assert_follows(old, new)


def test_rewind_keeps_the_settings_of_this_server(pair: Pair) -> None:
    old, new = pair
    (old.data / "postgresql.conf").write_text((old.data / "postgresql.conf").read_text() + "work_mem = '7MB'\n")
    result, phases = resync(old, new)
    assert result["method"] == "rewind"
    assert phases == [
        "checking the primary", "stopping the server", "copying the data directory", "recovering from a crash",
        "pg_rewind", "switching to the new data", "starting the server", "waiting until it follows",
        "removing the old data",
    ]  # fmt: skip
    assert_follows(old, new)
    assert old.psql("SHOW work_mem") == "7MB"


def test_rewind_copies_no_recycled_wal(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair
    old.start()
    used = old.data / "pg_wal" / old.psql("SELECT pg_walfile_name(pg_current_wal_lsn())")
    old.stop()
    recycled = used.with_name(f"{used.name[:16]}{int(used.name[16:], 16) + 2:08X}")
    run(["cp", "-a", used, recycled])
    copied = []
    copy_file = new_data_directory._copy_file

    def recording(source: Path, target: Path) -> int:
        copied.append(source.name)
        return copy_file(source, target)

    monkeypatch.setattr(new_data_directory, "_copy_file", recording)
    result, _ = resync(old, new)
    assert result["method"] == "rewind"
    assert used.name in copied and recycled.name not in copied
    assert_follows(old, new)


# Before anything is stopped


def test_missing_grants_for_a_rewind_are_named_before_the_stop(pair: Pair) -> None:
    old, new = pair
    old.start()
    new.psql("REVOKE EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) FROM replicator")
    with pytest.raises(DatastoreError, match=r"may not call pg_ls_dir.*or request mode copy"):
        resync(old, new)
    assert old.psql(SUM) == "101"
    assert resync(old, new, ResyncRequest(force=True, mode="copy"))[0]["method"] == "copy"
    assert_follows(old, new)


def test_a_link_is_not_taken_for_the_data_directory(pair: Pair) -> None:
    old, new = pair
    (old.dir / "link").symlink_to(old.data)
    with pytest.raises(DatastoreError, match="is a mount point or a symbolic link"):
        resync(old, new, data_directory=str(old.dir / "link"))


def test_service_of_another_server_is_refused(pair: Pair) -> None:
    old, new = pair
    old.start()
    parsed = config.parse(document(old, new))
    assert parsed.service
    service = replace(parsed.service, pid=("false",))
    with pytest.raises(DatastoreError, match=r"\[service\] is not its service"):
        driver(old, new)[0].resync(supervisors.of(service), nowhere(), FORCED)
    assert old.answers() and not datastore_of(old).is_dirty()


def test_resync_that_would_destroy_the_only_data_is_refused(pair: Pair) -> None:
    old, new = pair
    with pytest.raises(DatastoreError, match="is this server"):
        resync(new, new)
    new.stop()
    with pytest.raises(DatastoreUnreachable, match="nothing listens"):
        resync(old, new)
    old.start()
    assert old.psql(SUM) == "101" and not datastore_of(old).is_dirty()


def test_missing_options_of_a_resync_are_named(pair: Pair) -> None:
    old, new = pair
    with pytest.raises(DatastoreError, match=r"set \[service\]"):
        datastore_of(old).resync(None, nowhere())
    _, service = driver(old, new)
    with pytest.raises(DatastoreError, match=r"set datastore\.primary"):
        datastore_of(old).resync(service, nowhere())
    store = datastore_of(old)
    store.settings = replace(store.settings, data_directory=None)
    with pytest.raises(DatastoreError, match=r"set datastore\.data_directory"):
        store.resync(service, nowhere())


# The way back


def test_new_data_that_does_not_follow_is_rolled_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pair
    old.start()
    monkeypatch.setattr(postgresql_service, "PATIENCE", 2.0)
    programs = programs_with(old, "pg_rewind", Path("/bin/true"))
    with pytest.raises(DatastoreError, match=r"the old data is in .*/data and the server runs as before"):
        resync(old, new, programs=str(programs))
    old.psql("INSERT INTO t VALUES (1000)")
    assert old.psql(SUM) == "1101"
    assert not old.data.with_name("data.resync").exists()


def programs_with(old: PostgresServer, name: str, instead: Path) -> Path:
    """A folder with the programs of the server, one of them replaced."""
    programs = old.dir / "programs"
    programs.mkdir()
    for real in old.bin.iterdir():
        (programs / real.name).symlink_to(instead if real.name == name else real)
    return programs


# Who does it


def test_agent_running_as_the_owner_can_resync(pair: Pair, server_dir: Path, agent_venv: Path) -> None:
    """Run the job as the server's own user, without rights of root."""
    old, new = pair
    wanted = document(old, new)
    wanted["service"]["start"] = old.start_command[-len(old.start_command) + (3 if is_root() else 0) + 1 :]
    settings = server_dir / "agent.toml"
    settings.write_text(toml(wanted))
    run(["chown", OWNER, settings, wanted["datastore"]["primary_password_file"]])
    (reports := server_dir / "reports").mkdir()
    run(["chown", OWNER, reports])
    argv = [*old.tool("x")[:-1], str(agent_venv / "bin/python"), "-m", "agent.datastores.resync_job"]
    env = {"AGENT_CONFIG": str(settings), "PATH": os.environ["PATH"]}
    request = json.dumps({"force": True, "report": str(reports / "report.json")})
    job = subprocess.run(argv, env=env, cwd=server_dir, input=request, capture_output=True, text=True, timeout=120)
    assert job.returncode == 0, job.stdout + job.stderr
    assert_follows(old, new)


LEAST = """
    CREATE ROLE hand LOGIN PASSWORD 'p';
    GRANT pg_monitor, pg_checkpoint TO hand;
    GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO hand;
    GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name, restore_command TO hand
"""


def test_agent_without_superuser_can_manage_a_replica(pair: Pair) -> None:
    old, new = pair
    new.psql(LEAST)
    resync(old, new)
    url = f"postgresql://hand:p@127.0.0.1:{old.port}/postgres"
    store = datastore_of(old, url=url)
    assert store.role().streaming
    store.disable_replication(Stop())
    assert store.role() == Role("standalone")
    assert resync(old, new, ResyncRequest(), url=url)[0]["method"] == "follow"
    assert store.promote(Stop(), PromoteRequest(force=True))["timeline"] == 3
    assert store.role() == Role("primary", writable=True)
    assert "has shut down" in store.shut_down(10, Stop()) and old.pid is None


def test_healthy_replica_needs_no_configured_primary_and_is_not_changed(pair: Pair) -> None:
    old, new = pair
    resync(old, new)
    started = age(old)
    options = document(old)["datastore"]
    assert "primary" not in options
    result = datastore_of(old).resync(driver(old, new)[1], nowhere())
    assert result["primary"] == f"127.0.0.1:{new.port}" and result["method"] == "none"
    assert age(old) == started
    assert_follows(old, new)
