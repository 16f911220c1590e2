"""A client of the agent's API over a unix socket, TCP or TLS. Imports nothing else of the agent."""

import json
import os
import socket
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

ACTIONS = "/api/unstable/actions"
LONGEST_WAIT = 30
"""Seconds that one call waits for a change; a longer wait is several calls."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two tries to reach an agent that does not answer: growing from one to the other."""


class ClientError(Exception):
    """What the caller is to read, in one sentence."""


class Unreachable(ClientError):
    """The agent does not answer, or answers that it cannot now (503)."""


class TimedOut(ClientError):
    """The wait is over; the action continues."""


class Refused(ClientError):
    """The agent refused the call."""

    def __init__(self, status: int, body: Any) -> None:
        known = body if isinstance(body, dict) else {}
        super().__init__(str(known.get("error", f"the agent answered {status}")))
        self.status = status
        self.variant = str(known.get("variant", ""))
        self.details: dict[str, list[str]] = known.get("details") or {}


@dataclass(frozen=True)
class Answer:
    """A good answer of the agent; `body` is the JSON of it, or its text."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass
class Client:
    """Calls of one agent. `url` is `unix:PATH`, `http://HOST:PORT` or `https://HOST:PORT`.

    `timeout`: seconds that one answer may take. `patience`: seconds for which an agent that has answered before is
    tried again, where that is safe: reads always, and a schedule call as it carries an Idempotency-Key.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout: float = 30.0
    patience: float = 30.0
    _answered: bool = field(default=False, init=False, repr=False)

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Answer:
        """Raises `Refused` and `Unreachable`."""
        known = {name: value for name, value in query.items() if value is not None}
        return self._patiently("GET", f"{path}?{urlencode(known)}" if known else path, headers or {})

    def schedule(self, kind: str, args: Any, *, key: str | None = None, **headers: str) -> str:
        """Schedule an action and return its id. A lost answer is asked for again with the same Idempotency-Key.

        `headers` are given with underscores: `action_reason`, `not_before`, `not_after`.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Idempotency-Key"] = key or str(uuid.uuid4())
        return str(self._patiently("POST", f"{ACTIONS}/schedule/{quote(kind)}", named, args).body["id"])

    def plan(self, kind: str, args: Any) -> Any:
        """What an action would do now."""
        return self._patiently("POST", f"{ACTIONS}/plan/{quote(kind)}", {}, args).body

    def cancel(self, action_id: str) -> Any:
        """The id and the state of the action after the cancel."""
        return self._patiently("POST", f"{ACTIONS}/cancel/{quote(action_id, safe='')}", {}).body

    def info(self, action_id: str) -> Any:
        """The action and its history."""
        return self.get(f"{ACTIONS}/info/{quote(action_id, safe='')}").body

    def changes(self, action_id: str, timeout: float | None = None) -> Iterator[Any]:
        """The info of an action now and after each change, until it is final; also over a restart of the agent.

        Raises `TimedOut` after `timeout` seconds.
        """
        path, seen = f"{ACTIONS}/info/{quote(action_id, safe='')}", ""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimedOut(f"the action {action_id} is not final after {timeout:g} s; it continues")
            wait = {"If-None-Match": seen, "Prefer": f"wait={max(1, min(LONGEST_WAIT, int(left)))}"} if seen else {}
            answer = self.get(path, wait)
            if answer.status == 304:
                continue
            seen = answer.headers.get("ETag", "")
            yield answer.body
            if answer.body["action"]["finished_ts"] is not None:
                return

    def _patiently(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Answer:
        """The answer, tried again while the agent does not answer.

        Where no connection is made, any call is safe to repeat; but an agent that never answered may not be there.
        """
        deadline, pause = time.monotonic() + self.patience, FIRST_PAUSE
        repeatable = method == "GET" or "Idempotency-Key" in headers
        while True:
            try:
                answer = self._once(method, path, headers, body)
                self._answered = True
                return answer
            except Unreachable as error:
                unsent = isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)
                safe = self._answered if unsent else repeatable
                if not safe or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Answer:
        connection = self._connection()
        try:
            connection.request(method, path, self._content(method, body), self._headers(method) | dict(headers))
            response = connection.getresponse()
            raw = response.read()
        except ssl.SSLError as error:
            raise ClientError(f"{self.url}: TLS failed: {error.reason or error}") from error
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{self.url}: the agent does not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()
        content = _json(raw) if "json" in response.headers.get("Content-Type", "") else raw.decode(errors="replace")
        if response.status == 503:
            raise Unreachable(str(Refused(503, content)))
        if response.status >= 400:
            raise Refused(response.status, content)
        return Answer(response.status, response.headers, content)  # type: ignore[arg-type]

    def _content(self, method: str, body: Any) -> bytes | None:
        return None if method == "GET" else json.dumps({} if body is None else body).encode()

    def _headers(self, method: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return headers if method == "GET" else headers | {"Content-Type": "application/json"}

    def _connection(self) -> HTTPConnection:
        """Raises `ClientError` for an address that is none."""
        address = urlsplit(self.url)
        timeout = self.timeout + LONGEST_WAIT
        if address.scheme == "unix" and address.path:
            return _UnixConnection(address.path, timeout)
        try:
            host, port = address.hostname, address.port
        except ValueError:
            host, port = None, None
        if host and address.scheme == "http":
            return HTTPConnection(host, port or 8000, timeout=timeout)
        if host and address.scheme == "https":
            return HTTPSConnection(host, port or 8000, timeout=timeout, context=self._tls())
        raise ClientError(f"{self.url}: expected unix:PATH, http://HOST:PORT or https://HOST:PORT")

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise ClientError(f"the TLS files cannot be used: {error}") from error
        return context


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
