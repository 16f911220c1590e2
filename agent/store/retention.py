"""Removes the oldest final actions."""

import sqlite3

from agent.store import Store, idempotency

# An action with an undelivered callback is kept. No more than `limit` are looked at, so that a receiver that is away
# makes it no slower: where all of them are kept for that, so are those that became final later.
OUTDATED = """
    SELECT seq FROM (
        SELECT seq FROM actions
        WHERE finished_order <= (
            SELECT finished_order FROM actions WHERE finished_order IS NOT NULL
            ORDER BY finished_order DESC LIMIT 1) - :keep
        ORDER BY finished_order LIMIT :limit)
    WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE action_seq = seq)
"""

PRUNE = f"DELETE FROM actions WHERE seq IN ({OUTDATED})"


def prune(store: Store, keep: int, limit: int, *, remember_ids: bool = False) -> int:
    """Remove the oldest final actions beyond the newest `keep`, at most `limit`; returns how many.

    `remember_ids`: no caller may give another action one of their ids, as long as keys are kept.
    """

    def work(connection: sqlite3.Connection) -> int:
        if remember_ids:
            idempotency.remember(connection, OUTDATED, {"keep": keep, "limit": limit})
        count = connection.execute(PRUNE, {"keep": keep, "limit": limit}).rowcount
        # sqlite3 takes one step of a statement without columns, and one step gives back one page.
        for _ in range(connection.execute("PRAGMA freelist_count").fetchone()[0]):
            connection.execute("PRAGMA incremental_vacuum")
        return count

    return store.write(work)
