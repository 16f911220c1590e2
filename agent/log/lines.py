"""Log records as lines of text: one line for each event, with a level that systemd's journal understands."""

import logging
import os
import sys
from functools import cache

PRIORITIES = {logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>", logging.CRITICAL: "<2>"}
"""The prefix that gives systemd's journal the level of a line."""


def one_line(text: str) -> str:
    """The text with escaped line ends, terminal controls and bidirectional controls."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def priority(level: int) -> str:
    """The journal's prefix for a level; empty where standard error is not the journal."""
    return PRIORITIES.get(level, "") if _is_journal() else ""


class PrioritisedLines(logging.Formatter):
    """Formats a record as one line with its priority. Lines of a traceback get the priority and a mark."""

    def begin(self, record: logging.LogRecord) -> str:
        return priority(record.levelno)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        begin = self.begin(record)
        message, *traced = super().format(record).split("\n")
        return "\n".join([f"{begin}{message}", *(f"{begin}  | {one_line(line)}" for line in traced)])


class Lines(PrioritisedLines):
    """`PrioritisedLines` with the level in front of the message."""

    def begin(self, record: logging.LogRecord) -> str:
        return f"{super().begin(record)}{record.levelname} "


@cache
def _is_journal() -> bool:
    """Whether standard error is the journal: systemd sets a variable with the device and inode of its socket."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
