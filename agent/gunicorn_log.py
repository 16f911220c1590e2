"""What gunicorn itself says, so that systemd's journal knows of its level too."""

from typing import Any

from gunicorn import glogging

from agent import log


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's, with the priority before each line."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(log.PrioritisedLines(self.error_fmt, self.datefmt))
