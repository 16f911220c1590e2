"""Undelivered callbacks: the SQL statements by name, then the functions that run them.

A trigger adds the rows, in the commit of their event.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from agent.store import Store

RECEIVERS = "SELECT id, url, ended FROM receivers ORDER BY id"
ADD_RECEIVER = "INSERT INTO receivers (url) VALUES (?)"
REMOVE_RECEIVER = "DELETE FROM receivers WHERE id = ?"
COUNT = "SELECT count(*) FROM outbox WHERE receiver_id = ?"

SUBSCRIBED = "SELECT receiver_id, event FROM subscriptions"
SUBSCRIBE = "INSERT INTO subscriptions (receiver_id, event) VALUES (?, ?)"
UNSUBSCRIBE = "DELETE FROM subscriptions WHERE receiver_id = ?"
END = "UPDATE receivers SET ended = 1, waited = 0, pause = 0 WHERE id = ?"
RESUME = "UPDATE receivers SET ended = 0, failure = NULL WHERE id = ?"
CLEAR = "DELETE FROM outbox WHERE receiver_id = ?"

NEXT_PENDING = """
    SELECT event_id, event, held, actions.seq, actions.id, actions.headers, x_request_id, traceparent
    FROM outbox JOIN actions ON actions.seq = action_seq
    WHERE receiver_id = ? ORDER BY event_id LIMIT 1
"""
REMOVE_DELIVERED = "DELETE FROM outbox WHERE receiver_id = :receiver AND event_id = :event_id"
WAITED = """
    UPDATE receivers SET waited = waited + :seconds, pause = :pause, failure = :failure WHERE id = :receiver
"""
UNDELIVERED = """
    SELECT url, EXISTS (
        SELECT 1 FROM outbox
        WHERE action_seq = actions.seq AND event = 'action.final' AND receiver_id = receivers.id)
    FROM actions, receivers JOIN subscriptions ON receiver_id = receivers.id AND event = 'action.final'
    WHERE actions.seq = ? AND actions.finished_order IS NOT NULL ORDER BY receivers.id
"""
DROP = """
    DELETE FROM outbox
    WHERE receiver_id = :receiver AND since + :keep <= (SELECT waited FROM receivers WHERE id = :receiver)
"""
RECEIVER_STATES = """
    SELECT id, url, failure, ended, (SELECT count(*) FROM outbox WHERE receiver_id = receivers.id) AS pending
    FROM receivers ORDER BY id
"""
REPLAY = """
    INSERT OR IGNORE INTO outbox (receiver_id, event_id, event, action_seq, held, since)
    SELECT :receiver, events.id, events.event, actions.seq,
           CASE WHEN events.event = 'action.held' THEN json_extract(details, '$.reason') END,
           (SELECT waited + pause FROM receivers WHERE id = :receiver)
    FROM events JOIN subscriptions ON subscriptions.event = events.event AND receiver_id = :receiver
                JOIN actions ON actions.id = events.action_id
    WHERE events.timestamp >= :since
"""


Row = dict[str, float | str | None]


@dataclass(frozen=True, slots=True)
class PendingCallback:
    """The next callback of a receiver: an event and its action.

    `held`: the reason of the event `action.held`. `headers`: the recorded headers of the action, as JSON.
    """

    event_id: int
    event: str
    held: str | None
    seq: int
    action_id: str
    headers: str
    x_request_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """A receiver: the failure of the last attempt, whether its subscription ended, the number of pending callbacks."""

    id: int
    url: str
    failure: str | None
    ended: bool
    pending: int


def set_receivers(store: Store, urls: Sequence[str], events: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Replace the receivers and their subscriptions by those of the configuration.

    Returns the ids by URL; and the number of undelivered callbacks of each removed receiver, by URL.
    """
    with store.snapshot() as connection:
        known = {url: receiver for receiver, url, _ in connection.execute(RECEIVERS)}
        if set(known) == set(urls) and not _subscribed_otherwise(connection, events):
            return known, {}
    return store.write(lambda connection: _set_receivers(connection, urls, events))


