"""Any fault in any phase of each resync method of Redis: the new data follows, or the old data serves as before.

The job of a resync is run as the agent runs it; the matrix and its count are printed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.datastores.base import DatastoreError
from agent.datastores.redis import capacity, resync as redis_resync
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.resync_report import Report
from tests.datastores.held import Held
from tests.datastores.redis_nodes import followed_by, in_step, resync_with, settings_of, store_of, write
from tests.kinds.configuring import toml
from tests.servers.leftovers import processes_using, unmount
from tests.servers.process import await_that, kill_pid, send
from tests.servers.redis import MAKES, RedisServer, binary_of

OLD, NEW = 20, 300
"""Keys of the server before the resync, and of its new primary."""
COPY = ("before", "led", "awaiting", "receiving", "loading")
FOLLOW = ("before", "led", "following")
FAULTS = ("primary killed", "job killed", "cancel", "timeout", "wrong grants")


def cells() -> list[tuple[str, str, str]]:
    """The cells: grants are checked before everything else."""
    only = {"wrong grants": "before"}
    every = [
        (method, fault, phase)
        for method, phases in (("copy", COPY), ("follow", FOLLOW))
        for fault in FAULTS
        for phase in phases
    ]
    return [cell for cell in every if only.get(cell[1], cell[2]) == cell[2]]


class Scene:
    """A job makes the server `here` follow `there`; `source` is its earlier source, if any."""

    def __init__(self, directory: Path, method: str, make: str) -> None:
        binary = binary_of(make)
        self.method = method
        self.directory = directory
        self.source = RedisServer(directory / "source", binary=binary, appendonly=False)
        follows = self.source if method == "follow" else None
        self.there = RedisServer(directory / "there", binary=binary, appendonly=False, replica_of=follows)
        self.here = RedisServer(directory / "here", binary=binary, appendonly=False, replica_of=follows)
        self.servers = [self.source, self.there, self.here]
        self.way = directory / "held.sock"
        self.config = directory / "agent.toml"
        self.report = directory / "report.json"

    def __enter__(self) -> Scene:
        for server in self.servers:
            server.start()
        if self.method == "follow":
            write(self.source, OLD)
            in_step(self.source, self.there, self.here)
        else:
            write(self.here, OLD, prefix="old")
            write(self.there, NEW, prefix="new", size=3000)
        self.before = followed_by(self.here), settings_of(self.here), self.here.cli("dbsize")
        self.configure(self.there.password)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            if server.pid is not None:
                send(server.pid, signal.SIGCONT)
            kill_pid(server.pid)
            server.close()

    def configure(self, password: str | None) -> None:
        secret = self.config.parent / "secret"
        secret.write_text(password or "unused")
        secret.chmod(0o600)
        peer = {"url": f"redis://127.0.0.1:{self.there.port}"} | ({"password_file": str(secret)} if password else {})
        datastore = {"kind": "redis", "url": f"unix://{self.way}", "timeout": 1, "peers": {"b": peer}}
        self.config.write_text(toml({"datastore": datastore}))

    def job(self) -> subprocess.Popen[str]:
        """Begin the resync, as the agent does."""
        request = {"primary": "b", "mode": "auto", "force": True, "adopt": None, "report": str(self.report)}
        job = subprocess.Popen(
            [sys.executable, "-m", "agent.datastores.resync_job"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ) | {"AGENT_CONFIG": str(self.config)},
            cwd=Path(__file__).parents[2],
        )
        assert job.stdin is not None
        job.stdin.write(json.dumps(request))
        job.stdin.close()
        job.stdin = None
        return job

    def slow_down(self, phase: str) -> None:
        """Make this phase last long enough for the fault."""
        if phase == "awaiting":
            self.there.cli("config", "set", "repl-diskless-sync-delay", "3")
        if phase == "receiving":
            self.there.cli("config", "set", "rdb-key-save-delay", "8000")  # microseconds
        if phase == "loading":
            self.there.cli("config", "set", "repl-diskless-sync", "no")
            self.here.cli("config", "set", "key-load-delay", "8000")
            self.here.cli("config", "set", "loading-process-events-interval-bytes", "1024")

    def speed_up(self) -> None:
        if self.there.answers():
            self.there.cli("config", "set", "rdb-key-save-delay", "0")
        self.here.cli("config", "set", "key-load-delay", "0")

    def await_phase(self, phase: str) -> None:
        fact = {"awaiting": "role:slave", "receiving": "master_sync_in_progress:1", "loading": "loading:1"}[phase]
        await_that(
            lambda: fact in self.here.cli("info", "replication", "persistence").replace("async_loading:0", ""), 20
        )

    def is_as_before(self) -> bool:
        return (followed_by(self.here), settings_of(self.here), self.here.cli("dbsize")) == self.before

    def has_the_old_data(self) -> bool:
        """Whether the old data serves; changes of the configuration by a killed job may remain."""
        return self.here.cli("dbsize") == self.before[2]

    def follows(self) -> bool:
        """Whether the data of the source arrived; the source itself may have ended by the fault."""
        where = followed_by(self.here) == f"slave 127.0.0.1:{self.there.port}"
        return where and self.here.cli("dbsize") == self.arrived

    @property
    def arrived(self) -> str:
        return str(NEW if self.method == "copy" else OLD + 1)


HELD = {"before": (b"CONFIG", False), "led": (b"REPLICAOF", False), "following": (b"REPLICAOF", True)}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[tuple[str, str, str], str]]:
    """The outcome of each cell, printed at the end."""
    found: dict[tuple[str, str, str], str] = {}
    yield found
    for cell, outcome in found.items():
        print(f"{' / '.join(cell):45} {outcome}")
    print(f"{len(found)} cells of the failure matrix of Redis, none with neither the old nor the new data")


@pytest.mark.parametrize("cell", cells(), ids="-".join)
def test_any_fault_in_any_phase_leaves_the_old_data_or_new_data_that_follows(
    cell: tuple[str, str, str], server_dir: Path, outcomes: dict[tuple[str, str, str], str]
) -> None:
    method, fault, phase = cell
    with Scene(server_dir, method, MAKES[cells().index(cell) % len(MAKES)]) as scene:
        message = broken(scene, fault, phase)
        outcomes[cell] = judge(scene, fault, phase, message)


@pytest.mark.parametrize("way", ["in memory", "through a file"])
def test_full_disk_leaves_the_old_data_or_new_data_that_follows(
    way: str, server_dir: Path, monkeypatch: pytest.MonkeyPatch, outcomes: dict[tuple[str, str, str], str]
) -> None:
    """A copy beside the old data needs no disk. Without the memory for both Redis writes the copy to a file first."""
    if way == "through a file":
        monkeypatch.setattr(capacity, "MEMINFO", server_dir / "meminfo")
        capacity.MEMINFO.write_text("MemAvailable: 0 kB\n")
        # Redis tries again ten times a second, and each look of the agent finds it in some state of that.
        monkeypatch.setattr(redis_resync, "MOST_SETBACKS", 1)
    binary = binary_of(MAKES[way == "in memory"])
    with (
        on_a_mount(server_dir / "disk") as disk,
        RedisServer(server_dir / "there", binary=binary, appendonly=False) as there,
        RedisServer(disk / "here", binary=binary, appendonly=False) as here,
    ):
        there.cli("config", "set", "rdbcompression", "no")
        write(there, NEW, prefix="new", size=3000)
        write(here, OLD, prefix="old")
        before = followed_by(here), settings_of(here), here.cli("dbsize")
        fill(disk / "filler")
        store = store_of(here, peers={"b": there}, timeout=1)
        if way == "in memory":
            done = resync_with(store, primary="b", force=True)
            assert done["kept_in"] is None and "a restart of Redis loses this change" in done["note"], done
            assert followed_by(here) == f"slave 127.0.0.1:{there.port}" and here.cli("dbsize") == there.cli("dbsize")
            outcomes["copy", "disk full", way] = "the new data follows"
            return
        refusal = store.plan_resync(None, ResyncRequest(primary="b")).refusal
        assert refusal is not None
        with pytest.raises(DatastoreError, match=f"sends Redis .* no data; Redis follows no source .*{OLD} keys"):
            resync_with(store, primary="b", force=True)
        assert (followed_by(here), settings_of(here), here.cli("dbsize")) == before
        assert here.cli("set", "old1", "y") == "OK" and not list((disk / "here").glob("temp*.rdb"))
        outcomes["copy", "disk full", way] = "reported: the old data serves as before"


@contextmanager
def on_a_mount(place: Path) -> Iterator[Path]:
    """A small file system of the test's own, so that it can be full."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        unmount(place)


