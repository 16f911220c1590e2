"""The cost of a request is linear in its size, and small before the caller's permissions are checked."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from agent.kinds.external import TAIL, without_remnants
from agent.processes.command import CommandResult
from agent.util.nesting_depth import too_deep
from tests.agent_process import PREFIX, AgentProcess
from tests.fuzz.wire import talk
from tests.kinds.configuring import toml
from tests.trust.guarded import PINGER_TOKEN, READER_TOKEN, Guarded, table, write_tokens

ANY = "external.any"
NOBODY_TOKEN = "the-token-of-whom-nothing-is-allowed"
FACTOR = 4
"""Ratio of the sizes of the second and first request."""
LIMIT = 10.0
"""Largest ratio of the costs. Linear work costs at most 4 times as much, quadratic work 16 times."""
LEAST = 0.0002
"""Seconds of processor time that any request costs; the time of an ended thread is not counted."""

BODIES: dict[str, Callable[[int], bytes]] = {
    "brackets and quotes after a backslash": lambda size: b"[" * 65 + b'"' + rb"\"" * (size // 2),
    "brackets and quotes": lambda size: b"[" * 65 + b'"' * size,
    "brackets and a text that does not end": lambda size: b"[" * 65 + b'"' + b"a" * size,
    "brackets and backslashes": lambda size: b"[" * 65 + b'"' + b"\\" * size,
    "lists": lambda size: b"[" + b"[]," * (size // 3) + b"[]]",
    "lists that do not end": lambda size: b"[" * size,
    "objects": lambda size: b"[" + b'{"a":0},' * (size // 8) + b"0]",
    "members": lambda size: b"{" + b",".join(b'"%07d":0' % each for each in range(size // 12)) + b"}",
    "one member many times": lambda size: b"{" + b'"a":0,' * (size // 6) + b'"a":0}',
    "numbers": lambda size: b"[" + b"1234567," * (size // 8) + b"0]",
    "digits behind the point": lambda size: b"0." + b"1" * size,
    "an exponent": lambda size: b"1e" + b"1" * size,
    "digits": lambda size: b"1" * size,
    "escapes": lambda size: b'"' + rb"\u00e9" * (size // 6) + b'"',
    "surrogates": lambda size: b'"' + rb"\ud83d" * (size // 6) + b'"',
    "blanks": lambda size: b" " * size + b"x",
    "line ends": lambda size: b"\n" * size + b"x",
    "no UTF-8": lambda size: b'"' + "é".encode() * (size // 2) + b"\xff",
}
FORMS: dict[str, Callable[[int], bytes]] = {
    "fields": lambda size: b"command=replicante.test.success&" + b"a=1&" * (size // 4),
    "names": lambda size: b"command=x&" + b"&".join(b"%07d=1" % each for each in range(size // 10)),
    "escapes": lambda size: b"command=" + b"%41" * (size // 3),
    "broken escapes": lambda size: b"command=" + b"%" * size,
    "a command": lambda size: b"command=" + b"replicante.test." * (size // 16),
    "plus": lambda size: b"command=" + b"+" * size,
    "equals": lambda size: b"=" * size,
}
SHAPES: dict[str, str] = {
    "letters": "a",
    "blanks": "a b",
    "many blanks": "a" + " " * 63 + "b",
    "a gap": " ",
    "tabs": "\t",
    "quotes": '"',
    "escaped quotes": '\\"',
    "commas": ",",
    "commas and blanks": " , ",
    "tags": '"a", ',
    "semicolons": ";a=b",
    "quoted parameters": ';a="b"',
    "digits": "9",
    "waits": "wait=1 ",
    "dots": ".",
    "at": "a@",
    "slashes": "/",
    "colons": ":",
    "stars": "*",
    "brackets": "[",
    "percent": "%2f",
}
HEADERS = (
    "Prefer", "If-None-Match", "If-Match", "If-Modified-Since", "From", "Idempotency-Key", "Authorization", "Origin",
    "Content-Type", "Accept", "Cookie", "Range", "X-Hub-Signature-256", "X-GitHub-Event", "X-Any", "Connection",
    "Transfer-Encoding", "Content-Length", "Expect",
)  # fmt: skip
ADDRESSES = (
    f"{PREFIX}/info/", f"{PREFIX}/schedule/", f"{PREFIX}/cancel/", "/hooks/deploy/", "/api/3/stacks/",
    "/api/3/stacks/default/actions/", "/", "/api/3/stacks/default/actions?page=", f"{PREFIX}/available?",
)  # fmt: skip


def spent(agent: AgentProcess) -> dict[str, float]:
    """Processor seconds of each thread of the worker so far."""
    (worker,) = agent.workers()
    tasks = Path(f"/proc/{worker}/task").glob("[0-9]*/schedstat")
    return {task.parent.name: int(task.read_text().split()[0]) / 1e9 for task in tasks}


def cost(agent: AgentProcess, request: bytes) -> float:
    """The smallest of several measurements, because the worker does other work too. A thread may end meanwhile."""
    costs = []
    for _ in range(3):
        before = spent(agent)
        talk(agent, request)
        costs.append(sum(seconds - before.get(thread, 0.0) for thread, seconds in spent(agent).items()))
    return min(costs)


def assert_linear(agent: AgentProcess, make: Callable[[int], bytes], size: int) -> None:
    small, large = cost(agent, make(size)), cost(agent, make(FACTOR * size))
    assert large < LIMIT * max(small, LEAST), f"{size} bytes cost {small:.4f} s, {FACTOR} times as many {large:.4f} s"


def post(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent that accepts every request of every caller and executes nothing."""
    config = toml({"external_actions": {"any": {"action": ["true"], "check": ["true"]}}})
    started = AgentProcess(tmp_path_factory.mktemp("linear"), config=config).start()
    started.occupy()
    yield started
    started.close()


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("path", [f"{PREFIX}/schedule/{ANY}", "/api/3/stacks/default/actions"])
def test_json_costs_linear_time(agent: AgentProcess, path: str, make: Callable[[int], bytes]) -> None:
    assert_linear(agent, lambda size: post(path, "application/json", make(size)), 50_000)


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_form_costs_linear_time(agent: AgentProcess, make: Callable[[int], bytes]) -> None:
    path = "/api/3/stacks/default/actions"
    assert_linear(agent, lambda size: post(path, "application/x-www-form-urlencoded", make(size)), 50_000)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("header", HEADERS)
