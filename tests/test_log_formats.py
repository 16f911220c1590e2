"""The log as JSON and as entries of systemd's journal: every event with its fields, for any input."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import log
from agent.log import journal, setup
from agent.log.journal import Journal
from agent.models import Action, State
from tests.agent_process import StartAgent
from tests.conformance.shapes import SUCCESS
from tests.trust.test_log_lines import HOSTILE, MESSAGES, cause

__all__ = ["quiet"]
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores the log of this process after the test."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers)
    monkeypatch.setattr(log.log, "level", log.log.level)
    monkeypatch.setattr("threading.excepthook", None)
    for limited in (log.refusals, log.unreadable, log.crowds):
        monkeypatch.setattr(limited, "filters", [])
    yield
    log.correlate(None, None)
    for handler in root.handlers:
        if isinstance(handler, Journal):
            handler.close()


class Journald:
    """The socket of the journal, bound by the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(60)

    def entry(self) -> dict[str, str]:
        """The fields of the next entry."""
        data, rights, _, _ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for level, kind, content in rights:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            (descriptor,) = struct.unpack("i", content)
            with open(descriptor, "rb") as file:
                file.seek(0)
                data = file.read()
        return dict(_fields(data))

    def close(self) -> None:
        self._socket.close()


def _fields(data: bytes) -> Iterator[tuple[str, str]]:
    """Decode the native protocol: a name, a line end, the length, the value, a line end."""
    while data:
        name, _, rest = data.partition(b"\n")
        assert b"=" not in name
        (length,) = struct.unpack("<Q", rest[:8])
        assert rest[8 + length : 9 + length] == b"\n"
        yield name.decode("ascii"), rest[8 : 8 + length].decode()
        data = rest[9 + length :]


@pytest.fixture
def journald(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    made = Journald(tmp_path / "socket")
    monkeypatch.setattr(journal, "SOCKET", made.path)
    yield made
    made.close()


def action(**more: str) -> Action:
    return Action(7, "the-id", "deploy", {}, {}, "API", State.RUNNING, None, 1, 1, None, "a@b", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda each: each.__name__)
def test_every_event_is_one_json_line_and_one_journal_entry(
    message: Callable[..., None], journald: Journald, capsys: pytest.CaptureFixture[str]
) -> None:
    setup.set_up("json")
    cause(message)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isascii() and line.isprintable()
    found = json.loads(line)
    assert set(found) >= {"time", "level", "event", "message"}
    setup.set_up("journal")
    cause(message)
    entry = journald.entry()
    assert entry["AGENT_EVENT"] == found["event"]
    assert entry["MESSAGE"].isprintable()
    assert entry["PRIORITY"] in "346"
    assert not capsys.readouterr().err


def test_events_of_an_action_have_its_fields(journald: Journald, capsys: pytest.CaptureFixture[str]) -> None:
    ended = action(x_request_id="CH-7", traceparent=SPAN)
    setup.set_up("journal")
    log.finished(ended, "FAILED", "no such ref")
    entry = journald.entry()
    assert {name: entry[name] for name in entry if name.startswith(("ACTION_", "REQUEST_", "TRACE_"))} == {
        "ACTION_ID": "the-id", "ACTION_KIND": "deploy", "ACTION_STATE": "FAILED", "ACTION_USER": "a@b",
        "REQUEST_ID": "CH-7", "TRACE_ID": TRACE,
    }  # fmt: skip
    assert entry["MESSAGE"] == "action the-id deploy of a@b via API is FAILED: no such ref"
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"], entry["AGENT_RESULT"]) == ("4", "agent", "no such ref")
    assert entry["CODE_FILE"] == __file__ and entry["CODE_FUNC"].startswith("test_events")
    setup.set_up("json")
    log.finished(ended, "FAILED", "no such ref")
    found = json.loads(capsys.readouterr().err)
    assert (found["level"], found["request_id"], found["trace_id"]) == ("WARNING", "CH-7", TRACE)
    assert found["message"] == entry["MESSAGE"]


def test_an_event_of_a_request_has_the_ids_of_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    setup.set_up("json")
    log.correlate("CH-8", TRACE)
    log.caller_refused(401, "192.0.2.1", "a token is required")
    log.correlate(None, None)
    log.pruned(3)
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["request_id"], first["trace_id"], first["status"]) == ("CH-8", TRACE, 401)
    assert "request_id" not in second and second["count"] == 3


def test_traceback_of_a_library_is_a_field(journald: Journald, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logging.getLogger("some.library").exception("it failed: %s", "x")

    setup.set_up("journal")
    fail()
    entry = journald.entry()
    assert (entry["MESSAGE"], entry["AGENT_LOGGER"], entry["PRIORITY"]) == ("it failed: x", "some.library", "3")
    assert entry["AGENT_TRACEBACK"].startswith("Traceback ")
    setup.set_up("json")
    fail()
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["traceback"].startswith("Traceback ") and "logger" in json.loads(line)


def test_entry_larger_than_a_datagram_arrives_whole(journald: Journald) -> None:
    setup.set_up("journal")
    text = "é" * 400_000
    log.finished(action(), "FAILED", text)
    assert journald.entry()["AGENT_RESULT"] == text


def test_line_goes_to_standard_error_without_a_journal(journald: Journald, capsys: pytest.CaptureFixture[str]) -> None:
    setup.set_up("journal")
    os.unlink(journald.path)
    log.pruned(3)
    assert capsys.readouterr().err == "INFO 3 old finished actions removed\n"


def test_an_agent_logs_nothing_but_json(start_agent: StartAgent) -> None:
    agent = start_agent(config='[log]\nformat = "json"\n')
    headers = {"X-Request-Id": "CH-9", "traceparent": SPAN}
    answer = agent.post_schedule(SUCCESS, {}, headers=headers)
    agent.await_final(answer.json["id"])
    agent.reload()
    agent.stop()
    lines = [json.loads(line) for line in agent.log_text().splitlines()]
    own = [(each["event"], each["action_state"]) for each in lines if each.get("action_id") == answer.json["id"]]
    assert own == [("action.scheduled", "NEW"), ("action.started", "RUNNING"), ("action.finished", "DONE")]
    assert all((each["request_id"], each["trace_id"]) == ("CH-9", TRACE) for each in lines if "action_id" in each)
    assert "gunicorn.error" in {each.get("logger") for each in lines}
