"""A limit for records that any caller can cause: the journal drops the lines of other services where there are many."""

import logging

from agent.util.rate_limiter import RateLimiter


class Limited(logging.Filter):
    """Passes `most` records a second, and logs how many were left out before the next record that passes.

    Belongs to a child logger. The counts are logged by its parent, and so never limited themselves.
    """

    def __init__(self, parent: logging.Logger, most: int) -> None:
        super().__init__()
        self.limiter = RateLimiter(most)
        self._parent = parent

    def filter(self, record: logging.LogRecord) -> bool:
        left_out = self.limiter.take()
        if left_out:
            text, fields = "and %(count)d more calls were refused", {"count": left_out}
            self._parent.log(record.levelno, text, fields, extra={"event": "calls.left_out"})
        return left_out is not None
