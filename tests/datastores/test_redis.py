"""The shutdown of a real Redis, and its refusals, which are reported without secrets."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import config, datastores
from agent.datastores.base import (
    Datastore,
    DatastoreDown,
    DatastoreError,
    DatastoreRefused,
    DatastoreUnreachable,
    DriverMissing,
    NotSupported,
)
from agent.datastores.redis.datastore import RedisDatastore
from agent.errors import ConfigError
from agent.util.stop import Stop
from tests.servers.process import await_that, free_port
from tests.servers.redis import RedisServer


def at(url: str, **options: Any) -> Datastore:
    parsed = config.parse({"datastore": {"kind": "redis", "url": url, "timeout": 5} | options})
    assert parsed.datastore
    return datastores.of(parsed.datastore)


@pytest.fixture
def lagging_replica(redis_server: RedisServer, server_dir: Path) -> Iterator[RedisServer]:
    """A replica that is suspended during a write: its primary waits for it before it shuts down."""
    with RedisServer(server_dir / "replica", replica_of=redis_server) as replica:
        replica.await_replica()
        pid = replica.pid
        assert pid
        os.kill(pid, signal.SIGSTOP)
        redis_server.cli("set", "k", "1")
        try:
            yield replica
        finally:
            os.kill(pid, signal.SIGCONT)


def in_background(call: Callable[[], object]) -> Callable[[], BaseException]:
    """Start a call that must raise; the returned function awaits its error."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def error() -> BaseException:
        thread.join(20)
        assert errors, "it raised nothing"
        return errors[0]

    return error


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{0.port}/0", "unix://{0.socket}"])
def test_redis_shuts_down_and_is_down(form: str, redis_server: RedisServer) -> None:
    redis_server.cli("set", "kept", "1")
    store, pid = at(form.format(redis_server)), redis_server.pid
    assert store.is_up()
    assert store.shut_down(5, Stop()) == f"Redis at {store.address} (pid {pid}) has shut down"
    assert not store.is_up()
    await_that(lambda: redis_server.pid is None, 1, "the end of the process")
    with pytest.raises(DatastoreDown, match=f"nothing listens at {store.address}"):
        store.shut_down(5, Stop())
    redis_server.start()
    assert redis_server.cli("get", "kept") == "1"


def test_configured_snapshot_is_saved_at_the_shutdown(server_dir: Path) -> None:
    with RedisServer(server_dir / "redis", appendonly=False) as server:
        server.cli("config", "set", "save", "3600 1")
        server.cli("set", "kept", "1")
        at(f"unix://{server.socket}").shut_down(5, Stop())
        await_that(lambda: server.pid is None, 1, "the end of the process")
        server.start()
        assert server.cli("get", "kept") == "1"


def test_failed_save_refuses_the_shutdown(server_dir: Path) -> None:
    gone = server_dir / "gone"
    gone.mkdir()
    server = RedisServer(server_dir / "redis", appendonly=False)
    server.config.write_text(f'{server.config.read_text()}dir "{gone}"\nsave 3600 1\n')
    with server:
        server.cli("set", "k", "1")
        gone.rmdir()
        with pytest.raises(DatastoreRefused, match="Errors trying to SHUTDOWN"):
            at(f"unix://{server.socket}").shut_down(5, Stop())
        assert server.cli("get", "k") == "1"
        server.cli("config", "set", "save", "")  # so that it can be ended


def test_shutdown_ends_although_a_supervisor_starts_redis_again(redis_server: RedisServer) -> None:
    store, ended = at(f"redis://127.0.0.1:{redis_server.port}"), threading.Event()

    def supervise() -> None:
        while not ended.is_set():
            if redis_server.pid is None:
                redis_server.start()
                return
            ended.wait(0.005)

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    before = redis_server.pid
    try:
        assert f"(pid {before})" in store.shut_down(5, Stop())
    finally:
        supervisor.join(5)
        ended.set()
    assert store.is_up() and redis_server.pid != before


