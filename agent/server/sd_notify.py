"""Notifies systemd: READY when the worker serves (not when gunicorn's master runs), and the watchdog."""

import os
import threading
import time
from logging import getLogger

from gunicorn import systemd

NOTIFY = "NOTIFY_SOCKET"
BOOT = 90.0
"""Maximum seconds for the boot of a worker; systemd waits as long for a start."""
_withheld: list[str] = []
_booted = threading.Event()


def withhold() -> None:
    """Keep gunicorn's master from announcing READY: it does so before a worker has booted."""
    if (address := os.environ.pop(NOTIFY, None)) is not None:
        _withheld.append(address)


def restore() -> None:
    """Undo `withhold`: the workers announce READY and feed the watchdog."""
    if _withheld:
        os.environ[NOTIFY] = _withheld.pop()


def announce() -> None:
    """Notify systemd that the agent is ready. Called by the worker; needs `NotifyAccess=all` in the unit."""
    _booted.set()
    systemd.sd_notify("READY=1\nSTATUS=Serving", getLogger("agent"))


def watchdog() -> float:
    """The timeout of systemd's watchdog in seconds; infinite without a watchdog."""
    return float(os.environ.get("WATCHDOG_USEC", "inf")) / 1_000_000


def feed() -> None:
    """Notify the watchdog once."""
    systemd.sd_notify("WATCHDOG=1", getLogger("agent"))


def feed_during_boot() -> None:
    """Feed the watchdog until `announce`, for at most `BOOT` seconds.

    At a reload the old worker ends as soon as the new one exists, whose engine does not feed the watchdog yet.
    """
    if watchdog() < float("inf"):
        threading.Thread(target=_feed_during_boot, name="boot", daemon=True).start()


def _feed_during_boot() -> None:
    deadline = time.monotonic() + BOOT
    while not _booted.is_set() and time.monotonic() < deadline:
        feed()
        _booted.wait(watchdog() / 2)
