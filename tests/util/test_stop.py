"""A stop is requested once and noticed at once."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from types import FrameType

from agent.util.stop import Stop


def test_first_reason_of_a_stop_is_kept() -> None:
    with Stop() as stop:
        assert not stop.requested and stop.reason is None
        stop.request("cancelled")
        stop.request("timeout")
        assert stop.requested and stop.reason == "cancelled"


def test_concurrent_stop_requests_all_see_the_same_reason() -> None:
    with Stop() as stop:
        barrier, seen = threading.Barrier(16), []

        def ask(reason: str) -> None:
            barrier.wait()
            stop.request(reason)
            seen.append(stop.reason)

        threads = [threading.Thread(target=ask, args=(f"reason {n}",)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 16 and set(seen) == {stop.reason}


def test_wait_ends_with_the_request_or_the_timeout() -> None:
    with Stop() as stop:
        assert stop.wait(0.01) is False
        threading.Timer(0.05, stop.request, ["enough"]).start()
        began = time.monotonic()
        assert stop.wait(60) is True
        assert time.monotonic() - began < 60


def test_a_selector_notices_a_stop_and_keeps_noticing_it() -> None:
    with Stop() as stop:
        assert select.select([stop], [], [], 0)[0] == []
        threading.Timer(0.05, stop.request, ["enough"]).start()
        assert select.select([stop], [], [], 10)[0] == [stop]
        assert select.select([stop], [], [], 0)[0] == [stop]


def test_stop_request_in_a_signal_handler_does_not_deadlock() -> None:
    with Stop() as stop:

        def handler(number: int, frame: FrameType | None) -> None:
            stop.request("signal")

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            with stop._lock:
                signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert stop.reason == "signal"


def test_closed_stop_releases_its_descriptor_and_writes_to_no_other() -> None:
    stop = Stop()
    descriptor = stop.fileno()
    stop.close()
    stop.close()
    read, write = os.pipe()
    try:
        assert descriptor in (read, write)
        stop.request("late")
        assert stop.requested and select.select([read], [], [], 0)[0] == []
    finally:
        os.close(read)
        os.close(write)
