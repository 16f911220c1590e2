"""Resyncs of real Redis servers: the gentlest method, refusals with their reasons, and the rollback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.datastores.base import Datastore, DatastoreError, DatastoreRefused, DatastoreUnreachable, Role
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.plan import Would
from agent.supervisors.commands import Commands
from agent.util.stop import Stop
from tests.datastores.redis_nodes import (
    KEPT,
    await_link,
    diverge,
    followed_by,
    in_step,
    resync,
    resync_with,
    settings_of,
    settle,
    slow_to_send,
    store_of,
    write,
)
from tests.datastores.reports import into
from tests.datastores.test_redis import in_background
from tests.servers.process import await_that, send
from tests.servers.redis import MAKES, RedisServer, binary_of


@pytest.fixture(params=MAKES)
def primary(request: pytest.FixtureRequest, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "primary", binary=binary_of(request.param)) as server:
        yield server


@pytest.fixture
def replica(primary: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "replica", replica_of=primary, binary=primary.binary) as server:
        in_step(primary, server)
        yield server


@pytest.fixture
def third(primary: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    with RedisServer(server_dir / "third", binary=primary.binary) as server:
        yield server


def would(store: Datastore, **request: object) -> Would:
    return store.plan_resync(None, ResyncRequest(**request)).would  # type: ignore[arg-type]


def refusal(store: Datastore, **request: object) -> str:
    """The reason of the refusal, equal for plan and action."""
    plan = store.plan_resync(None, ResyncRequest(**request))  # type: ignore[arg-type]
    assert plan.refusal is not None, plan
    with pytest.raises(DatastoreRefused) as raised:
        resync(store, **request)
    assert str(raised.value) == f"{plan.refusal.reason}; {plan.refusal.lifted_by}"
    return str(raised.value)


def test_replica_in_step_is_not_changed(primary: RedisServer, replica: RedisServer) -> None:
    before = replica.cli("info", "stats").split("sync_full:")[0], followed_by(replica), replica.pid
    assert would(store_of(replica)) is Would.NOTHING
    result, phases = resync(store_of(replica))
    assert result == {"primary": f"127.0.0.1:{primary.port}", "method": "none", "discarded": []} and not phases
    assert primary.cli("info", "stats").count("sync_full:1") == 1
    assert before[1:] == (followed_by(replica), replica.pid)


def test_a_replica_of_another_group_is_refused_even_with_force(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    """Row 1: `datastore.primary` names a server of another group."""
    write(primary, 50)
    write(third, 5, prefix="foreign")
    store = store_of(replica, third)
    identifier = store.plan_resync(None, ResyncRequest(adopt="x")).facts["primary"]
    assert identifier == f"127.0.0.1:{third.port}"
    for force in (False, True):
        words = refusal(store, force=force)
        assert "has never shared its data with this server" in words and 'adopt: "' in words
    adopt = words.partition('adopt: "')[2].partition('"')[0]
    assert "adopt names" in refusal(store, adopt="0" * 40)
    assert store.role().streaming and followed_by(replica).endswith(f":{primary.port}")
    result, _ = resync(store, adopt=adopt)
    assert result["method"] == "copy" and {each["unit"] for each in result["discarded"]} == {"keys", "bytes"}
    assert replica.cli("get", "foreign5") == "x" and replica.cli("exists", "k1") == "0"


def test_a_primary_that_came_back_empty_needs_force(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    """Row 27: 200 keys here, none there."""
    write(primary, 200)
    in_step(primary, replica)
    primary.kill()
    await_that(lambda: not store_of(replica).role().streaming)
    store = store_of(replica, third)
    assert f"127.0.0.1:{third.port} is empty, and this server has 201 keys" in refusal(store)
    assert replica.cli("dbsize") == "201" and followed_by(replica).endswith(f":{primary.port}")
    result, _ = resync(store, force=True)
    assert result["discarded"][0] == {"what": "keys of this server", "amount": 201, "unit": "keys"}
    assert result["discarded"][1]["amount"] > 0
    assert replica.cli("dbsize") == "0" and store.role().streaming


def test_disabled_replica_without_own_writes_needs_no_force(primary: RedisServer, replica: RedisServer) -> None:
    """Row 4."""
    store = store_of(replica, primary)
    store.disable_replication(Stop())
    assert store.plan_resync(None, ResyncRequest()).discards == []
    result, _ = resync(store)
    assert result == {"primary": f"127.0.0.1:{primary.port}", "method": "copy", "discarded": [], **KEPT}
    assert store.role().streaming


def test_old_primary_with_own_writes_needs_force_up_or_down(primary: RedisServer, replica: RedisServer) -> None:
    """Row 3: writes that only the old primary has are reported before and after."""
    primary.cli("set", "k", "1")
    in_step(primary, replica)
    store_of(replica).disable_replication(Stop())
    replica.cli("set", "k", "2")
    write(primary, 10, prefix="only-here")
    store = store_of(primary, replica)
    assert f"bytes of writes that 127.0.0.1:{replica.port} lacks" in refusal(store)
    assert primary.cli("get", "only-here10") == "x"
    result, _ = resync(store, force=True)
    [lost] = result["discarded"]
    assert lost["unit"] == "bytes" and lost["amount"] > 10
    assert primary.cli("get", "k") == "2" and primary.cli("exists", "only-here10") == "0"
    primary.await_replica()
    primary.stop()
    primary.start()
    await_that(lambda: store.role().streaming, 5, "it follows also after a restart")


def test_restarted_old_primary_with_unknown_history_needs_force(primary: RedisServer, replica: RedisServer) -> None:
    primary.kill()
    store_of(replica).promote(Stop())
    primary.start()
    store = store_of(primary, replica)
    assert "cannot be known: their replication ids have nothing in common" in refusal(store)
    assert resync(store, force=True)[0]["method"] == "copy"
    assert store.role().streaming


def test_old_primary_without_own_writes_continues_by_partial_resync(primary: RedisServer, replica: RedisServer) -> None:
    store_of(replica).disable_replication(Stop())
    replica.cli("set", "k", "new")
    store = store_of(primary, replica)
    assert would(store) is Would.CHANGE
    assert resync(store)[0]["method"] == "follow"
    assert primary.cli("get", "k") == "new" and "sync_partial_ok:1" in replica.cli("info", "stats")


def test_replica_with_another_source_is_repointed(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    third.cli("replicaof", "127.0.0.1", str(primary.port))
    in_step(primary, replica, third)
    store = store_of(third, peers={"b": replica})
    assert resync(store, primary="b")[0]["method"] == "follow"
    assert store.role() == Role("replica", f"127.0.0.1:{replica.port}", streaming=True)
    with pytest.raises(DatastoreRefused, match=r"unknown peer 'c': add \[datastore.peers.\"c\"\]"):
        resync(store, primary="c")


def test_mode_copy_copies_a_replica_in_step(primary: RedisServer, replica: RedisServer) -> None:
    primary.cli("set", "k", "1")
    diverge(replica)
    store = store_of(replica)
    assert would(store) is Would.NOTHING
    assert "this replica accepts writes of its own (replica-read-only is no)" in refusal(store, mode="copy")
    result, _ = resync(store, mode="copy", force=True)
    assert result["method"] == "copy" and replica.cli("exists", "diverged") == "0"
    assert settings_of(replica)["repl-diskless-load"] == "disabled"


def test_swapdb_that_an_operator_set_while_redis_runs_survives_a_resync(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    store = store_of(replica, peers={"c": third})
    replica.cli("config", "set", "repl-diskless-load", "swapdb")
    assert store.recover(None) is None, "no job left it"
    resync(store, mode="copy", force=True)
    assert settings_of(replica)["repl-diskless-load"] == "swapdb"
    resync(store, primary="c", force=True, adopt=replid(third))
    assert settings_of(replica)["repl-diskless-load"] == "swapdb"


def replid(server: RedisServer) -> str:
    lines = server.cli("info", "replication").split()
    return next(line.partition(":")[2] for line in lines if line.startswith("master_replid:"))


def test_unsupported_or_insufficient_mode_is_refused(primary: RedisServer, replica: RedisServer) -> None:
    store = store_of(replica, primary)
    assert "no way to rewind" in refusal(store, mode="rewind")
    store.disable_replication(Stop())
    assert "only a full copy would do" in refusal(store, mode="follow")
    assert store.role() == Role("primary", writable=True)


def test_primary_that_refuses_replication_changes_nothing(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    """Row 5: the login and permissions that Redis needs are tested before."""
    primary.cli("acl", "setuser", "weak", "on", ">correct-horse", "+info", "+replconf")
    before = followed_by(third), settings_of(third)
    (third.dir / "secret").write_text("correct-horse")
    (third.dir / "wrong").write_text("wrong-horse")
    url = f"redis://weak@127.0.0.1:{primary.port}"
    for file, words in (("secret", "does not let the user weak replicate"), ("wrong", "invalid username-password")):
        store = store_of(third, peers={"a": {"url": url, "password_file": str(third.dir / file)}})
        with pytest.raises(DatastoreRefused, match=words) as raised:
            resync(store, primary="a")
        assert "horse" not in str(raised.value)
    assert (followed_by(third), settings_of(third)) == before


def test_replication_uses_its_own_account(primary: RedisServer, third: RedisServer) -> None:
    primary.cli("acl", "setuser", "look", "on", ">look-horse", "+info")
    primary.cli("acl", "setuser", "repl", "on", ">repl-horse", "+psync", "+replconf", "+ping")
    (third.dir / "look").write_text("look-horse")
    (third.dir / "repl").write_text("repl-horse")
    peer = {
        "url": f"redis://look@127.0.0.1:{primary.port}",
        "password_file": str(third.dir / "look"),
        "replication_user": "repl",
        "replication_password_file": str(third.dir / "repl"),
    }
    store = store_of(third, peers={"a": peer})
    resync(store, primary="a")
    assert store.role().streaming and settings_of(third)["masteruser"] == "repl"


def test_primary_that_dies_during_the_transfer_leaves_the_old_data(primary: RedisServer, third: RedisServer) -> None:
    write(third, 20, prefix="own")
    slow_to_send(primary, 10)
    store, before = store_of(third, primary, timeout=1), settings_of(third)
    error = in_background(lambda: resync(store, force=True))
    await_that(lambda: "master_sync_in_progress:1" in third.cli("info", "replication"))
    primary.kill()
    assert "follows no source and accepts writes as before, with 20 keys" in str(error())
    assert followed_by(third) == "master :" and settings_of(third) == before
    assert third.cli("set", "own21", "x") == "OK"


def test_failed_resync_restores_the_old_source(primary: RedisServer, replica: RedisServer, third: RedisServer) -> None:
    slow_to_send(third, 10)
    store, before = store_of(replica, third, timeout=1), settings_of(replica)
    adopt = str(store.plan_resync(None, ResyncRequest(adopt="x")).refusal).rpartition("replication id ")[2][:40]
    error = in_background(lambda: resync(store, adopt=adopt))
    await_that(lambda: "master_sync_in_progress:1" in replica.cli("info", "replication"))
    third.kill()
    assert f"follows 127.0.0.1:{primary.port} as before" in str(error())
    await_link(replica)
    assert settings_of(replica) == before and replica.cli("get", "in-step") == primary.cli("get", "in-step")


def test_change_by_another_client_is_not_undone(primary: RedisServer, replica: RedisServer) -> None:
    slow_to_send(primary)
    store = store_of(replica)
    assert not store.is_dirty()
    errors = in_background(lambda: resync(store, mode="copy"))
    await_that(store.is_dirty, 5)
    with pytest.raises(DatastoreRefused, match="still copying its primary"):
        store.promote(Stop())
    replica.cli("replicaof", "127.0.0.1", "1")
    assert "no longer follows" in str(errors()) and "another client made Redis follow" in str(errors())
    assert followed_by(replica) == "slave 127.0.0.1:1"
    settle(primary)


def test_source_changed_by_another_client_meanwhile_is_not_undone(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    replica.cli("replicaof", "no", "one")
    replica.cli("set", "k", "diverged")
    store = store_of(replica, primary)
    begun = store.begin_resync(ResyncRequest(force=True))
    replica.cli("replicaof", "127.0.0.1", str(third.port))
    assert store.resync_at_once(begun) is None
    with pytest.raises(DatastoreRefused, match="another client made Redis follow"):
        resync(store, force=True, begun=begun)
    assert followed_by(replica) == f"slave 127.0.0.1:{third.port}"


def test_stopped_server_is_started_by_its_service(primary: RedisServer, replica: RedisServer) -> None:
    service = Commands(replica.pid_command, replica.start_command, replica.stop_command, 10)
    replica.stop()
    with pytest.raises(DatastoreRefused, match=r"is down, and there is no \[service\] to start it"):
        resync(store_of(replica))
    assert store_of(replica).plan_resync(service, ResyncRequest()).would is Would.UNKNOWN
    phases: list[str] = []
    store_of(replica).resync(service, into(phases))
    assert phases[0] == "starting Redis" and store_of(replica).role().streaming


def test_primary_with_a_sync_delay_is_awaited(primary: RedisServer, third: RedisServer) -> None:
    primary.cli("config", "set", "repl-diskless-sync-delay", "3")
    _, phases = resync(store_of(third, primary, timeout=1))
    assert "waiting for the primary" in phases and store_of(third, primary).role().streaming


def test_copy_reports_its_progress(primary: RedisServer, third: RedisServer) -> None:
    write(primary, 2000, size=1000)
    third.cli("config", "set", "loading-process-events-interval-bytes", "1024")
    third.cli("config", "set", "key-load-delay", "1000")  # microseconds
    states: list[dict[str, object]] = []
    store_of(third, primary).resync(None, ResyncProgress(lambda report: states.append(report.state())))
    measured = [each["progress"] for each in states if each["phase"] == "loading its data" and "progress" in each]
    done = [each["bytes_done"] for each in measured]  # type: ignore[index]
    assert done == sorted(done) and len(set(done)) > 2, states
    assert measured[-1]["percent"] and third.cli("dbsize") == "2000"  # type: ignore[index]


def test_copy_that_cannot_succeed_is_not_started(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    with pytest.raises(DatastoreRefused, match=r"follows no source: set datastore\.primary, or name a peer"):
        resync(store_of(primary))
    assert "is this server itself" in refusal(store_of(primary, primary))
    assert "follows this server; promote it first" in refusal(store_of(primary, replica))
    third.cli("replicaof", "127.0.0.1", str(primary.port))
    await_link(third)
    primary.kill()
    await_that(lambda: not store_of(replica).role().streaming, 5)
    assert "lost its own primary; promote it first" in refusal(store_of(third, replica))
    with pytest.raises(DatastoreUnreachable, match="nothing listens"):
        resync(store_of(third, primary))
    assert store_of(third).role() == Role("replica", f"127.0.0.1:{primary.port}")


def test_hanging_primary_is_reported_in_time_and_the_old_source_restored(
    primary: RedisServer, replica: RedisServer, third: RedisServer
) -> None:
    third.cli("replicaof", "127.0.0.1", str(primary.port))
    in_step(primary, replica, third)
    store = store_of(third, peers={"b": replica}, timeout=1)
    replica.cli("config", "set", "requirepass", "horse")
    assert replica.pid
    with pytest.raises(DatastoreError, match="refuses: Authentication required"):
        resync(store, primary="b")
    assert store.role().streaming
    send(replica.pid, signal.SIGSTOP)
    try:
        with pytest.raises(DatastoreUnreachable, match="does not answer"):
            resync(store, primary="b")
        assert followed_by(third) == f"slave 127.0.0.1:{primary.port}"
    finally:
        send(replica.pid, signal.SIGCONT)


def test_the_password_for_the_primary_is_set_and_not_shown(server_dir: Path) -> None:
    (server_dir / "right").write_text("correct-horse\n")
    (server_dir / "wrong").write_text("wrong-horse\n")
    with RedisServer(server_dir / "a", password="correct-horse") as primary, RedisServer(server_dir / "b") as here:
        here.cli("config", "set", "slowlog-log-slower-than", "0")
        with pytest.raises(DatastoreRefused, match="invalid username-password") as raised:
            resync(store_of(here, primary, primary_password_file=str(server_dir / "wrong")))
        assert "horse" not in str(raised.value) and store_of(here).role().name == "primary"
        result, phases = resync(store_of(here, primary, primary_password_file=str(server_dir / "right")))
        assert store_of(here).role().streaming
        assert "horse" not in f"{result}{phases}{here.cli('slowlog', 'get')}{here.log.read_text()}"


def test_follow_repoints_and_refuses_a_rebuild(primary: RedisServer, replica: RedisServer, third: RedisServer) -> None:
    """Rows 14: three nodes, A dies, B is promoted, C follows B, by the drivers alone."""
    third.cli("replicaof", "127.0.0.1", str(primary.port))
    in_step(primary, replica, third)
    primary.kill()
    store_of(replica).promote(Stop())
    replica.cli("set", "k", "after")
    store = store_of(third, peers={"b": replica})
    assert store.plan_follow(None, "b").would is Would.CHANGE
    assert store.follow(None, "b", Stop()) == {
        "primary": f"127.0.0.1:{replica.port}",
        "method": "follow",
        "discarded": [],
        **KEPT,
    }
    await_that(lambda: third.cli("get", "k") == "after")
    assert store.plan_follow(None, "b").would is Would.NOTHING
    store.disable_replication(Stop())
    plan = store.plan_follow(None, "b")
    assert plan.refusal is not None and "only a full copy would do" in plan.refusal.reason
    assert resync_with(store, primary="b")["method"] == "copy"
