"""The wall clock for stored times, replaceable in tests; waits use `time.monotonic`."""

import time
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def now() -> int:
    """The wall clock in microseconds since the epoch, UTC. Only for display: nothing is ordered by it."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds since this machine booted, the same in every process; never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """An id of this boot of the machine."""
    return BOOT_ID.read_text().strip()


def rfc3339(microseconds: int | None) -> str | None:
    """`2019-08-30T20:40:24Z`, the only form of a time in answers; None stays None."""
    if microseconds is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(microseconds // 1_000_000))
