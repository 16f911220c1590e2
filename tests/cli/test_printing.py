"""Progress of an action in agentctl: a line for each change, or one line with a bar on a terminal."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from agent.cli import drawing, printing


def action(**payload: Any) -> dict[str, Any]:
    return {"kind": "resync_slave_db", "state": "RUNNING", "state_payload": payload}


COPYING = action(phase="copy", progress={"bytes_done": 5 << 20, "percent": 42.5, "rate": 1572864, "seconds_left": 30})


def test_progress_has_the_phase_the_rate_and_the_time_left() -> None:
    assert printing.progress(COPYING) == "RUNNING  copy  42.5 %  1.5 MB/s  30 s left"
    assert printing.progress(action(stage=2, message="stopping")) == "RUNNING  stopping  stage 2"
    assert printing.progress(action(phase="copy", progress={"bytes_done": 5 << 20})) == "RUNNING  copy  5.0 MB"
    held = {"kind": "deploy", "state": "NEW", "state_payload": None, "held": "maintenance"}
    assert printing.progress(held) == "NEW  maintenance"


def test_control_characters_of_a_message_are_escaped() -> None:
    assert printing.progress(action(message="\x1b[2J")) == "RUNNING  \\x1b[2J"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 kB"), (5 << 50, "5120.0 TB")])
def test_sizes_have_the_unit_that_keeps_them_short(count: int, text: str) -> None:
    assert printing.size(count) == text


def test_progress_without_a_terminal_is_a_line_for_each_change() -> None:
    stream = io.StringIO()
    with drawing.of(stream) as show:
        for each in (action(message="one"), action(message="one"), COPYING):
            show(each)
    assert stream.getvalue() == "RUNNING  one\nRUNNING  copy  42.5 %  1.5 MB/s  30 s left\n"


class Terminal(io.StringIO):
    """Stands for a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    with drawing.of(stream) as show:
        show(COPYING)
    assert "resync_slave_db  RUNNING  copy  42.5 %  1.5 MB/s  30 s left" in stream.getvalue()


def test_progress_without_rich_is_lines_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    stream = Terminal()
    with drawing.of(stream) as show:
        show(COPYING)
    assert stream.getvalue() == "RUNNING  copy  42.5 %  1.5 MB/s  30 s left\n"
