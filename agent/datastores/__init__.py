"""The datastore of this node, as its own clients see it."""

from agent.config import Datastore as DatastoreSettings
from agent.datastores.base import Datastore
from agent.datastores.mongodb import MongoDB
from agent.datastores.mysql import MySQL
from agent.datastores.postgresql import PostgreSQL
from agent.datastores.redis import Redis

KINDS: dict[str, type[Datastore]] = {"mongodb": MongoDB, "mysql": MySQL, "postgresql": PostgreSQL, "redis": Redis}


def of(settings: DatastoreSettings) -> Datastore:
    """The datastore that `[datastore]` names.

    Raises `DriverMissing`, and `ConfigError` for a url that its kind does not understand.
    """
    cls = KINDS[settings.kind]
    cls.require_driver()
    return cls(settings)
