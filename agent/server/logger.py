"""What gunicorn itself says, so that systemd's journal knows of its level too."""

from typing import Any

from gunicorn import glogging

from agent import config
from agent.log import setup
from agent.log.lines import PrioritisedLines


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's, with the priority before each line; in the other formats of `log.format` like every record."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        settings = config.loaded()
        if settings is not None and settings.log.format != setup.TEXT:
            self.error_log.handlers = [setup.handler(settings.log.format)]
            return
        for handler in self.error_log.handlers:
            handler.setFormatter(PrioritisedLines(self.error_fmt, self.datefmt))
