"""What actions act on: the same type and name is the same id for ever."""

from agent.store import Store

ID = "SELECT id FROM resources WHERE type = ? AND name = ?"
ADD = "INSERT INTO resources (type, name) VALUES (:type, :name) ON CONFLICT DO NOTHING"

REMEMBERED = 1000


class Resources:
    """The ids of resources. Those asked for last are remembered: an id never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[tuple[str, str], int] = {}

    def id_of(self, resource: tuple[str, str]) -> int:
        """The id of a type and name, new where they are. Raises `StoreUnavailable`."""
        found = self._ids.get(resource)
        if found is None:
            found = self._find(resource) or self._add(resource)
            if len(self._ids) >= REMEMBERED:
                self._ids.clear()
            self._ids[resource] = found
        return found

    def _find(self, resource: tuple[str, str]) -> int | None:
        rows = self._store.read(ID, resource)
        return rows[0]["id"] if rows else None

    def _add(self, resource: tuple[str, str]) -> int:
        self._store.write_one(ADD, {"type": resource[0], "name": resource[1]})
        added = self._find(resource)
        assert added is not None  # never deleted
        return added
