"""A client of the agent's API over a unix socket, TCP or TLS. Imports nothing else of the agent."""

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

ACTIONS = "/api/unstable/actions"
LONGEST_WAIT = 30  # seconds that one call waits for a change; a longer wait is several calls
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between two tries to reach an agent, growing from one to the other
UNSENT = ConnectionRefusedError | FileNotFoundError | socket.gaierror | UnicodeError  # no connection was made
TCP = r"http(?P<tls>s?)://(?P<authority>(?P<host>\[[^]]+]|[^][/:@?#]+)(?::(?P<port>\d{1,5}))?)/?"
Files = Mapping[str, str | None]
ADDRESS = re.compile(rf"unix:(?://(?=/))?(?P<path>.+)|{TCP}", re.IGNORECASE)


class ClientError(Exception):
    """A call failed; the message is one sentence for the user."""


class Unreachable(ClientError):
    """The agent does not answer, or answers 503."""


class TimedOut(ClientError):
    """The timeout has passed; the action continues."""


class Refused(ClientError):
    """The agent refused the call."""

    def __init__(self, status: int, body: Any) -> None:
        known = body if isinstance(body, dict) else {}
        super().__init__(str(known.get("error", f"the agent answered {status}")))
        self.status, self.details = status, known.get("details") or {}


