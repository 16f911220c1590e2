"""A client of the agent's API over a unix socket, TCP or TLS. Imports nothing else of the agent."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
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
        self.details: dict[str, list[str]] = known.get("details") or {}


class Answer(NamedTuple):
    """A good answer of the agent; `body` is the JSON of it, or its bytes."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Client:
    """Calls of one agent. `url` is `unix:PATH`, `http://HOST:PORT` or `https://HOST:PORT`.

    `tls` names files: `ca`, `certificate` and `key`. `timeout`: seconds that one answer may take, and for which a call
    is repeated where that is safe. `patience`: the same for reads of an agent that has answered before, and may be
    starting again. `trace` gets a line a call.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        tls: Mapping[str, str | None] | None = None,
        timeout: float = 30.0,
        patience: float = 600.0,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url
        self._token, self._tls, self._timeout, self._patience, self._trace = token, tls or {}, timeout, patience, trace
        self._answered = False
        self.truncated = False  # whether the agent kept only a part of the output that was read last
        self.replayed = False  # whether the last call of `schedule` met an action that its key had scheduled before

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Answer:
        """Raises `Refused` and `Unreachable`."""
        known = {name: value for name, value in query.items() if value is not None}
        return self._repeated("GET", f"{path}?{urlencode(known)}" if known else path, headers or {})

    def post(self, verb: str, name: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Call `verb` of the Actions API for a kind or an action; returns the JSON of the answer.

        Repeated only where nothing was sent, or an Idempotency-Key makes that safe. Raises `Refused`, `Unreachable`.
        """
        return self._post(verb, name, headers or {}, body).body

    def schedule(self, kind: str, args: Any, *, key: str | None = None, **headers: str) -> str:
        """Schedule an action and return its id. A lost answer is asked for again with the same Idempotency-Key.

        `headers` are given with underscores: `action_reason`, `not_before`, `not_after`.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Idempotency-Key"] = key or os.urandom(16).hex()
        answer = self._post("schedule", kind, named, args)
        self.replayed = answer.headers.get("Idempotent-Replayed") == "true"
        return str(answer.body["id"])

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
                raise TimedOut(f"the wait has ended; the action {action_id} is not final and continues")
            answer = self._waited(path, left, {"If-None-Match": seen}) if seen else self.get(path)
            if answer.status != 304:
                seen = answer.headers.get("ETag", "")
                yield answer.body
                if answer.body["action"]["finished_ts"] is not None:
                    return

    def output(self, action_id: str, offset: int = 0, *, follow: bool = True) -> Iterator[bytes]:
        """What the action prints from that byte on; with `follow` until it is final, also over a restart."""
        path, complete = f"{ACTIONS}/output/{quote(action_id, safe='')}", False
        while not complete:
            answer = self._waited(path, LONGEST_WAIT, offset=offset) if follow else self.get(path, offset=offset)
            complete = answer.headers.get("X-Output-Complete") == "true"
            offset = int(answer.headers.get("X-Output-Next", offset))
            self.truncated = answer.headers.get("X-Output-Truncated") == "true"
            if answer.body:
                yield answer.body
            elif not follow:
                return

    def _waited(self, path: str, left: float, headers: Mapping[str, str] | None = None, **query: Any) -> Answer:
        """The answer once there is something new. An agent with too many waiters answers at once: ask less often."""
        asked, seconds = time.monotonic(), max(1, min(LONGEST_WAIT, int(left)))
        answer = self.get(path, {"Prefer": f"wait={seconds}"} | dict(headers or {}), **query)
        if not answer.body and time.monotonic() - asked < 0.5 and answer.headers.get("X-Output-Complete") != "true":
            time.sleep(0.2)
        return answer

    def _post(self, verb: str, name: str, headers: Mapping[str, str], body: Any) -> Answer:
        return self._repeated("POST", f"{ACTIONS}/{verb}/{quote(name, safe='')}", headers, body)

    def _repeated(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Answer:
        """The answer, asked for again while the agent does not answer.

        Where no connection is made, any call is safe to repeat; but an agent that never answered may not be there.
        """
        repeatable = method == "GET" or "Idempotency-Key" in headers
        patience = self._patience if method == "GET" and self._answered else self._timeout
        deadline, pause = time.monotonic() + patience, FIRST_PAUSE
        while True:
            try:
                answer = self._once(method, path, headers, body)
                self._answered = True
                return answer
            except Unreachable as error:
                unsent = isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError)
                if not (self._answered if unsent else repeatable) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)

    def _once(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Answer:
        connection, began, outcome = self._connection("Prefer" in headers), time.monotonic(), "no answer"
        # The agent's own names of kinds and bodies without envelope, whatever generation the node is configured for.
        sent = {"Node-Protocol": "seed"} | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
        content = None if method == "GET" else json.dumps({} if body is None else body).encode()
        sent |= dict(headers) | ({} if content is None else {"Content-Type": "application/json"})
        try:
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            raw: Any = response.read()
            outcome = str(response.status)
        except (OSError, HTTPException) as error:
            if type(error).__name__ in ("SSLError", "SSLCertVerificationError"):  # other errors of TLS are lost answers
                raise ClientError(f"{self.url}: TLS failed: {getattr(error, 'reason', '') or error}") from error
            if isinstance(error, PermissionError):
                reason = "your user may not connect: join the group of the socket (api.socket_group)"
                raise Refused(403, {"error": f"{self.url}: {reason}"}) from error
            raise Unreachable(f"{self.url}: the agent does not answer: {_reason(error)}") from error
        finally:
            connection.close()
            if self._trace:
                self._trace(f"{method} {path}: {outcome} after {time.monotonic() - began:.3f} s")
        found = _json(raw) if response.headers.get_content_type() == "application/json" else raw
        if response.status == 503:
            raise Unreachable(str(Refused(503, found)))
        if response.status >= 400:
            raise Refused(response.status, found)
        return Answer(response.status, response.headers, found)  # type: ignore[arg-type]

    def _connection(self, held: bool) -> HTTPConnection:
        """To an agent that may hold its answer back. Raises `ClientError` for an address that is none."""
        address = urlsplit(self.url)
        timeout = self._timeout + (LONGEST_WAIT if held else 0)
        if address.scheme == "unix" and address.path:
            return _UnixConnection(address.path, timeout)
        try:
            host, port = address.hostname, address.port or 8000
        except ValueError:
            host, port = None, 0
        if host and address.scheme == "http":
            return HTTPConnection(host, port, timeout=timeout)
        if host and address.scheme == "https":
            return _encrypted(host, port, timeout, **self._tls)
        raise ClientError(f"{self.url}: expected unix:PATH, http://HOST:PORT or https://HOST:PORT")


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _encrypted(
    host: str, port: int, timeout: float, ca: str | None = None, certificate: str | None = None, key: str | None = None
) -> HTTPConnection:
    import ssl
    from http.client import HTTPSConnection

    files = [each for each in (ca, certificate, key) if each is not None]
    # Neither OpenSSL nor its errors name the file that is missing.
    for each in files:
        try:
            open(each, "rb").close()
        except OSError as error:
            raise ClientError(f"{each}: {_reason(error)}") from error
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ClientError(f"TLS cannot use {', '.join(files)}: {_reason(error)}") from error
    return HTTPSConnection(host, port, timeout=timeout, context=context)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
