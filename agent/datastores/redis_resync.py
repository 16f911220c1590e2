"""A resync of one Redis, and its gentle half: it is led to a primary, by the decision of the plan, or back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.datastores import redis_config
from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable, Terminated
from agent.datastores.redis_plan import Decision, accepted, decide
from agent.datastores.redis_source import Source
from agent.datastores.redis_state import State, look
from agent.datastores.redis_way_back import DISKLESS, WayBack
from agent.datastores.requests import ResyncRequest
from agent.plan import Would, discards_as_json
from agent.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.progress import Progress
    from agent.datastores.redis import Redis
    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.1
LINK = ("connect", "connecting", "handshake", "sync", "connected")
"""How a replica comes in touch with its primary, in this order."""
MOST_SETBACKS = 5
CONNECTS_WITHIN = 5.0
"""Seconds that a started replica has for its first connection: it tries once a second."""


class Resync:
    """One resync; `datastore.timeout` is how many seconds it may see nothing move."""

    def __init__(self, here: Redis, service: Supervisor | None, progress: Progress, stop: Stop) -> None:
        self.here, self.service, self.progress, self.stop = here, service, progress, stop

    def run(self, request: ResyncRequest) -> dict[str, Any]:
        """Returns the members of the result. Raises `DatastoreError` with the world as it was, or saying what is."""
        self._bring_up()
        decision = accepted(decide(self.here, request))
        assert decision.source is not None  # of every plan that is not a refusal
        discarded = discards_as_json(decision.plan.discards)
        told = {"primary": decision.source.address, "method": decision.method, "discarded": discarded}
        if decision.plan.would is Would.NOTHING:
            return told
        return told | self._lead(decision, decision.source)

    def _bring_up(self) -> None:
        """Start the server where it is down, and let it load what it has."""
        if not self.here.is_up():
            if self.service is None:
                raise DatastoreRefused(f"Redis at {self.here.address} is down, and there is no [service] to start it")
            self.progress("starting Redis")
            self.service.start(self.stop)
            self._await(lambda state: not state.loading, f"Redis at {self.here.address} does not come up")
            self._let_connect()
        self._await(lambda state: not state.loading, f"Redis at {self.here.address} does not come up")

    def _let_connect(self) -> None:
        """Give a replica that was just started time to connect: until then its replication id proves nothing."""
        deadline = time.monotonic() + CONNECTS_WITHIN
        while (state := self._look()) is None or (state.is_replica and not (state.in_step or state.copying)):
            if time.monotonic() > deadline or self.stop.wait(LOOK_EVERY):
                return

    def _lead(self, decision: Decision, source: Source) -> dict[str, Any]:
        way_back = WayBack.of(self.here, source.address)
        self.progress(f"following {source.address}")
        try:
            self._follow(decision, source)
            otherwise = f"{source.address} sends Redis at {self.here.address} no data"
            self._await(self._follows(source), otherwise, source)
        except (DatastoreError, OSError) as error:
            raise DatastoreRefused(f"{error}; {way_back.take()}") from error
        except Terminated:
            raise DatastoreRefused(way_back.take()) from None
        with self.here.client() as client:
            way_back.end_of_copy(client)
            return redis_config.keep_or_note(client)

    def _follow(self, decision: Decision, source: Source) -> None:
        """Give Redis what it connects with, then the address; in one transaction where it must forget where it is."""
        options = source.options()
        if decision.method == "copy" and decision.keep_old:
            options[DISKLESS] = "swapdb"
        with self.here.client() as client:
            redis_config.put(client, options)
            if not decision.forget:
                client.replicaof(source.host, str(source.port))
                return
            # Having followed no source it cannot continue where it was. In one transaction, so that no
            # client can write in between.
            with _one_connection(client) as connection:
                connection.execute_command("MULTI")
                connection.execute_command("REPLICAOF", "NO", "ONE")
                connection.execute_command("REPLICAOF", source.host, source.port)
                connection.execute_command("EXEC")

    def _follows(self, source: Source) -> Callable[[State], bool]:
        def done(state: State) -> bool:
            if state.source != source.address:
                raise DatastoreRefused(f"Redis at {self.here.address} no longer follows {source.address}")
            return state.in_step

        return done

    def _await(self, done: Callable[[State], bool], otherwise: str, source: Source | None = None) -> None:
        """Look until it is done, reporting how far it is; give up where nothing has moved for too long.

        A source that does not send yet is asked whether it still answers. Raises `DatastoreUnreachable`.
        """
        phase, patience = "", Patience(self.here.settings.timeout)
        while not ((state := self._look()) and done(state)):
            if (now := _phase(state)) != phase:
                self.progress(phase := now)
            if state is not None and (measured := _measured(state)) is not None:
                self.progress.measure(*measured)
            if self.stop.requested:
                raise DatastoreUnreachable(f"ended while {phase}: {self.stop.reason}")
            if patience.ends(state, self._link(state)):
                raise DatastoreUnreachable(otherwise)
            if source is not None and patience.doubts():
                source.look()
            self.stop.wait(LOOK_EVERY)

    def _look(self) -> State | None:
        """How it is; None while it does not answer."""
        try:
            with self.here.client() as client:
                return look(client)
        except DatastoreUnreachable:
            return None

    def _link(self, state: State | None) -> int:
        """How far a replica has come in touch with its primary, as an index of `LINK`."""
        if state is None or state.loading:
            return 0
        try:
            with self.here.client() as client:
                role = [word.decode() if isinstance(word, bytes) else word for word in client.role()]
        except DatastoreUnreachable:
            return 0
        return LINK.index(role[3]) if role[0] == "slave" and role[3] in LINK else 0


def _one_connection(client: Any) -> Any:
    return client.client()


class Patience:
    """Ends when nothing has moved for so many seconds.

    A primary may take long before it sends the first byte; then the link stays as it is. One that
    refuses is asked again and again, and the link falls back each time.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.moved = time.monotonic()
        self.amount: tuple[Any, ...] = ()
        self.link = 0
        self.setbacks = 0

    def ends(self, state: State | None, link: int) -> bool:
        self.setbacks += link < self.link
        self.link = link
        info = {} if state is None else state.info
        amount = tuple(info.get(name) for name in ("loading_loaded_bytes", "master_sync_read_bytes"))
        if amount != self.amount and any(amount):
            self.amount, self.setbacks = amount, 0
            self.moved = time.monotonic()
        loading = state is not None and state.loading
        if loading or (self.setbacks <= MOST_SETBACKS and link >= LINK.index("handshake")):
            self.deadline = time.monotonic() + self.seconds
        return time.monotonic() > self.deadline

    def doubts(self) -> bool:
        """Whether no byte has come for so long that the source must show that it lives; then the time begins anew."""
        if time.monotonic() < self.moved + self.seconds:
            return False
        self.moved = time.monotonic()
        return True


def _phase(state: State | None) -> str:
    if state is None:
        return "awaiting Redis"
    if state.loading:
        return "loading its data"
    return "receiving its data" if state.receiving else "awaiting the primary"


def _measured(state: State) -> tuple[int, int | None] | None:
    """Bytes loaded or received, and their total; None where nothing is copied.

    Of a copy that the primary streams without a file the total is not known before it is loaded.
    """
    info = state.info
    if state.loading:
        total = info.get("loading_total_bytes") or info.get("loading_rdb_used_mem") or 0
        return info.get("loading_loaded_bytes", 0), total if total > 1 else None
    if not state.receiving:
        return None
    total = info.get("master_sync_total_bytes", 0)
    return info.get("master_sync_read_bytes", 0), total if total > 0 else None
