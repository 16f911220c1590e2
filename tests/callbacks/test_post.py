"""One POST: its timeout covers every phase, and it can be cut in every phase."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.callbacks import post as module
from agent.callbacks.post import NotAccepted, Post
from tests.agent_process import eventually
from tests.callbacks.receivers import Receiver
from tests.servers.process import free_port
from tests.trust.certificates import Authority

TIMEOUT = 0.3
LONG = 30.0
"""Seconds: much longer than an attempt that times out after `TIMEOUT` or is cut."""
SHARED = 6.0
"""Timeout of an attempt that succeeds after its first address used a third of it."""
HERE = "127.0.0.1"


class Dripping:
    """A receiver that sends `begin` and then single bytes without an end."""

    def __init__(self, begin: bytes) -> None:
        self._begin = begin
        self._ended = threading.Event()
        self._listener = socket.create_server((HERE, 0))
        self.url = f"http://{HERE}:{self._listener.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
            with connection:
                connection.sendall(self._begin)
                while not self._ended.wait(0.02):
                    connection.sendall(b"a")
        except OSError:
            return  # it was cut

    def end(self) -> None:
        self._ended.set()
        with socket.create_connection(self._listener.getsockname()):
            self._thread.join()
        self._listener.close()


@pytest.fixture
def drip() -> Iterator[Callable[[bytes], Dripping]]:
    made: list[Dripping] = []

    def dripping(begin: bytes) -> Dripping:
        made.append(Dripping(begin))
        return made[-1]

    yield dripping
    for each in made:
        each.end()


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that does not answer connections, because its backlog is full."""
    with socket.socket() as listener:
        listener.bind((HERE, 0))
        listener.listen(0)
        address = listener.getsockname()
        filling = [socket.socket() for _ in range(4)]
        for each in filling:
            each.setblocking(False)
            each.connect_ex(address)
        yield address
        for each in filling:
            each.close()


def send(url: str, timeout: float = TIMEOUT) -> float:
    """Send it; returns the seconds."""
    begin = time.monotonic()
    Post(url, timeout).send(b"{}", {})
    return time.monotonic() - begin


def fails(post: Post) -> tuple[str, float]:
    """The reason of the failure, and the seconds."""
    begin = time.monotonic()
    with pytest.raises(NotAccepted) as reason:
        post.send(b"{}", {})
    return str(reason.value), time.monotonic() - begin


def addresses(monkeypatch: pytest.MonkeyPatch, found: list[tuple[str, int]], after: float = 0.0) -> None:
    """Resolve every name to these addresses, after so many seconds."""

    def looked_up(*args: object, **options: object) -> list[object]:
        threading.Event().wait(after)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", each) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX: "])
def test_answer_without_an_end_times_out(drip: Callable[[bytes], Dripping], begin: bytes) -> None:
    reason, seconds = fails(Post(drip(begin).url, TIMEOUT))
    assert reason == "no answer within 0.3 s"
    assert TIMEOUT <= seconds < LONG


def test_answer_200_without_an_end_counts_as_accepted(drip: Callable[[bytes], Dripping]) -> None:
    assert send(drip(b"HTTP/1.1 200 OK\r\n\r\n").url, SHARED) < LONG


def test_a_tls_handshake_that_never_ends_times_out(drip: Callable[[bytes], Dripping]) -> None:
    # The header of a long record of the handshake.
    url = drip(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb").url.replace("http:", "https:")
    reason, seconds = fails(Post(url, TIMEOUT))
    assert reason == "no answer within 0.3 s"
    assert seconds < LONG


def test_slow_name_lookup_uses_up_the_timeout(
    drip: Callable[[bytes], Dripping], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(drip(b"HTTP/1.1 200 OK\r\nX: ").url.rstrip("/").rpartition(":")[2])
    addresses(monkeypatch, [(HERE, port)], after=TIMEOUT + 0.1)
    reason, seconds = fails(Post("http://somewhere/", TIMEOUT))
    assert reason == "no answer within 0.3 s"
    assert seconds < LONG
    monkeypatch.undo()


def test_silent_address_leaves_time_for_the_next_address(
    silent: tuple[str, int], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses(monkeypatch, [silent, (HERE, free_port()), (HERE, receiver.port)])
    assert send("http://somewhere/", SHARED) >= SHARED / 3
    assert receiver.received[0].headers["host"] == "somewhere"


def test_addresses_of_a_silent_host_share_one_timeout(silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    addresses(monkeypatch, [silent] * int(LONG / TIMEOUT))
    reason, seconds = fails(Post("http://somewhere/", TIMEOUT))
    assert reason == "no answer within 0.3 s"
    assert seconds < LONG, "each had a time of its own"


def test_a_post_can_be_cut_while_it_waits_for_an_answer(receiver: Receiver) -> None:
    receiver.behaviours = {"/": "hang"}
    post = Post(receiver.url(), LONG)
    assert cut_once(post, lambda: receiver.received) < LONG


def test_a_post_can_be_cut_while_it_connects(silent: tuple[str, int]) -> None:
    post = Post(f"http://{silent[0]}:{silent[1]}/", LONG)
    assert cut_once(post, lambda: post._held) < LONG


def test_a_post_can_be_cut_during_the_tls_handshake(drip: Callable[[bytes], Dripping]) -> None:
    post = Post(drip(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb").url.replace("http:", "https:"), LONG)
    assert cut_once(post, lambda: post._held) < LONG


def cut_once(post: Post, underway: Callable[[], object]) -> float:
    """Cut the post once the condition holds; returns the total seconds."""

    def cut() -> None:
        eventually(underway, "it runs")
        post.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    seconds = fails(post)[1]
    cutter.join()
    return seconds


def test_post_cut_before_its_start_sends_nothing(receiver: Receiver) -> None:
    post = Post(receiver.url(), LONG)
    post.cut()
    assert fails(post)[1] < LONG
    assert not receiver.received


def test_post_over_tls_is_accepted_and_can_be_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server())
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    monkeypatch.setattr(module, "_tls", lambda: trusting)
    receiver = Receiver(context).up()
    try:
        assert send(receiver.url(), LONG) < LONG
        receiver.behaviours = {"/": "hang"}
        assert cut_once(Post(receiver.url(), LONG), lambda: len(receiver.received) == 2) < LONG
    finally:
        receiver.down()


def test_url_with_an_ipv6_address_uses_the_default_port() -> None:
    with pytest.raises(NotAccepted, match=r"^(Connection refused|Cannot assign requested address)$"):
        Post("http://[::1]/", LONG).send(b"", {})
