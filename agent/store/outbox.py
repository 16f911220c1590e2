"""What receivers are yet to be told of: the statements by name, then the functions that run them.

The rows are written by a trigger, in the commit that makes an action final.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from agent.store import Store

RECEIVERS = "SELECT id, url FROM receivers ORDER BY id"
ADD_RECEIVER = "INSERT INTO receivers (url) VALUES (?)"
REMOVE_RECEIVER = "DELETE FROM receivers WHERE id = ?"
COUNT = "SELECT count(*) FROM outbox WHERE receiver_id = ?"

HEAD = """
    SELECT outbox.finished_order, actions.seq, actions.id
    FROM outbox JOIN actions ON actions.finished_order = outbox.finished_order
    WHERE receiver_id = ? ORDER BY outbox.finished_order LIMIT 1
"""
STRIKE = "DELETE FROM outbox WHERE receiver_id = :receiver AND finished_order = :finished_order"
WAITED = "UPDATE receivers SET waited = waited + :seconds, pause = :pause WHERE id = :receiver"
DROP = """
    DELETE FROM outbox
    WHERE receiver_id = :receiver AND since + :keep <= (SELECT waited FROM receivers WHERE id = :receiver)
"""


@dataclass(frozen=True, slots=True)
class Head:
    """What a receiver is told of next: the AsyncAction's id, and the id that the action has for ever."""

    finished_order: int
    seq: int
    action_id: str


def set_receivers(store: Store, urls: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Bring the receivers in step with the configuration.

    Returns their ids by URL; and by URL those that are none any more, with how much they were yet to be told of.
    """
    known = {row["url"]: row["id"] for row in store.read(RECEIVERS)}
    if set(known) == set(urls):
        return known, {}
    return store.write(lambda connection: _set_receivers(connection, urls))


def head(store: Store, receiver: int) -> Head | None:
    """What has waited longest for this receiver."""
    rows = store.read(HEAD, (receiver,))
    return Head(*rows[0]) if rows else None


def strike(store: Store, receiver: int, finished_order: int, waited: float) -> None:
    """Note that the receiver was told, after so many seconds in which it could not be."""
    row = {"receiver": receiver, "finished_order": finished_order, "seconds": waited, "pause": 0.0}
    if not waited:
        store.write_one(STRIKE, row)
    else:
        store.write(lambda connection: _each(connection, (STRIKE, WAITED), row))


def put_off(store: Store, receiver: int, waited: float, pause: float, keep: float) -> int:
    """Note that it could not be told for so many seconds more, and is tried again after `pause`.

    Drops what has waited `keep` seconds; returns how much that was.
    """
    row = {"receiver": receiver, "seconds": waited, "pause": pause, "keep": keep}
    return store.write(lambda connection: _each(connection, (WAITED, DROP), row))


def _each(connection: sqlite3.Connection, statements: Sequence[str], row: dict[str, float]) -> int:
    """Run the statements; how many rows the last one wrote."""
    return [connection.execute(statement, row).rowcount for statement in statements][-1]


def _set_receivers(connection: sqlite3.Connection, urls: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    removed = {}
    for receiver, url in connection.execute(RECEIVERS).fetchall():
        if url not in urls:
            removed[url] = connection.execute(COUNT, (receiver,)).fetchone()[0]
            connection.execute(REMOVE_RECEIVER, (receiver,))
    known = {url for _, url in connection.execute(RECEIVERS)}
    connection.executemany(ADD_RECEIVER, [(url,) for url in dict.fromkeys(urls) if url not in known])
    return {url: receiver for receiver, url in connection.execute(RECEIVERS)}, removed
