"""The resources of actions: the same type and name always have the same id."""

import sqlite3

from agent.store import Store

ID = "SELECT id FROM resources WHERE type = ? AND name = ?"
ADD = "INSERT INTO resources (type, name) VALUES (:type, :name) ON CONFLICT DO NOTHING"

REMEMBERED = 1000


class Resources:
    """The ids of resources; the ones used last are cached, as an id never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[tuple[str, str], int] = {}

    def find(self, resource: tuple[str, str]) -> int | None:
        """The id of the resource of this type and name; None if no action ever had it. Raises `StoreUnavailable`."""
        if (found := self._ids.get(resource)) is None and (rows := self._store.read(ID, resource)):
            found = rows[0]["id"]
            if len(self._ids) >= REMEMBERED:
                self._ids.clear()
            self._ids[resource] = found
        return found


def add(connection: sqlite3.Connection, resource: tuple[str, str]) -> int:
    """The id of the resource, added if it is new. Called in the transaction that stores the action."""
    connection.execute(ADD, {"type": resource[0], "name": resource[1]})
    added: int = connection.execute(ID, resource).fetchone()[0]
    return added
