"""gunicorn's own log, in the agent's format and with levels for systemd's journal."""

from typing import Any

from gunicorn import glogging

from agent import config
from agent.log import setup
from agent.log.lines import PrioritisedLines


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's logger in the format of `log.format`; text lines begin with a syslog priority."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn at the start and at each reload."""
        super().setup(cfg)
        settings = config.loaded()
        if settings is not None and settings.log.format != setup.TEXT:
            self.error_log.handlers = [setup.handler(settings.log.format)]
            return
        for handler in self.error_log.handlers:
            handler.setFormatter(PrioritisedLines(self.error_fmt, self.datefmt))
