"""Log records as JSON, one object for each line."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

DELETE = "\x7f"
"""The one control character that JSON in ASCII does not escape."""


class JsonLines(logging.Formatter):
    """`time`, `level`, `event`, `message`, fields of the event; records of libraries have `logger`, not `event`."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        found: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            **source(record),
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, separators=(",", ":"), default=str).replace(DELETE, "\\u007f")


def source(record: logging.LogRecord) -> dict[str, str]:
    """The name of an agent event, else the logger."""
    event = getattr(record, "event", None)
    return {"event": event} if event else {"logger": record.name}


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of an agent event; empty for a library's record."""
    return dict(record.args) if hasattr(record, "event") and isinstance(record.args, dict) else {}
