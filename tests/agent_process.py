"""A real agent with gunicorn in its own process, called over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage
from json import dumps, loads
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from tests.servers.process import free_port, pause_after
from tests.warm_start import Forked, WarmStart, imports_the_same

CHECKOUT = Path(__file__).resolve().parent.parent
PREFIX = "/api/unstable/actions"
FINAL = ("DONE", "FAILED")
PYTHON_GUNICORN = [sys.executable, "-m", "gunicorn"]
UNSET: Any = object()
Fact = TypeVar("Fact")


def eventually(fact: Callable[[], Fact], what: str, timeout: float = 10.0) -> Fact:
    """Call `fact` until its result is true and return it; `AssertionError` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        begun = time.monotonic()
        if found := fact():
            return found
        assert time.monotonic() < deadline, f"not within {timeout} seconds: {what}"
        time.sleep(pause_after(time.monotonic() - begun))


@dataclass(frozen=True)
class Response:
    """An answer of the agent; `json` is the decoded body, None unless its content type is JSON."""

    status: int
    headers: HTTPMessage
    json: Any
    body: bytes


class UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class AgentProcess:
    """One agent with its state in `directory`; it can be killed and started again on the same state.

    `config` is the text of its agent.toml, `env` is added to its environment. It listens on a
    free port of the loopback, or with `unix` on a socket in the directory.
    """

    warm: WarmStart | None = None
    """Forks agents that need no other imports; without it each agent is a new interpreter."""

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        env: Mapping[str, str] | None = None,
        unix: bool = False,
    ) -> None:
        self.directory = directory
        self.log = directory / "agent.log"
        self.db = directory / "agent.db"
        self.socket = str(directory / "agent.sock") if unix else None
        self.port = 0 if unix else free_port()
        self.env = self._environment(env or {})
        self.process: subprocess.Popen[bytes] | Forked | None = None
        (directory / "agent.toml").write_text(with_test_kinds(config), encoding="utf-8")

    # Life

    def command(self) -> list[str]:
        """The command: gunicorn, as in production."""
        return [*PYTHON_GUNICORN, "-c", str(CHECKOUT / "gunicorn.conf.py")]

    def start(self) -> Self:
        """Start it and wait until it answers; `AssertionError` with its log when it does not."""
        command = self.command()
        with self.log.open("ab") as log:
            if self.warm and command[:3] == PYTHON_GUNICORN and imports_the_same(self.env):
                self.process = self.warm.start(command[3:], self.directory, self.env, log)
            else:
                self.process = subprocess.Popen(
                    command,
                    cwd=self.directory,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        try:
            self.await_ready()
        except BaseException:
            self.kill_all()
            raise
        return self

    def stop(self, timeout: float = 35.0) -> None:
        """End it with TERM and assert that it left with exit code 0 within `timeout` seconds."""
        process = self._started()
        process.terminate()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"still there {timeout} seconds after TERM") from None
        self.process = None
        assert code == 0, f"left with exit code {code} after TERM"

    def close(self) -> None:
        """Stop it if it still runs."""
        if self.process is not None:
            self.stop()

    def kill_worker(self) -> None:
        """SIGKILL the workers and wait until they are gone; the master will start new ones."""
        killed = self.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not killed & self.workers(), f"workers {killed} are gone")

    def kill_all(self) -> None:
        """SIGKILL the master and its workers at once, as a crash of the host does."""
        process = self._started()
        if process.poll() is None:
            # A stopped master cannot start another worker between the look and the kill.
            process.send_signal(signal.SIGSTOP)
            for pid in self.workers():
                os.kill(pid, signal.SIGKILL)
            process.kill()
        process.wait()
        self.process = None

    def reload(self) -> None:
        """HUP: wait until other workers have replaced the present ones and answer."""
        replaced = self.workers()
        self._started().send_signal(signal.SIGHUP)
        eventually(lambda: self.workers() - replaced, "a new worker", 20)
        eventually(lambda: not replaced & self.workers(), "the old workers are gone", 40)
        self.await_ready()

    def workers(self) -> set[int]:
        """The process ids of the workers: the master's children."""
        master = self._started().pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii")
        return {int(pid) for pid in children.split()}

    def await_ready(self, timeout: float = 30.0) -> None:
        """Wait until it answers a call."""
        eventually(self._answers, "the agent answers", timeout)

    def log_text(self) -> str:
        """The complete log so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def whole_log(self) -> str:
        """The log of an agent that has logged its start, so that a search for missing text is not vacuous."""
        text = self.log_text()
        assert "Starting gunicorn" in text, f"this is not the log of an agent: {text!r}"
        return text

    # Calls

    def connect(self, timeout: float = 10.0) -> HTTPConnection:
        """A connection to keep over several calls; it connects with the first one."""
        if self.socket is not None:
            return UnixConnection(self.socket, timeout)
        return HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = UNSET,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str | None] | None = None,
        connection: HTTPConnection | None = None,
        timeout: float = 10.0,
    ) -> Response:
        """Send one request, on a new connection unless one is given.

        A body, `json` or bytes, is sent as application/json unless `headers` has another
        value for `Content-Type`; None omits a header.
        """
        used = connection or self.connect(timeout)
        content = body if json is UNSET else dumps(json).encode()
        try:
            # An agent that refuses a large body does not read it, and answers.
            with suppress(BrokenPipeError, ConnectionResetError):
                used.request(method, path, content, _sent_headers(content, headers or {}))
            if used.sock is None:
                raise ConnectionResetError("the connection was reset before it was there")
            answer = used.getresponse()
            return _response(answer.status, answer.headers, answer.read())
        finally:
            if connection is None:
                used.close()

    def get(self, path: str, **options: Any) -> Response:
        """GET; the options are those of `request`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        """POST; the options are those of `request`."""
        return self.request("POST", path, **options)

    def post_schedule(self, kind: str, args: Any, **options: Any) -> Response:
        """The answer to a schedule call of any status."""
        return self.post(f"{PREFIX}/schedule/{quote(kind, safe='')}", json=args, **options)

    def schedule(self, kind: str, args: Any, **options: Any) -> str:
        """Schedule an action that must be accepted; its id."""
        answer = self.post_schedule(kind, args, **options)
        assert answer.status == 200, answer
        return str(answer.json["id"])

    def cancel(self, action_id: str) -> Response:
        """The answer to a cancel call."""
        return self.post(f"{PREFIX}/cancel/{quote(action_id, safe='')}")

    def get_info(self, action_id: str, **options: Any) -> Response:
        """The answer to an info call of any status."""
        return self.get(f"{PREFIX}/info/{quote(action_id, safe='')}", **options)

    def info(self, action_id: str) -> Any:
        """`{"action", "history"}` of an action that must be known."""
        return self._read(f"{PREFIX}/info/{quote(action_id, safe='')}")

    def state(self, action_id: str) -> str:
        """The present state of an action."""
        return str(self.info(action_id)["action"]["state"])

    def queue(self) -> Any:
        """The queue, as answered."""
        return self._read(f"{PREFIX}/queue")

    def finished(self) -> Any:
        """The finished actions, as answered."""
        return self._read(f"{PREFIX}/finished")

    def await_state(self, action_id: str, *states: str, timeout: float = 10.0) -> Any:
        """The info of an action as soon as it is in one of these states."""

        def there() -> Any:
            info = self.info(action_id)
            return info if info["action"]["state"] in states else None

        return eventually(there, f"{action_id} is {' or '.join(states)}", timeout)

    def await_final(self, action_id: str, timeout: float = 10.0) -> Any:
        """The info of an action once it is final, waited for with `Prefer: wait`."""
        deadline = time.monotonic() + timeout
        seen: dict[str, str] = {}
        while (left := deadline - time.monotonic()) > 0:
            wait = {"Prefer": f"wait={max(1, min(5, int(left)))}"} if seen else {}
            answer = self.get_info(action_id, headers=seen | wait, timeout=15)
            assert answer.status in (200, 304), answer
            if answer.status == 200:
                if answer.json["action"]["state"] in FINAL:
                    return answer.json
                seen = {"If-None-Match": answer.headers["ETag"]}
            time.sleep(0.01)  # an agent with too many waiters answers at once
        raise AssertionError(f"not final within {timeout} seconds: {self.info(action_id)}")

    def occupy(self) -> str:
        """The id of a running action that lasts ten minutes: later actions stay queued."""
        action_id = self.schedule("replicante.test.loop", {"target": 600, "delay": 1})
        self.await_state(action_id, "RUNNING")
        return action_id

    # Inside

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _is_agents(name)}
        own = {
            "PYTHONPATH": str(CHECKOUT),
            "HOME": str(self.directory),
            "AGENT_CONFIG": str(self.directory / "agent.toml"),
            "AGENT_DB": str(self.db),
            "AGENT_BIND": f"unix:{self.socket}" if self.socket else f"127.0.0.1:{self.port}",
        }
        return kept | own | dict(extra)

    def _started(self) -> subprocess.Popen[bytes] | Forked:
        assert self.process is not None, "the agent is not started"
        return self.process

    def _answers(self) -> bool:
        code = self._started().poll()
        assert code is None, f"the agent left with exit code {code}:\n{self.log_text()}"
        try:
            return self.get(f"{PREFIX}/queue", timeout=5).status < 500
        except (OSError, HTTPException):
            return False

    def _read(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status == 200, answer
        return answer.json


StartAgent = Callable[..., AgentProcess]


def with_test_kinds(config: str) -> str:
    """The configuration of an agent that offers `replicante.test.*` also where callers are authenticated."""
    with suppress(tomllib.TOMLDecodeError):
        document = tomllib.loads(config)
        if "api" not in document or "test_kinds" in document.get("agent", {}):
            return config
        if "agent" not in document:
            return f"{config}\n[agent]\ntest_kinds = true\n"
        if "\n[agent]\n" in f"\n{config}":
            return config.replace("[agent]\n", "[agent]\ntest_kinds = true\n", 1)
    return config


def _is_agents(name: str) -> bool:
    return name.startswith(("AGENT_", "GUNICORN_")) or name in ("STATE_DIRECTORY", "NOTIFY_SOCKET")


def _sent_headers(content: Any, given: Mapping[str, str | None]) -> dict[str, str]:
    default: dict[str, str | None] = {} if content is None else {"Content-Type": "application/json"}
    return {name: value for name, value in (default | dict(given)).items() if value is not None}


def _response(status: int, headers: HTTPMessage, body: bytes) -> Response:
    is_json = headers.get_content_type() == "application/json" and body
    return Response(status, headers, loads(body) if is_json else None, body)
