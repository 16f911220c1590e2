"""What systemd is told of the start: READY once the worker serves, not when gunicorn's master runs."""

import os
from logging import getLogger

from gunicorn import systemd

NOTIFY = "NOTIFY_SOCKET"
_withheld: list[str] = []


def withhold() -> None:
    """Keep gunicorn's master from announcing READY: it does so before a worker has booted."""
    if (address := os.environ.pop(NOTIFY, None)) is not None:
        _withheld.append(address)


def restore() -> None:
    """Undo `withhold`: the workers announce READY and feed the watchdog."""
    if _withheld:
        os.environ[NOTIFY] = _withheld.pop()


def announce() -> None:
    """Called by the worker that serves. Needs `NotifyAccess=all` in the unit."""
    systemd.sd_notify("READY=1\nSTATUS=Serving", getLogger("agent"))
