"""Reads actions as AsyncActions: the SQL statements by name, then the functions that run them."""

from dataclasses import dataclass
from typing import Any

from agent.models import Json, State
from agent.store import Store
from agent.store.actions import by_either, only
from agent.store.rows import row_as

ROWS = """
    SELECT actions.seq, user, user_reference, resources.type AS resource_type, resource_id, kind, requester,
           scheduled_ts, finished_ts, state, state_payload, finished_message, args, version, not_before,
           needs_approval, approved_by
    FROM actions JOIN resources ON resources.id = resource_id
"""

# Oldest first: an action that arrives between two reads comes after the last page.
PAGE = "SELECT seq FROM actions ORDER BY seq LIMIT :limit OFFSET :offset"
COUNT = "SELECT count(*) FROM actions"
PAGE_OF_REFERENCE = """
    SELECT seq FROM actions WHERE user_reference = :user_reference ORDER BY seq LIMIT :limit OFFSET :offset
"""
COUNT_OF_REFERENCE = "SELECT count(*) FROM actions WHERE user_reference = :user_reference"


@dataclass(frozen=True, slots=True)
class AsyncAction:
    """An action as an AsyncAction; `seq` is its id. Times are microseconds since the epoch."""

    seq: int
    user: str
    user_reference: str | None
    resource_type: str
    resource_id: int
    kind: str
    requester: str
    scheduled_ts: int
    finished_ts: int | None
    state: State
    state_payload: Json
    finished_message: str | None
    args: Json
    version: int
    not_before: int | None
    needs_approval: bool
    approved_by: str | None

    @property
    def succeeded(self) -> bool | None:
        """Whether the action is DONE; None until it is final, like `message` and `result`."""
        return self.state is State.DONE if self.state.final else None

    @property
    def message(self) -> str | None:
        """The result in one sentence."""
        if not self.state.final:
            return None
        return self.finished_message or f"{self.kind} {'succeeded' if self.succeeded else 'failed'}"

    @property
    def result(self) -> dict[str, Any] | None:
        """The last payload, as an object."""
        return as_object(self.state_payload, "payload") if self.state.final else None


def by_id(store: Store, action_id: str) -> AsyncAction:
    """The AsyncAction of an action by either of its ids. Raises `ActionNotFound`."""
    return row_as(AsyncAction, only(store.read(*by_either(ROWS, action_id)), action_id))


def by_seq(store: Store, seq: int) -> AsyncAction:
    """The AsyncAction with this number. Raises `ActionNotFound`."""
    return by_id(store, str(seq))


def page(store: Store, number: int, per_page: int, user_reference: str | None) -> tuple[list[int], int]:
    """The ids on page `number`, from 1, of all actions or of those with a reference; and the number of all these.

    The caller reads the actions by `by_seq`, one at a time: a whole page of them could take too much memory.
    """
    parameters = {"limit": per_page, "offset": (number - 1) * per_page, "user_reference": user_reference}
    some = user_reference is not None
    with store.snapshot() as connection:
        rows = connection.execute(PAGE_OF_REFERENCE if some else PAGE, parameters).fetchall()
        count: int = connection.execute(COUNT_OF_REFERENCE if some else COUNT, parameters).fetchone()[0]
    return [row["seq"] for row in rows], count


def as_object(value: Json, name: str) -> dict[str, Any]:
    """The value itself if it is an object, `{}` for None, else an object with the value as its member `name`."""
    if isinstance(value, dict):
        return value
    return {} if value is None else {name: value}
