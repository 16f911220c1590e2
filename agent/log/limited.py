"""Rate limit for records that any caller can cause: a flood would make the journal drop records."""

import logging

from agent.util.rate_limiter import RateLimiter


class Limited(logging.Filter):
    """Passes `most` records a second. The next record that passes is preceded by the count of dropped ones.

    Belongs to a child logger. Its parent logs the counts, so they are not limited.
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