def test_header_costs_linear_time(agent: AgentProcess, header: str, shape: str) -> None:
    info = f"{PREFIX}/info/{agent.queue()[0]['id']}"

    def make(size: int) -> bytes:
        value = (shape * size)[:size]
        return f"GET {info} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}: x{value}x\r\n\r\n".encode()

    assert_linear(agent, make, 2000)


@pytest.mark.parametrize("shape", ["a" + " " * 4000 + "b", '"a" , ' * 600], ids=["blanks", "tags"])
@pytest.mark.parametrize("header", ["Prefer", "If-None-Match", "X-Any"])
def test_repeated_header_costs_linear_time(agent: AgentProcess, header: str, shape: str) -> None:
    info = f"{PREFIX}/info/{agent.queue()[0]['id']}"

    def make(count: int) -> bytes:
        lines = f"{header}: {shape}\r\n" * count
        return f"GET {info} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n".encode()

    assert_linear(agent, make, 3)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("address", ADDRESSES)
def test_path_costs_linear_time(agent: AgentProcess, address: str, shape: str) -> None:
    def make(size: int) -> bytes:
        rest = quote((shape * size)[:size], safe="/,;=:@*%")[:size]
        return f"GET {address}{rest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

    assert_linear(agent, make, 950)


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        (b"[" * 64 + b"]" * 64, False),
        (b"[" * 65 + b"]" * 65, True),
        (b'{"a":' * 65, True),
        (b"[]" * 1000, False),
        (b'"' + b"[" * 100 + b'"', False),
        (rb'"\"' + b"[" * 100 + b'"', False),
        (rb'"\\"' + b"[" * 100, True),
        (b'"' + b"[" * 100, False),
        (b'["' + b"[" * 100 + b"\\", False),
        (b"]" * 100 + b"[" * 100, False),
    ],
)
def test_nesting_is_counted_outside_of_strings(text: bytes, deep: bool) -> None:
    assert too_deep(text) is deep


def test_secret_costs_linear_time() -> None:
    """The caller of an external action chooses its secrets, and every truncated output is searched for them."""
    printed = CommandResult(("print",), 0, "a" * 2 * TAIL, "", None)

    def seconds(size: int) -> float:
        costs = []
        for _ in range(3):
            before = time.process_time()
            without_remnants(printed, ["a" * size + "b"])
            costs.append(time.process_time() - before)
        return min(costs)

    small, large = seconds(50_000), seconds(FACTOR * 50_000)
    assert large < LIMIT * max(small, LEAST), f"{small:.4f} s, of {FACTOR} times as many characters {large:.4f} s"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    directory = tmp_path_factory.mktemp("rights")
    three = table("pinger@example.com", PINGER_TOKEN, ["replicante.test.ping"])
    three += table("reader@example.com", READER_TOKEN, ["*"], read_only=True)
    three += table("nobody@example.com", NOBODY_TOKEN, [])
    shared = Guarded(directory, config=f'[api]\ntokens = "{write_tokens(directory / "tokens.toml", three)}"\n')
    shared.start()
    yield shared
    shared.close()


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        ("none", f"{PREFIX}/schedule/replicante.test.ping", 401),
        (PINGER_TOKEN, f"{PREFIX}/schedule/replicante.test.success", 403),
        (READER_TOKEN, f"{PREFIX}/schedule/replicante.test.ping", 403),
        (NOBODY_TOKEN, f"{PREFIX}/schedule/replicante.test.ping", 403),
        ("none", "/api/3/stacks/default/actions", 401),
        (READER_TOKEN, "/api/3/stacks/default/actions", 403),
        (NOBODY_TOKEN, "/api/3/stacks/default/actions", 403),
    ],
)
def test_permissions_are_checked_before_the_body_arrives(guarded: Guarded, token: str, path: str, status: int) -> None:
    """No byte of the announced body arrives, and the answer does not wait for it."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    with closing(socket.create_connection(("127.0.0.1", guarded.port), 10)) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n".encode())
        assert connection.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())
