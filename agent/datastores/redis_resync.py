"""A resync of one Redis: it copies its primary anew and whole, and follows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.datastores import redis_replication as replication
from agent.datastores.base import DatastoreRefused, DatastoreUnreachable
from agent.datastores.redis_replication import Info
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.redis import Redis
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.1
LINK = ("connect", "connecting", "handshake", "sync", "connected")
"""How a replica comes in touch with its primary, in this order."""
MOST_SETBACKS = 5


class Resync:
    """One resync; `datastore.timeout` is how many seconds it may see nothing move."""

    def __init__(self, here: Redis, service: Supervisor | None, progress: Callable[[str], None]) -> None:
        self.here = here
        self.service = service
        self.progress = progress

    def run(self) -> dict[str, Any]:
        self._bring_up()
        primary = self._primary()
        address = f"{primary['host']}:{primary['port']}"
        self.progress(f"following {address}")
        with self.here.client() as client:
            kept = replication.copy(client, primary)
        self._await_copy(address)
        return {"primary": address} | kept

    def _bring_up(self) -> None:
        """Start the server where it is down, and let it load what it has."""
        if not self.here.is_up():
            if self.service is None:
                raise DatastoreRefused(f"Redis at {self.here.address} is down, and there is no [service] to start it")
            self.progress("starting Redis")
            self.service.start(Stop())
        self._await(lambda info: not info["loading"], f"Redis at {self.here.address} does not come up")

    def _primary(self) -> dict[str, Any]:
        """Whom to copy, as the options of a connection: the one configured, else the one followed now."""
        with self.here.client() as client:
            info = replication.look(client)
        if (there := self.here.primary) is not None:
            self.progress(f"asking {there.address}")
            with there.client() as client:
                replication.check_can_lead(info, replication.look(client), there.address)
                return dict(client.connection_pool.connection_kwargs)
        if info["role"] != "slave":
            raise DatastoreRefused(f"Redis at {self.here.address} follows nobody: set datastore.primary")
        return {"host": info["master_host"], "port": info["master_port"]}

    def _await_copy(self, address: str) -> None:
        def done(info: Info) -> bool:
            if replication.role(info).primary != address:
                raise DatastoreRefused(f"Redis at {self.here.address} was told meanwhile not to follow {address}")
            return replication.is_in_sync(info)

        self._await(done, f"{address} sends Redis at {self.here.address} no data; it goes on asking for it")

    def _await(self, done: Callable[[Info], bool], otherwise: str) -> None:
        """Look until it is done, telling how far it is; give up where nothing has gone on for too long."""
        told, patience = "", Patience(self.here.settings.timeout)
        while not ((info := self._look()) and done(info)):
            if (phase := replication.phase(info) if info else "awaiting Redis") != told:
                self.progress(told := phase)
            if patience.ends(info or {}):
                raise DatastoreUnreachable(otherwise)
            time.sleep(LOOK_EVERY)

    def _look(self) -> Info | None:
        """How it stands; None while it does not answer."""
        try:
            with self.here.client() as client:
                info = replication.look(client)
                return info | {"link": "" if info["loading"] else replication.link(client)}
        except DatastoreUnreachable:
            return None


class Patience:
    """Ends when nothing has gone on for so many seconds.

    A primary may take long before it sends the first byte; then the link stays as it is. One that
    refuses is asked again and again, and the link falls back each time.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.amount: object = None
        self.link = 0
        self.setbacks = 0

    def ends(self, info: Info) -> bool:
        link = LINK.index(info["link"]) if info.get("link") in LINK else 0
        self.setbacks += link < self.link
        self.link = link
        amount = [info.get(name) for name in ("loading_loaded_bytes", "master_sync_read_bytes")]
        if amount != self.amount and any(amount):
            self.amount, self.setbacks = amount, 0
        if info.get("loading") or (self.setbacks <= MOST_SETBACKS and link >= LINK.index("handshake")):
            self.deadline = time.monotonic() + self.seconds
        return time.monotonic() > self.deadline
