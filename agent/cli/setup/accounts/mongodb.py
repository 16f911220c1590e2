"""Creates the agent's user in MongoDB, as the administrator of $MONGODB_ADMIN_URL or without a login."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

from agent.cli.exits import Usage
from agent.cli.setup.accounts import account as accounts
from agent.cli.setup.accounts.account import Account
from agent.cli.setup.change import Change, Note
from agent.cli.setup.host import Server

MILLISECONDS = 10_000
ROLES = ["userAdminAnyDatabase", "dbAdminAnyDatabase", "clusterAdmin", {"role": "read", "db": "local"}]
"""The roles of docs/mongodb.rst."""


def account(server: Server, user: str) -> Account:
    """A user with a password in `admin`. Raises `Usage`."""
    if not server.listens.ports:
        raise Usage(f"{server.unit} does not listen on 127.0.0.1: write /etc/agent/agent.toml by hand")
    port = server.listens.ports[0]
    password = accounts.password()
    with _admin(port) as admin:
        if _exists(admin, user) and not accounts.PASSWORD_FILE.exists():
            raise Usage(f"MongoDB has a user {user} that setup did not make: drop it, or name another --user")
    note: Note = {"what": "account", "datastore": "mongodb", "user": user, "port": port}

    def create() -> None:
        with _admin(port) as admin:
            if not _exists(admin, user):
                admin.command("createUser", user, pwd=password, roles=ROLES)

    def is_made() -> bool:
        with _admin(port) as admin:
            return _exists(admin, user)

    options = {"url": f"mongodb://{quote(user, safe='')}@127.0.0.1:{port}/?authSource=admin"}
    description = f"create the user {user} in MongoDB: the roles of docs/mongodb.rst; a random password"
    return Account(options, (Change(description, is_made, create, note),), password)


def undo(note: Note) -> str:
    """Drop the user. Returns what was done. Raises `Usage`."""
    user = note["user"]
    with _admin(note["port"]) as admin:
        if not _exists(admin, user):
            return ""
        admin.command("dropUser", user)
    return f"dropped the user {user} of MongoDB"


def _exists(admin: Any, user: str) -> bool:
    return bool(admin.command("usersInfo", user)["users"])


@contextmanager
def _admin(port: int) -> Iterator[Any]:
    """The database `admin`. Raises `Usage`, also for errors of commands."""
    try:
        import pymongo
        from pymongo.errors import PyMongoError
    except ImportError:
        raise Usage("the driver is missing: install the agent with its extra [mongodb]") from None
    url = os.environ.get("MONGODB_ADMIN_URL") or f"mongodb://127.0.0.1:{port}/"
    try:
        client: Any = pymongo.MongoClient(url, directConnection=True, serverSelectionTimeoutMS=MILLISECONDS)
        with closing(client):
            yield client.admin
    except PyMongoError as error:
        hint = "; name an administrator in $MONGODB_ADMIN_URL" if "auth" in str(error).lower() else ""
        raise Usage(
            f"MongoDB on port {port} refused the command with error {getattr(error, 'code', None)}{hint}"
        ) from None
