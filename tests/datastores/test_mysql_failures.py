"""The failure matrix: each fault in each phase of a resync. Afterwards the new data follows, or the old data serves."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config, supervisors
from agent.datastores.base import DatastoreError
from agent.datastores.mysql.data_directory import DataDirectory
from agent.datastores.progress import ResyncProgress
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.termination import Terminated
from agent.supervisors.base import Supervisor
from tests.datastores.mysql_family import (
    MAKES,
    AnyServer,
    as_root,
    await_in_step,
    options,
    primary_options,
    store,
    with_syncer,
)
from tests.servers.leftovers import unmount
from tests.servers.process import await_that, send

Pair = tuple[AnyServer, AnyServer]
SIZE = "1200m"
COPY = ResyncRequest(mode="copy")
NOWHERE = 1
FOLLOWING = "waiting until it follows its primary"
PHASES = {
    "dump": (
        "dumping the primary",
        "preparing the copy",
        "copying the data",
        "comparing the copy",
        "switching to the copy",
        FOLLOWING,
    ),
    "clone": ("cloning the primary", "comparing the copy", "switching to the copy", FOLLOWING),
}
WRITES = ("dumping the primary", "cloning the primary")
READS_THE_PRIMARY = (*WRITES, "comparing the copy", "switching to the copy", FOLLOWING)
KILLED, CANCELLED, TIMEOUT = "job killed", "cancelled", "time-out"
PRIMARY, DISK, GRANTS = "primary killed", "disk full", "wrong grants"
FAULTS: dict[str, Callable[[str], bool]] = {
    KILLED: lambda phase: True,
    CANCELLED: lambda phase: True,
    PRIMARY: lambda phase: phase != "preparing the copy",
    TIMEOUT: lambda phase: phase in READS_THE_PRIMARY,
    DISK: lambda phase: phase in WRITES,
}
"""In which phases each fault is tried. The primary is frozen until the time of the action is over."""
ACTION_TIME = 1.0
"""Seconds from the freeze of the primary to the end of the action's time."""
PATIENCE = 5
"""`datastore.timeout` in seconds."""