def next_pending(store: Store, receiver: int) -> PendingCallback | None:
    """The oldest pending callback of this receiver; None if there is none."""
    rows = store.read(NEXT_PENDING, (receiver,))
    return PendingCallback(*rows[0]) if rows else None


def undelivered(store: Store, seq: int) -> dict[str, bool]:
    """Whether the callback of this final action is undelivered, by the URL of each receiver of `action.final`."""
    return {url: bool(waits) for url, waits in store.read(UNDELIVERED, (seq,))}


def remove_delivered(store: Store, receiver: int, event_id: int, waited: float | None) -> None:
    """Record a delivery, after `waited` seconds with an unreachable receiver; None if it was reachable."""
    row: Row = {"receiver": receiver, "event_id": event_id, "seconds": waited, "pause": 0.0, "failure": None}
    if waited is None:
        store.write_one(REMOVE_DELIVERED, row)
    else:
        store.write(lambda connection: _each(connection, (REMOVE_DELIVERED, WAITED), row))


def postpone(store: Store, receiver: int, waited: float, pause: float, keep: float, failure: str) -> int:
    """Record `waited` more seconds with an unreachable receiver, the failure, and the pause until the next attempt.

    Drops the callbacks that have waited `keep` seconds; returns how many.
    """
    row: Row = {"receiver": receiver, "seconds": waited, "pause": pause, "keep": keep, "failure": failure}
    return store.write(lambda connection: _each(connection, (WAITED, DROP), row))


def end(store: Store, receiver: int) -> int:
    """End a subscription and drop its pending callbacks; returns how many."""

    def work(connection: sqlite3.Connection) -> int:
        connection.execute(UNSUBSCRIBE, (receiver,))
        connection.execute(END, (receiver,))
        return connection.execute(CLEAR, (receiver,)).rowcount

    return store.write(work)


def resume(store: Store, receiver: int, events: Sequence[str]) -> None:
    """Restart an ended subscription."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(RESUME, (receiver,))
        _subscribe(connection, receiver, events)

    store.write(work)


def receivers(store: Store) -> list[ReceiverState]:
    """All receivers."""
    return [
        ReceiverState(row["id"], row["url"], row["failure"], bool(row["ended"]), row["pending"])
        for row in store.read(RECEIVER_STATES)
    ]


def replay(store: Store, receiver: int, since: int) -> int:
    """Add the subscribed events since this time (microseconds) to the outbox again; returns how many.

    Events of pruned actions are left out.
    """
    return store.write_one(REPLAY, {"receiver": receiver, "since": since})


def _each(connection: sqlite3.Connection, statements: Sequence[str], row: Row) -> int:
    """Run the statements; returns the number of rows that the last one wrote."""
    return [connection.execute(statement, row).rowcount for statement in statements][-1]


def _subscribed_otherwise(connection: sqlite3.Connection, events: Sequence[str]) -> bool:
    """Whether an active receiver is subscribed to other events than these."""
    subscribed = {(receiver, event) for receiver, event in connection.execute(SUBSCRIBED)}
    active = [receiver for receiver, _, ended in connection.execute(RECEIVERS) if not ended]
    return subscribed != {(receiver, event) for receiver in active for event in events}


def _set_receivers(
    connection: sqlite3.Connection, urls: Sequence[str], events: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    removed = {}
    for receiver, url, _ in connection.execute(RECEIVERS).fetchall():
        if url not in urls:
            removed[url] = connection.execute(COUNT, (receiver,)).fetchone()[0]
            connection.execute(REMOVE_RECEIVER, (receiver,))
    known = {url for _, url, _ in connection.execute(RECEIVERS)}
    connection.executemany(ADD_RECEIVER, [(url,) for url in dict.fromkeys(urls) if url not in known])
    receivers = connection.execute(RECEIVERS).fetchall()
    for receiver, _, ended in receivers:
        _subscribe(connection, receiver, () if ended else events)
    return {url: receiver for receiver, url, _ in receivers}, removed


def _subscribe(connection: sqlite3.Connection, receiver: int, events: Sequence[str]) -> None:
    connection.execute(UNSUBSCRIBE, (receiver,))
    connection.executemany(SUBSCRIBE, [(receiver, event) for event in events])
