"""The facts about all actions that describe the state of a stack."""

from typing import NamedTuple

from agent.models import State
from agent.store import Store

# Events are kept longer than actions: the oldest event is the best known time of the beginning.
FACTS = """
    SELECT (SELECT timestamp FROM events ORDER BY id LIMIT 1) AS begun_ts,
           (SELECT timestamp FROM events ORDER BY id DESC LIMIT 1) AS changed_ts,
           (SELECT scheduled_ts FROM actions ORDER BY seq DESC LIMIT 1) AS last_ts,
           (SELECT state FROM actions WHERE kind = 'deploy' ORDER BY seq DESC LIMIT 1) AS deploy
"""


class Summary(NamedTuple):
    """Times in microseconds since the epoch: of the oldest and newest event, and of the newest action.

    `deploy` is the state of the newest deploy; None without one.
    """

    begun_ts: int
    changed_ts: int
    last_ts: int | None
    deploy: State | None


def summary(store: Store) -> Summary:
    """Read the summary of the database. Raises `StoreUnavailable`."""
    row = store.read(FACTS)[0]
    return Summary(
        row["begun_ts"], row["changed_ts"], row["last_ts"], None if row["deploy"] is None else State(row["deploy"])
    )
