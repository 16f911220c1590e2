"""Removes the oldest final actions."""

import sqlite3

from agent.store import Store, idempotency

# An action with an undelivered callback is kept. At most `limit` actions are read, so that an unreachable receiver does
# not make this slower; if all of them are kept, newer final actions are kept too.
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

    `remember_ids`: the ids of removed actions stay reserved as long as idempotency keys are kept.
    """

    def work(connection: sqlite3.Connection) -> int:
        if remember_ids:
            idempotency.remember(connection, OUTDATED, {"keep": keep, "limit": limit})
        count = connection.execute(PRUNE, {"keep": keep, "limit": limit}).rowcount
        # Python's sqlite3 runs only one step of this PRAGMA, and one step frees one page.
        for _ in range(connection.execute("PRAGMA freelist_count").fetchone()[0]):
            connection.execute("PRAGMA incremental_vacuum")
        return count

    return store.write(work)
