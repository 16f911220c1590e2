"""The failure matrix: each fault in each phase of a resync. Afterwards the new data follows, or the old data serves."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config, supervisors
from agent.datastores.base import DatastoreError, Terminated
from agent.datastores.progress import Progress
from agent.datastores.requests import ResyncRequest
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
from tests.servers.process import await_that

Pair = tuple[AnyServer, AnyServer]
SIZE = "1200m"
FOLLOWING = "awaiting that it follows its primary"
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
BEFORE_SWITCH = ("dumping the primary", "cloning the primary", "copying the data")
KILLED, CANCELLED, PRIMARY, DISK, GRANTS = "job killed", "cancelled", "primary killed", "disk full", "wrong grants"
EACH_PHASE = (KILLED, CANCELLED)
"""Faults that are tried in every phase; the others only where data is copied, as later nothing needs them."""


@pytest.fixture(scope="module", params=MAKES)
def pair(request: pytest.FixtureRequest, module_dir: Path) -> Iterator[Pair]:
    """A primary, and its replica on a file system of its own."""
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
    everywhere = [(fault, phase) for fault in EACH_PHASE for phase in PHASES[method]]
    copying = [(fault, phase) for fault in (PRIMARY, DISK) for phase in PHASES[method] if phase in BEFORE_SWITCH[:2]]
    return [*everywhere, *copying, (GRANTS, "before")]


def test_whatever_fails_in_whatever_phase_the_old_data_serves_or_the_new_follows(pair: Pair, tmp_path: Path) -> None:
    replica = pair[1]
    method = "dump" if isinstance(replica, MAKES["mariadb"]) else "clone"
    results = [(fault, phase, survive(pair, tmp_path, fault, phase)) for fault, phase in cases(method)]
    for fault, phase, result in results:
        print(f"{method:6} {fault:15} {phase:24} {result}")
    print(f"{method}: {len(results)} cells")
    assert len(results) == 2 * len(PHASES[method]) + 2 + 1


def survive(pair: Pair, directory: Path, fault: str, phase: str) -> str:
    """Resync with that fault, and check the server; returns what serves afterwards."""
    primary, replica = pair
    message = attempt(pair, directory, fault, phase)
    if primary.pid is None:
        primary.start()
    await_that(lambda: store(replica).role().streaming, 60, f"replication after {fault} in {phase}: {message}")
    await_in_step(replica, primary)
    assert not store(replica).is_dirty() and not store(replica).role().writable, (fault, phase, message)
    assert as_root(replica, "SELECT x, LENGTH(y) FROM app.t") == [(1, 8000000)]
    assert not replica.data.with_name("data.resync").exists(), (fault, phase, message)
    return message


def attempt(pair: Pair, directory: Path, fault: str, phase: str) -> str:
    """The words with which the resync ended."""
    primary, replica = pair
    driver, service = store(replica, **primary_options(primary, directory)), service_of(replica)
    if fault == KILLED:
        return killed(driver, service, phase)
    if fault == GRANTS:
        return refused(primary, lambda: resync(driver, service, lambda _: None))
    filler = replica.dir / "filler"
    act = {
        CANCELLED: terminate,
        PRIMARY: primary.kill,
        DISK: lambda: fill(filler),
    }[fault]
    try:
        resync(driver, service, once(phase, act))
    except DatastoreError as error:
        return str(error)
    finally:
        filler.unlink(missing_ok=True)
    return "the new data follows"


def resync(driver: Any, service: Supervisor, report: Callable[[dict[str, Any]], None]) -> None:
    driver.resync(service, Progress(report), ResyncRequest(mode="copy"))


def once(phase: str, act: Callable[[], Any]) -> Callable[[dict[str, Any]], None]:
    """Act when the phase begins."""
    done: list[str] = []

    def report(state: dict[str, Any]) -> None:
        if state["phase"] == phase and not done:
            done.append(phase)
            act()

    return report


def terminate() -> None:
    raise Terminated


def fill(filler: Path) -> None:
    """Take all room of the file system."""
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            return


def killed(driver: Any, service: Supervisor, phase: str) -> str:
    """A process of its own dies in the phase; the agent then recovers, as at the end of the action."""
    if (child := os.fork()) == 0:
        try:
            resync(driver, service, once(phase, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    return str(driver.recover(service) or "nothing was to be put back")


def refused(primary: AnyServer, act: Callable[[], None]) -> str:
    """What the resync says where the primary's user may not replicate."""
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