@pytest.fixture(scope="module", params=MAKES)
def pair(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[Pair]:
    """A primary and its replica, the replica on a separate file system."""
    disk = module_dir / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", disk], check=True)
    try:
        with MAKES[request.param](module_dir / "a") as primary:
            with_syncer(primary)
            as_root(primary, "CREATE DATABASE app")
            as_root(primary, "CREATE TABLE app.t (x INT PRIMARY KEY, y LONGBLOB)")
            as_root(primary, "INSERT INTO app.t VALUES (1, REPEAT('x', 8000000))")
            with primary.replica(disk / "b") as replica:
                yield primary, replica
    finally:
        unmount(disk)


def cases(method: str) -> list[tuple[str, str]]:
    """The cells of one method: a fault and the phase in which it happens."""
    return [
        *((fault, phase) for fault in FAULTS for phase in PHASES[method] if FAULTS[fault](phase)),
        (GRANTS, "before"),
    ]


def test_any_fault_in_any_phase_leaves_the_old_data_or_new_data_that_follows(pair: Pair, tmp_path: Path) -> None:
    replica = pair[1]
    method = "dump" if isinstance(replica, MAKES["mariadb"]) else "clone"
    results = [(fault, phase, survive(pair, tmp_path, fault, phase)) for fault, phase in cases(method)]
    for fault, phase, result in results:
        print(f"{method:6} {fault:15} {phase:24} {result}")
    print(f"{method}: {len(results)} cells")
    assert len(results) == {"dump": 23, "clone": 18}[method]


@pytest.mark.parametrize("fault", [KILLED, CANCELLED, TIMEOUT, PRIMARY, GRANTS])
def test_any_fault_while_repointing_leaves_the_old_or_the_new_source(fault: str, pair: Pair, tmp_path: Path) -> None:
    primary, replica = pair
    aim(replica, NOWHERE)
    try:
        message = attempt(pair, tmp_path, fault, "following the primary", ResyncRequest())
        if primary.pid is None:
            primary.start()
        role = store(replica).role()
        print(f"follow {fault:15} {role.primary} {message}")
        assert role.name == "replica" and not role.writable and not store(replica).is_dirty(), message
        assert role.primary in (f"127.0.0.1:{NOWHERE}", f"127.0.0.1:{primary.port}"), message
        if fault in (CANCELLED, GRANTS):
            assert role.primary == f"127.0.0.1:{NOWHERE}", message
        assert as_root(replica, "SELECT x, LENGTH(y) FROM app.t") == [(1, 8000000)]
    finally:
        aim(replica, primary.port)
        await_in_step(replica, primary)


@pytest.mark.parametrize("promoted", [False, True], ids=["its primary died", "it was promoted by hand"])
def test_copy_with_newer_data_is_kept_after_a_kill_of_its_job(
    promoted: bool, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, replica = pair
    driver, service = store(replica, **primary_options(primary, tmp_path)), service_of(replica)
    killed_before_the_old_data_goes(driver, service, monkeypatch)
    place = DataDirectory(replica.data)
    assert place.is_exchanged(), "the job died after the proof and before the removal of the old data"
    if promoted:
        by_hand = "SET GLOBAL super_read_only = 0; " if isinstance(replica, MAKES["mysql"]) else ""
        replica.sql(f"STOP REPLICA; RESET REPLICA ALL; {by_hand}SET GLOBAL read_only = 0")
    as_root(replica if promoted else primary, "INSERT INTO app.t VALUES (2, 'newer')")
    await_that(lambda: len(as_root(replica, "SELECT x FROM app.t")) == 2, 30, "the newer row on the copy")
    primary.kill()
    try:
        assert driver.recover(service) == "an interrupted resync had already succeeded: the copy is kept"
        assert as_root(replica, "SELECT x FROM app.t ORDER BY x") == [(1,), (2,)]
        assert not place.work.exists() and not store(replica).is_dirty()
        assert store(replica).role().writable is promoted
    finally:
        start_again(primary, replica)
        as_root(primary, "DELETE FROM app.t WHERE x = 2")
        if promoted:
            resync(driver, service, lambda _: None, ResyncRequest(mode="copy", force=True))
        await_in_step(replica, primary)


def killed_before_the_old_data_goes(driver: Any, service: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resync by a copy in a separate process that dies when the copy is verified."""
    if (child := os.fork()) == 0:
        try:
            monkeypatch.setattr(DataDirectory, "drop_old", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            resync(driver, service, lambda _: None, COPY)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


def test_copy_reports_its_progress(pair: Pair, tmp_path: Path) -> None:
    primary, replica = pair
    states: list[dict[str, Any]] = []
    driver = store(replica, **primary_options(primary, tmp_path))
    resync(driver, service_of(replica), lambda state: states.append(dict(state)), COPY)
    copying = ("dumping the primary", "cloning the primary")
    measured = [each["progress"] for each in states if each["phase"] in copying and "progress" in each]
    assert measured and measured[-1]["bytes_done"] > 0 and measured[-1]["bytes_total"], states
    await_in_step(replica, primary)


def aim(server: AnyServer, port: int) -> None:
    """Make the replica follow the server at that port."""
    is_mariadb = isinstance(server, MAKES["mariadb"])
    change = "CHANGE MASTER TO master_port" if is_mariadb else "CHANGE REPLICATION SOURCE TO source_port"
    server.sql(f"STOP REPLICA; {change} = {port}; START REPLICA")


def survive(pair: Pair, directory: Path, fault: str, phase: str) -> str:
    """Resync with that fault, and check the server; returns which data serves afterwards."""
    primary, replica = pair
    message = attempt(pair, directory, fault, phase)
    if primary.pid is None:
        start_again(primary, replica)
    await_that(lambda: store(replica).role().streaming, 60, f"replication after {fault} in {phase}: {message}")
    await_in_step(replica, primary)
    assert not store(replica).is_dirty() and not store(replica).role().writable, (fault, phase, message)
    assert as_root(replica, "SELECT x, LENGTH(y) FROM app.t") == [(1, 8000000)]
    assert not replica.data.with_name("data.resync").exists(), (fault, phase, message)
    return message


def start_again(primary: AnyServer, replica: AnyServer) -> None:
    """Start the primary, and make the replica connect at once: by itself it retries once a minute."""
    primary.start()
    if replica.sql("SHOW REPLICA STATUS").strip():
        replica.sql("STOP REPLICA; START REPLICA")


def attempt(pair: Pair, directory: Path, fault: str, phase: str, request: ResyncRequest = COPY) -> str:
    """The final message of the resync."""
    primary, replica = pair
    driver = store(replica, timeout=PATIENCE, **primary_options(primary, directory))
    service = service_of(replica)
    if fault == KILLED:
        return killed(driver, service, phase, request)
    if fault == TIMEOUT:
        return out_of_time(primary, phase, lambda report: resync(driver, service, report, request))
    if fault == GRANTS:
        return refused(primary, lambda: resync(driver, service, lambda _: None, request))
    filler = replica.dir / "filler"
    act = {
        CANCELLED: terminate,
        PRIMARY: primary.kill,
        DISK: lambda: fill(filler),
    }[fault]
    try:
        resync(driver, service, once(phase, act), request)
    except DatastoreError as error:
        return str(error)
    finally:
        filler.unlink(missing_ok=True)
    return "the new data follows"


def resync(driver: Any, service: Supervisor, report: Callable[[dict[str, Any]], None], request: ResyncRequest) -> None:
    driver.resync(service, ResyncProgress(lambda each: report(each.state())), request)


def once(phase: str, act: Callable[[], Any]) -> Callable[[dict[str, Any]], None]:
    """Call `act` once when the phase begins."""
    done: list[str] = []

    def report(state: dict[str, Any]) -> None:
        if state["phase"] == phase and not done:
            done.append(phase)
            act()

    return report


def terminate() -> None:
    raise Terminated


def out_of_time(primary: AnyServer, phase: str, act: Callable[[Callable[[dict[str, Any]], None]], None]) -> str:
    """The primary is frozen in the phase; then the time of the action ends, and its job gets SIGTERM."""
    pid = primary.pid
    assert pid is not None
    end = threading.Timer(ACTION_TIME, os.kill, (os.getpid(), signal.SIGTERM))

    def freeze() -> None:
        send(pid, signal.SIGSTOP)
        end.start()

    before = signal.signal(signal.SIGTERM, lambda *_: terminate())
    try:
        act(once(phase, freeze))
    except DatastoreError as error:
        return str(error)
    finally:
        end.cancel()
        send(pid, signal.SIGCONT)
        if end.ident is not None:
            end.join()
        signal.signal(signal.SIGTERM, before)
    return "the new data follows"


def fill(filler: Path) -> None:
    """Fill the file system."""
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            return


def killed(driver: Any, service: Supervisor, phase: str, request: ResyncRequest) -> str:
    """A child process dies in the phase; the agent then recovers, as at the end of the action."""
    if (child := os.fork()) == 0:
        try:
            resync(driver, service, once(phase, lambda: os.kill(os.getpid(), signal.SIGKILL)), request)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    return str(driver.recover(service) or "nothing was to be put back")


def refused(primary: AnyServer, act: Callable[[], None]) -> str:
    """The message of the resync if the primary's user may not replicate."""
    as_root(primary, "REVOKE REPLICATION SLAVE ON *.* FROM syncer")
    try:
        with pytest.raises(DatastoreError, match="lacks REPLICATION SLAVE") as raised:
            act()
        return str(raised.value)
    finally:
        as_root(primary, "GRANT REPLICATION SLAVE ON *.* TO syncer")


def service_of(server: AnyServer) -> Supervisor:
    service = {
        "supervisor": "commands", "pid": server.pid_command, "start": server.start_command,
        "stop": server.stop_command, "interval": 0.1,
    }  # fmt: skip
    settings = config.parse({"service": service, "datastore": options(server)}).service
    assert settings
    return supervisors.of(settings)
