"""Create the datastore of this node from the configuration."""

from agent.config import DatastoreSettings
from agent.datastores.base import Datastore


def of(settings: DatastoreSettings) -> Datastore:
    """The datastore of `[datastore]`.

    Raises `DriverMissing`, and `ConfigError` for a URL that the kind of datastore does not accept.
    """
    cls = class_of(settings.kind)
    cls.require_driver()
    return cls(settings)


def class_of(kind: str) -> type[Datastore]:
    """The class of a `datastore.kind`. Other kinds are not imported: the import takes a third of a job's start
    time, and memory in the agent."""
    if kind == "mongodb":
        from agent.datastores.mongodb.datastore import MongoDBDatastore

        return MongoDBDatastore
    if kind == "mysql":
        from agent.datastores.mysql.datastore import MySQL

        return MySQL
    if kind == "postgresql":
        from agent.datastores.postgresql.datastore import PostgreSQL

        return PostgreSQL
    from agent.datastores.redis.datastore import RedisDatastore

    assert kind == "redis"  # the configuration is checked
    return RedisDatastore