@pytest.mark.usefixtures("lagging_replica")
def test_shutdown_that_waits_for_a_replica_can_be_cancelled(redis_server: RedisServer) -> None:
    stop = Stop()
    error = in_background(lambda: at(f"unix://{redis_server.socket}").shut_down(9, stop))
    await_that(lambda: "shutdown_in_milliseconds" in redis_server.cli("info", "server"))
    stop.request("cancelled")
    assert isinstance(error(), DatastoreRefused) and "called off: cancelled" in str(error())
    assert "shutdown_in_milliseconds" not in redis_server.cli("info", "server")
    assert redis_server.cli("set", "k", "2") == "OK"


@pytest.mark.usefixtures("lagging_replica")
def test_a_shutdown_that_takes_too_long_is_reported(redis_server: RedisServer) -> None:
    with pytest.raises(DatastoreUnreachable, match="has not shut down before the timeout; it still may"):
        at(f"unix://{redis_server.socket}").shut_down(0.2, Stop())


def test_hanging_redis_is_unreachable_and_not_down(redis_server: RedisServer) -> None:
    pid, timeout = redis_server.pid, 3.0
    assert pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(DatastoreUnreachable) as raised:
            at(f"unix://{redis_server.socket}", timeout=timeout).is_up()
        assert not isinstance(raised.value, DatastoreDown)
        assert time.monotonic() - began < 2 * timeout, "it was tried again"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_server_of_another_protocol_is_unreachable(server_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def hang_up() -> None:
            listener.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(DatastoreUnreachable) as raised:
            at(f"redis://127.0.0.1:{port}").shut_down(1, Stop())
        assert not isinstance(raised.value, DatastoreDown)


@pytest.mark.parametrize(
    "url, options",
    [
        ("redis://:wrong-horse@{address}/0", {}),
        ("redis://nobody:wrong-horse@{address}/0", {}),
        ("redis://{address}/0?password=wrong-horse", {}),
        ("redis://{address}/0", {"password_file": "wrong-horse"}),
    ],
)
def test_a_wrong_password_is_refused_and_never_shown(url: str, options: dict[str, str], server_dir: Path) -> None:
    if "password_file" in options:
        (server_dir / "password").write_text("wrong-horse\n")
        options = {"password_file": str(server_dir / "password")}
    with RedisServer(server_dir / "redis", password="correct-horse") as server:
        store = at(url.format(address=f"127.0.0.1:{server.port}"), **options)
        assert store.is_up()
        with pytest.raises(DatastoreRefused, match="invalid username-password pair") as raised:
            store.shut_down(5, Stop())
        assert f"redis://127.0.0.1:{server.port}/0" in str(raised.value)
        assert "horse" not in str(raised.value) and server.answers()


def test_password_is_read_from_its_file(server_dir: Path) -> None:
    (server_dir / "password").write_text("correct-horse\n")
    with RedisServer(server_dir / "redis", password="correct-horse") as server:
        options = {"password_file": str(server_dir / "password")}
        assert "has shut down" in at(f"unix://{server.socket}", **options).shut_down(5, Stop())
    with pytest.raises(DatastoreError, match="nowhere cannot be read: No such file or directory"):
        at(f"unix://{server.socket}", password_file=f"{server_dir}/nowhere").is_up()


def test_missing_permission_of_the_agent_is_named(redis_server: RedisServer) -> None:
    redis_server.cli("acl", "setuser", "weak", "on", ">pw", "+info", "+ping")
    store = at(f"unix://weak:pw@{redis_server.socket}")
    assert store.is_up()
    with pytest.raises(DatastoreRefused, match="no permissions to run the 'shutdown' command"):
        store.shut_down(5, Stop())


def test_redis_is_down_if_nothing_listens() -> None:
    assert not at(f"redis://127.0.0.1:{free_port()}").is_up()


@pytest.mark.parametrize(
    "url", ["postgresql://:horse@/x", "/run/redis.sock", "redis://:horse@[::1", "redis://h:horse/"]
)
def test_invalid_url_stops_the_start_and_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"datastore\.url: ") as raised:
        at(url)
    assert "horse" not in str(raised.value)


def test_creation_of_databases_is_not_supported() -> None:
    with pytest.raises(NotSupported, match="no databases"):
        at("redis://127.0.0.1").create_database("d", {})


def test_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisDatastore, "driver", "a_driver_that_nobody_installed")
    with pytest.raises(DriverMissing, match=r"install the agent with its extra \[redis\]"):
        at("redis://127.0.0.1")