class Answer(NamedTuple):
    """A successful answer: headers by name in lower case, body as parsed JSON or as bytes."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Client:
    """Calls one agent at `unix:PATH`, `http://HOST:PORT` or `https://HOST:PORT`; `tls`: `ca`, `certificate`, `key`.

    Seconds: `timeout` for one answer and for retries of safe calls; `patience` for reads once the agent has answered.
    """

    answered = replayed = truncated = False  # by `schedule`: the key had an action; by `output`: bytes are missing
    trace: Callable[[str], Any] = str  # gets a line for each call

    def __init__(
        self, url: str, token: str | None = None, tls: Files | None = None, timeout: float = 30, patience: float = 600
    ) -> None:
        self.url, self._token, self._tls, self._timeout, self._patience = url, token, tls or {}, timeout, patience

    def get(self, path: str, tag: str = "", wait: float = 0, **query: Any) -> Answer:
        """GET a path; with `tag`, 304 unless it changes within `wait` seconds. Raises `Refused`, `Unreachable`."""
        words = "&".join(f"{name}={_quoted(value)}" for name, value in query.items() if value is not None)
        soon, headers = time.monotonic() + 0.5, {"If-None-Match": tag} if tag else {}
        headers |= {"Prefer": f"wait={max(1, int(min(LONGEST_WAIT, wait)))}"} if wait else {}
        answer = self._repeated(f"{path}?{words}" if words else path, headers)
        if wait and not answer.body and time.monotonic() < soon and answer.headers.get("x-output-complete") != "true":
            time.sleep(0.2)  # an agent with too many waiting callers answers at once
        return answer

    def post(self, verb: str, name: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Call `verb` for a kind or an action; repeated only where that is safe. Raises `Refused`, `Unreachable`."""
        content = json.dumps({} if body is None else body).encode()
        return self._repeated(f"{ACTIONS}/{verb}/{_quoted(name)}", headers or {}, content)

    def schedule(self, kind: str, args: Any, *, key: str | None = None, **headers: str) -> str:
        """Schedule an action and return its id. Headers are named with underscores, such as `not_before`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.post("schedule", kind, args, named | {"Idempotency-Key": key or os.urandom(16).hex()})
        self.replayed = answer.headers.get("idempotent-replayed") == "true"
        return str(answer.body["id"])

    def info(self, action_id: str) -> Any:
        """The action and its history."""
        return self.get(f"{ACTIONS}/info/{_quoted(action_id)}").body

    def changes(self, action_id: str, timeout: float | None = None) -> Iterator[Any]:
        """The info of an action now and after each change until it is final. Raises `TimedOut` after the timeout."""
        tag, wait, deadline = "", 0.0, None if timeout is None else time.monotonic() + timeout
        while True:
            answer = self.get(f"{ACTIONS}/info/{_quoted(action_id)}", tag, wait)
            if answer.status != 304:
                tag = answer.headers.get("etag", "")
                yield answer.body
                if answer.body["action"]["finished_ts"] is not None:
                    return
            wait = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if wait <= 0:
                raise TimedOut(f"the wait has timed out; the action {action_id} continues")

    def output(self, action_id: str, offset: int = 0, *, follow: bool = True) -> Iterator[bytes]:
        """Yield the output of the action from byte `offset` on; with `follow`, until the action is final."""
        path, complete = f"{ACTIONS}/output/{_quoted(action_id)}", False
        while not complete:
            answer = self.get(path, wait=LONGEST_WAIT if follow else 0, offset=offset)
            complete = answer.headers.get("x-output-complete") == "true" or not (follow or answer.body)
            offset = int(answer.headers.get("x-output-next", offset))
            self.truncated = answer.headers.get("x-output-truncated") == "true"
            yield answer.body

    def _repeated(self, path: str, headers: Mapping[str, str], content: bytes = b"") -> Answer:
        """Call, with retries: of an unsent call if the agent has answered before, of others if they are safe."""
        until = time.monotonic() + (self._patience if self.answered and not content else self._timeout)
        safe, pause = not content or "Idempotency-Key" in headers, FIRST_PAUSE
        while True:
            try:
                return self._once(path, headers, content)
            except Unreachable as error:
                again = self.answered if isinstance(error.__cause__, UNSENT) else safe
                if not again or time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)

    def _once(self, path: str, headers: Mapping[str, str], content: bytes) -> Answer:
        method, address = "POST" if content else "GET", ADDRESS.fullmatch(self.url)
        if address is None or int(address["port"] or 0) > 65535:
            raise ClientError(f"{self.url}: expected unix:PATH, http://HOST:PORT or https://HOST:PORT")
        # `seed`: kinds by the agent's own names, bodies without envelope, for any value of api.node_protocol.
        sent = {"Host": address["authority"] or "localhost", "Node-Protocol": "seed", **headers}
        sent |= {"Authorization": f"Bearer {self._token}"} if self._token else {}
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(content))} if content else {}
        lines = [re.sub(r"[\r\n\0]+", " ", f"{name}: {value}") for name, value in sent.items()]
        # An HTTP/1.0 answer ends with its connection. Importing http.client would take longer than the call.
        head = "\r\n".join([f"{method} {path} HTTP/1.0", *lines, "", ""])
        timeout, began, answer = self._timeout + (LONGEST_WAIT if "Prefer" in headers else 0), time.monotonic(), None
        try:
            with _socket(address, self._tls, timeout) as connection, connection.makefile("rb") as stream:
                connection.settimeout(timeout)
                if address["path"]:
                    connection.connect(address["path"])
                connection.sendall(head.encode() + content)
                answer = _received(stream)
        except (OSError, ValueError) as error:
            if type(error).__name__ in ("SSLError", "SSLCertVerificationError"):  # others: no answer
                raise ClientError(f"{self.url}: TLS failed: {getattr(error, 'verify_message', error)}") from error
            if isinstance(error, PermissionError):
                reason = "permission denied: your user must be in the group of the socket (api.socket_group)"
                raise Refused(403, {"error": f"{self.url}: {reason}"}) from error
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(f"{self.url}: the agent does not answer: {reason}") from error
        finally:
            self.trace(
                f"{method} {path}: {answer.status if answer else 'no answer'} after {time.monotonic() - began:.3f} s"
            )
        if answer.status >= 400:
            refused = Refused(answer.status, answer.body)
            raise Unreachable(str(refused)) if answer.status == 503 else refused
        self.answered = True
        return answer


def _socket(address: re.Match[str], tls: Files, timeout: float) -> socket.socket:
    """A socket for the address; a unix socket is not connected yet. A host in bytes, as a str loads the IDNA codec."""
    if address["path"]:
        return socket.socket(socket.AF_UNIX)
    if address["tls"]:
        import ssl  # slow to import, and only TLS needs it

        try:  # stat names a missing file, OpenSSL does not
            files = [each for each in tls.values() if each and os.stat(each)]
            context = ssl.create_default_context(cafile=tls.get("ca"))
            if certificate := tls.get("certificate"):
                context.load_cert_chain(certificate, tls.get("key"))
        except OSError as error:
            raise ClientError(f"{error.filename or 'TLS cannot use ' + ', '.join(files)}: {error.strerror}") from error
    name: Any = address["host"].strip("[]")
    tcp = socket.create_connection((name.encode() if name.isascii() else name, int(address["port"] or 8000)), timeout)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(tcp, server_hostname=name) if address["tls"] else tcp


def _received(stream: BinaryIO) -> Answer:
    lines = [str(stream.readline(65536), "latin-1")]
    while lines[-1].strip():
        lines.append(str(stream.readline(65536), "latin-1"))
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    found = re.match(r"HTTP/1\.\d (\d{3})", lines[0])
    length = 0 if found and found[1] in ("204", "304") else int(headers.get("content-length", -1))
    body = stream.read(length)
    if not (found and lines[-1]) or len(body) < length:
        raise ValueError("its answer breaks off or is not HTTP")
    is_json = body and headers.get("content-type", "").partition(";")[0] == "application/json"
    return Answer(int(found[1]), headers, json.loads(body) if is_json else body)


def _quoted(value: Any) -> str:
    return re.sub(rb"[^-._~0-9A-Za-z]", lambda found: b"%%%02X" % ord(found[0]), str(value).encode()).decode()
