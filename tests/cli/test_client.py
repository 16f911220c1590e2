"""agent/client.py: addresses, the encoding of requests, and truncated answers."""

from __future__ import annotations

import ast
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from agent.client import ACTIONS, Client, ClientError, Unreachable, _quoted
from tests.agent_process import CHECKOUT, AgentProcess, StartAgent
from tests.cli.calling import call

LONGEST = 200
WHOLE = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"


@contextmanager
def answering(*answers: bytes, family: int = socket.AF_INET) -> Iterator[Client]:
    """A client of a server that sends these answers, one for each connection."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as server:

        def serve() -> None:
            for each in answers:
                connection, _ = server.accept()
                with connection:
                    while b"\r\n\r\n" not in connection.recv(65536):
                        pass
                    connection.sendall(each)

        thread = threading.Thread(target=serve)
        thread.start()
        name = host if family == socket.AF_INET else f"[{host}]"
        yield Client(f"http://{name}:{server.getsockname()[1]}/", timeout=5)
        thread.join()


def test_the_client_is_short_and_imports_the_standard_library_alone() -> None:
    text = (CHECKOUT / "agent" / "client.py").read_text()
    assert len(text.splitlines()) <= LONGEST
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(each.module if isinstance(each, ast.ImportFrom) else each.names[0].name) or "" for each in imports}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_path_parameters_are_quoted_as_by_urllib() -> None:
    every = "".join(map(chr, range(256))) + "€ 語"
    assert _quoted(every) == quote(every, safe="")
    assert _quoted(500) == "500"


@pytest.mark.parametrize("form", ["unix:{0}", "unix://{0}"])
def test_a_socket_is_named_with_and_without_slashes(start_agent: StartAgent, form: str) -> None:
    agent = start_agent(unix=True)
    assert Client(form.format(agent.socket)).get(f"{ACTIONS}/queue").body == []


def test_a_host_is_named_in_capitals_and_by_an_ipv6_address(shared_agent: AgentProcess) -> None:
    assert call(f"HTTP://LOCALHOST:{shared_agent.port}", "queue").status == 0
    with answering(WHOLE, family=socket.AF_INET6) as client:
        assert client.get("/").body == []


@pytest.mark.parametrize(
    "url", ["db-1:8000", "http://", "http://db-1:99999", "http://db-1:port", "http://db-1/agent", "ftp://db-1", "unix:"]
)
def test_invalid_address_is_refused(url: str) -> None:
    ended = call(url, "queue")
    assert (ended.status, ended.stderr) == (
        2, f"{url}: expected unix:PATH, http://HOST:PORT or https://HOST:PORT\n",
    )  # fmt: skip


@pytest.mark.parametrize("url", ["http://a..b:1", f"http://{'a' * 70}.example:1", "http://größe..example:1"])
def test_a_host_that_has_no_address_is_unreachable(url: str) -> None:
    ended = call(url, "queue")
    assert (ended.status, ended.stderr.startswith(f"{url}: the agent does not answer: ")) == (5, True), ended.stderr


@pytest.mark.parametrize(("reason", "kept"), [("für 5 €", "für 5 €"), ("two\r\nlines", "two lines"), ("語", "語")])
def test_a_reason_may_have_any_characters(shared_agent: AgentProcess, reason: str, kept: str) -> None:
    ended = call(shared_agent, "schedule", "ping", "--reason", reason)
    assert ended.status == 0, ended.stderr
    assert shared_agent.info(ended.stdout.strip())["action"]["reason"] == kept


@pytest.mark.parametrize(
    "cut", [b"", b"HTTP/1.0 200 OK\r\nContent-", b"HTTP/1.0 200 OK\r\n", WHOLE[:-1], b"hello\r\n\r\n"]
)
def test_truncated_answer_is_retried_only_where_a_retry_is_safe(cut: bytes) -> None:
    with answering(cut, WHOLE) as client:
        assert client.get("/").body == []
    with answering(cut) as client, pytest.raises(Unreachable, match="its answer breaks off or is not HTTP"):
        client.post("cancel", "1")  # not safe to repeat


def test_answer_304_has_no_body_despite_its_content_length() -> None:
    with answering(b"HTTP/1.0 304 Not Modified\r\nContent-Length: 526\r\nETag: x\r\n\r\n") as client:
        answer = client.get("/", "x")
    assert (answer.status, answer.headers["etag"], answer.body) == (304, "x", b"")


def test_files_of_tls_that_cannot_be_read_are_named() -> None:
    for files in ({"ca": "/no/such/file"}, {"certificate": "/no/such/file"}):
        with pytest.raises(ClientError, match=r"^/no/such/file: No such file or directory$"):
            Client("https://127.0.0.1:1", tls=files).get("/")
