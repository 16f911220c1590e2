"""Hostile bytes on both wires are refused cleanly, and no action is stored without an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.agent_process import PREFIX, AgentProcess
from tests.fuzz import corpus
from tests.fuzz.harmless import assert_unharmed
from tests.fuzz.wire import WIRES, Answer, Wire, assert_clean, talk

QUEUE = b"GET %s/queue HTTP/1.1\r\nHost: localhost\r\n\r\n" % PREFIX.encode()


class Ledger:
    """The agent, and the ids of its accepted actions on each wire."""

    def __init__(self, agent: AgentProcess) -> None:
        self.agent = agent
        self.answered: set[str | int] = set()

    def send(self, name: str, request: bytes) -> list[Answer]:
        """Send, and return the answers, which must be clean."""
        try:
            answers = talk(self.agent, request)
            assert_clean(answers)
        except AssertionError as error:
            raise AssertionError(f"{name}: {request[:300]!r}: {error}") from error
        if request.startswith(b"POST"):
            self.answered |= {answer.id for answer in answers if answer.id is not None}
        return answers

    def send_all(self, requests: Mapping[str, bytes]) -> dict[str, list[Answer]]:
        return {name: self.send(name, request) for name, request in requests.items()}


@pytest.fixture(scope="module")
def ledger(harmless_agent: AgentProcess) -> Iterator[Ledger]:
    """At the end of the module, the stored actions must be exactly the answered ones."""
    ledger = Ledger(harmless_agent)
    yield ledger
    written = assert_unharmed(harmless_agent, 120)
    assert {written.get(str(name), name) for name in ledger.answered} == set(written.values())
    assert len(written) > 100


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def test_a_hostile_body_is_read_or_refused(ledger: Ledger, wire: Wire) -> None:
    answers = ledger.send_all(corpus.bodies(wire))
    assert {name: len(each) for name, each in answers.items()} == dict.fromkeys(answers, 1)
    assert {each[0].status for each in answers.values()} <= {200, 400, 404, 413, 415}


def test_hostile_url_gets_one_answer_without_injected_headers(ledger: Ledger) -> None:
    for name, answers in ledger.send_all(corpus.addresses()).items():
        assert len(answers) == 1, name
        assert "x-injected" not in answers[0].headers, name
        assert answers[0].status in (200, 303, 400, 404, 405, 414), name
        assert answers[0].headers.get("location", "/openapi.json") == "/openapi.json", name


def test_a_hostile_header_is_kept_as_text_or_refused(ledger: Ledger, wire: Wire) -> None:
    for name, answers in ledger.send_all(corpus.headers(wire)).items():
        assert len(answers) == 1, name
        assert answers[0].status in (200, 400, 409, 417, 431), name


def test_incomplete_body_is_not_accepted(ledger: Ledger, wire: Wire) -> None:
    for name, answers in ledger.send_all(corpus.framings(wire)).items():
        assert [answer.id for answer in answers if answer.id] == [], name
        assert all(answer.status in (400, 413, 501) for answer in answers), name


def test_request_after_a_body_of_unknown_length_is_not_read(ledger: Ledger, wire: Wire) -> None:
    framings = corpus.framings(wire)
    del framings["longer than it is"]  # the surplus byte belongs to the next request
    for name, request in framings.items():
        answers = ledger.send(name, request + wire.post(wire.body) * 2)
        assert [answer.id for answer in answers if answer.id] == [], name


def test_malformed_request_line_ends_the_connection(ledger: Ledger, wire: Wire) -> None:
    for name, answers in ledger.send_all(corpus.lines(wire)).items():
        assert len(answers) <= 1, name


def test_pipelined_requests_are_answered_in_order(ledger: Ledger, wire: Wire) -> None:
    right, wrong, unknown = wire.post(wire.body), wire.post(b"{"), b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = ledger.send("at once", (right + wrong + unknown + QUEUE) * 25)
    assert [answer.status for answer in answers] == [200, 400, 404, 200] * 25


def test_first_unreadable_request_ends_the_connection(ledger: Ledger, wire: Wire) -> None:
    answers = ledger.send("broken", QUEUE + b"NO HTTP AT ALL\r\n\r\n" + wire.post(wire.body))
    assert [answer.status for answer in answers] == [200, 400]


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_http_1_0_is_served(ledger: Ledger, wire: Wire, version: bytes) -> None:
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(wire.body)
    (answer,) = ledger.send("old", wire.head(length, version) + wire.body)
    assert answer.id is not None


def test_body_of_many_chunks_is_read(ledger: Ledger, wire: Wire) -> None:
    head = wire.head(b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n")
    chunks = b"".join(b"1;ext=1\r\n%c\r\n" % byte for byte in wire.body)
    (answer,) = ledger.send("chunks", head + chunks + b"0\r\nX-Trailer: 1\r\n\r\n")
    assert answer.id is not None
