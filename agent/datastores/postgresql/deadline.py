"""Time limit of a statement: cancel it at the server and record what it waited for."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import pq

from agent.util.stop import Stop

LOOK_EVERY = 0.05
"""Seconds between two checks of a statement."""
HANG = 5.0
"""Seconds that the server may take to cancel a statement."""

# Marks a commit without confirmation by a synchronous standby: code and text of the notice vary by version.
UNCONFIRMED = "SyncRepWaitForLSN"

WAITS_FOR = """
    SELECT wait_event_type || ':' || wait_event,
           CASE WHEN wait_event = 'SyncRep'
                THEN 'synchronous_standby_names = ''' || current_setting('synchronous_standby_names') || '''' END,
           (SELECT string_agg(format('process %%s (%%s, user %%s)', pid, application_name, usename), ', ')
            FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(waiter.pid)))
    FROM pg_stat_activity AS waiter WHERE pid = %s
"""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that records how its statements met their time limit."""

    expired = False
    """Whether a statement timed out and the server was requested to cancel it."""
    hung_up = False
    """Whether the server did not cancel the statement, so that the connection was closed."""
    waits_for: str | None = None
    """What the statement waited for at its timeout, such as `IPC:SyncRep`; None: not known."""
    unconfirmed = False
    """Whether a commit took effect on this server and no synchronous standby confirmed it in time."""

    def record_notices(self) -> None:
        """Start to record commits that were not confirmed."""
        self.add_notice_handler(self._record)

    def _record(self, notice: psycopg.errors.Diagnostic) -> None:
        self.unconfirmed = self.unconfirmed or notice.source_function == UNCONFIRMED


def waits_for(observer: Connection, pid: int) -> str | None:
    """What another session's statement waits for, with the blocking sessions; None if it does not wait."""
    row = observer.execute(WAITS_FOR, (pid,)).fetchone()
    if row is None or row[0] is None:
        return None
    event, setting, holders = row
    more = [f"({setting})"] if setting else [f"held by {holders}"] if holders else []
    return " ".join([event, *more])


@contextmanager
def bounded(
    connection: Connection, seconds: float, stop: Stop | None, observe: Callable[[int], str | None]
) -> Iterator[None]:
    """Cancel the running statement when `stop` is requested or after `seconds`.

    If the server does not cancel it within another `HANG` seconds, the connection is closed. `observe` is called
    before the cancel and returns what the statement of a process waits for.
    """
    over = threading.Event()
    watch = threading.Thread(
        target=_watch, args=(connection, seconds, stop, observe, over), name="postgresql", daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(
    connection: Connection,
    seconds: float,
    stop: Stop | None,
    observe: Callable[[int], str | None],
    over: threading.Event,
) -> None:
    since, cancelled = time.monotonic(), False
    while not over.wait(LOOK_EVERY):
        if connection.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
            since, cancelled = time.monotonic(), False
        elif stop is not None and stop.requested and not cancelled:
            cancelled = _cancel(connection)
        elif not connection.expired and time.monotonic() - since > seconds:
            connection.waits_for = observe(connection.info.backend_pid)
            connection.expired = cancelled = _cancel(connection)
        elif time.monotonic() - since > seconds + HANG:
            connection.hung_up = True
            return _hang_up(connection)


def _cancel(connection: Connection) -> bool:
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=HANG)
    return True


def _hang_up(connection: Connection) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
