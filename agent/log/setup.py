"""Sends the log of this process to standard error, or to systemd's journal."""

import atexit
import logging
import os
import sys
import threading

from agent import log
from agent.log.journal import Journal
from agent.log.json_lines import JsonLines
from agent.log.lines import Lines, one_line, priority

TEXT, JSON, JOURNAL = FORMATS = ("text", "json", "journal")


def set_up(format: str = TEXT) -> None:
    """Write each event in one of `FORMATS`: as a line or as JSON on standard error, or as an entry of the journal."""
    # The root logger: records of libraries get the same format.
    root = logging.getLogger()
    replaced, root.handlers = root.handlers, [handler(format)]
    for each in replaced:
        if isinstance(each, Journal):
            each.close()
    log.log.setLevel(logging.INFO)
    # APScheduler warns about each tick skipped because the previous one still runs, as while the database is locked.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    threading.excepthook = _thread_ended
    atexit.unregister(_drop_unwritten)
    atexit.register(_drop_unwritten)


def handler(format: str) -> logging.Handler:
    """The handler for a format of `FORMATS`."""
    if format == JOURNAL:
        return Journal()
    made = logging.StreamHandler()
    made.setFormatter(JsonLines() if format == JSON else Lines())
    return made


def refusal_to_start(reason: str) -> str:
    """The line on standard error of an agent that does not start."""
    return f"{priority(logging.ERROR)}agent: {one_line(reason)}"


def _drop_unwritten() -> None:
    """Keep the exit status when the log cannot be flushed, as on a full disk; Python would exit with 120."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    log.thread_ended(ended.thread.name if ended.thread else "", ended.exc_value)