def fill(filler: Path) -> None:
    """Take all room of the file system."""
    room = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)


def broken(scene: Scene, fault: str, phase: str) -> str:
    """Break the resync in its phase, and return the last message of its job; empty if it was killed."""
    word, answered = HELD.get(phase, (b"no such word", False))
    if fault == "wrong grants":
        scene.there.cli("acl", "setuser", "default", "-psync")
    scene.slow_down(phase)
    with Held(scene.way, scene.here.socket, word, answered=answered) as held:
        job = scene.job()
        try:
            if phase in HELD and fault != "wrong grants":
                assert held.reached.wait(30)
            elif fault != "wrong grants":
                scene.await_phase(phase)
            strike(scene, fault, job)
            held.release()
            job.communicate(timeout=60)
        finally:
            job.kill()
            job.wait()
        if fault == "timeout" and scene.there.pid is not None:
            send(scene.there.pid, signal.SIGCONT)
        scene.speed_up()
        await_that(lambda: not saves(scene.there), 20, "the end of the primary's child")
    last = Report.read(scene.report)
    return last.error or ("followed" if last.result is not None else "")


def strike(scene: Scene, fault: str, job: subprocess.Popen[str]) -> None:
    acts: dict[str, Callable[[], Any]] = {
        "primary killed": scene.there.kill,
        "job killed": job.kill,
        "cancel": job.terminate,
        "timeout": lambda: send(scene.there.pid or 0, signal.SIGSTOP) if scene.there.pid else None,
    }
    acts.get(fault, lambda: None)()


