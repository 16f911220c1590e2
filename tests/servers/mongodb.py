"""A server of MongoDB's wire protocol: SecantusDB, a single node.

MongoDB's own server is in no package registry. This one keeps users and databases for real, and
stops and starts as a datastore does; it has no replica sets to set up, no resync, no fsync lock.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import PyMongoError

from tests.servers.cache import cached
from tests.servers.process import free_port, kill_pid
from tests.servers.server import Server, in_background


class MongoServer(Server):
    """One SecantusDB on 127.0.0.1, run from a virtualenv of its own (GPL: for tests only).

    With a `password` all clients must authenticate; it is the password of the user admin.
    """

    name = "secantusd-py"

    def __init__(self, dir: Path, *, password: str | None = None) -> None:
        self.dir = dir
        self.dir.mkdir(parents=True, exist_ok=True)
        self.data = dir / "data"
        self.pidfile = dir / "mongodb.pid"
        self.log = dir / "mongodb.log"
        self.port = free_port()
        self.password = password
        self.auth = False

    @property
    def url(self) -> str:
        """The address for clients, with the user admin if there is a password."""
        secret = f"admin:{self.password}@" if self.auth else ""
        return f"mongodb://{secret}127.0.0.1:{self.port}/"

    def start(self) -> MongoServer:
        """Start it and await its answer; the first time also make the user admin."""
        super().start()
        if self.password and not self.auth:
            self.command("createUser", "admin", pwd=self.password, roles=["root"])
            self.stop()
            self.auth = True
            super().start()
        return self

    def command(self, name: str, value: Any = 1, /, *, db: str = "admin", **more: Any) -> Any:
        """The answer to a database command; PyMongoError if it is refused."""
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(
            self.url, serverSelectionTimeoutMS=300, directConnection=True
        )
        with client:
            return client[db].command(name, value, **more)

    @property
    def start_command(self) -> list[str]:
        """Starts it in the background."""
        argv = [
            str(cached("mongodb", "bin/secantusd-py")), f"--port={self.port}",
            f"--storage-path={self.data}", "--host=127.0.0.1", "--cache-size=64M",
            "--sync-on-commit", *(["--auth"] if self.auth else []),
        ]  # fmt: skip
        return in_background(
            argv,
            pidfile=self.pidfile,
            log=self.log,
            make_pidfile=True,
            executable=cached("mongodb", "bin/python").resolve(),
        )

    def answers(self) -> bool:
        """Whether its user can log in."""
        try:
            return bool(self.command("listDatabases")["ok"])
        except PyMongoError:
            return False

    def close(self) -> None:
        """Kill the server and remove its files."""
        kill_pid(self.pid)
        super().close()