def judge(scene: Scene, fault: str, phase: str, message: str) -> str:
    """Which data serves. The message must agree; a killed job leaves none."""
    if message == "followed":
        assert scene.follows()
        return "the new data follows"
    if fault == "job killed":
        await_that(lambda: scene.follows() or (scene.has_the_old_data() and not copying(scene.here)), 30)
        return "killed: the new data follows" if scene.follows() else "killed: the old data serves"
    if "had arrived already" in message:
        assert followed_by(scene.here) == f"slave 127.0.0.1:{scene.there.port}"
        assert scene.here.cli("dbsize") == scene.arrived
        return "reported: the new data had arrived already"
    await_that(scene.is_as_before, 20, f"the old state {scene.before} after: {message}")
    assert message or (fault == "cancel" and phase == "before"), "the failure is reported if anything was changed"
    if scene.method == "copy":
        assert scene.here.cli("set", "old1", "y") == "OK"
    else:
        await_that(lambda: "master_link_status:up" in scene.here.cli("info", "replication"), 20)
    return f"reported: {message.rpartition('; ')[2][:70]}" if message else "nothing was changed"


def saves(server: RedisServer) -> bool:
    """Whether a child of the server still writes a copy; a killed server leaves it to end by itself."""
    return any(each != server.pid for each, _ in processes_using(str(server.dir)))


def copying(server: RedisServer) -> bool:
    info = server.cli("info", "replication", "persistence")
    return "master_sync_in_progress:1" in info or "\nloading:1" in info
