"""Resync one Redis: make it follow a primary according to the plan's decision, and undo it on a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agent.datastores.base import DatastoreError, DatastoreRefused, DatastoreUnreachable
from agent.datastores.redis import config, source as redis_source
from agent.datastores.redis.plan import Decision, accepted, decide
from agent.datastores.redis.rollback import DISKLESS, FOR_ONE_COPY, Rollback, reset_option
from agent.datastores.redis.source import Source
from agent.datastores.redis.state import RedisState, look
from agent.datastores.replication_requests import ResyncRequest
from agent.datastores.termination import Terminated, complete
from agent.plan import Would, discards_as_json
from agent.util.pauses import Pauses
from agent.util.poll import poll
from agent.util.stop import Stop

if TYPE_CHECKING:
    from agent.datastores.progress import ResyncProgress
    from agent.datastores.redis.server import Redis
    from agent.supervisors.base import Supervisor

Commands = Sequence[Sequence[str]]
LINK = ("connect", "connecting", "handshake", "sync", "connected")
"""The states of a replica's link to its primary, in order."""
MOST_SETBACKS = 5
CONNECTS_WITHIN = 5.0
"""Seconds for the first connection of a started replica, which tries once per second."""


class Resync:
    """One resync; `datastore.timeout` is the maximum number of seconds without progress."""

    def __init__(self, here: Redis, service: Supervisor | None, progress: ResyncProgress, stop: Stop) -> None:
        self.here, self.service, self.progress, self.stop = here, service, progress, stop

    def run(self, request: ResyncRequest) -> dict[str, Any]:
        """The members of the result. On a `DatastoreError` all is undone, or the message describes the state."""
        self._bring_up()
        self._reset_option()
        if (source := self._begun_with(request)) is not None:
            rollback = Rollback.of_json(self.here, request.begun["way_back"])
            return {**request.begun["members"], **self._follow(source, rollback, ())}
        decision = accepted(decide(self.here, request))
        assert decision.source is not None  # set in every decision that is not a refusal
        members = members_of(decision, decision.source)
        if decision.plan.would is Would.NOTHING:
            return members
        rollback = Rollback.of(self.here, decision.source.address)
        return members | self._follow(decision.source, rollback, commands_of(decision, decision.source))

    def _begun_with(self, request: ResyncRequest) -> Source | None:
        """The source that the agent has already made Redis follow (`at_once`); None if it has not.

        Raises `DatastoreRefused` if another client has made it follow a third server.
        """
        if request.begun is None:
            return None
        with self.here.client() as client:
            state, own = look(client), redis_source.own_options(client)
        rollback = Rollback.of_json(self.here, request.begun["way_back"])
        if state.source == rollback.target:
            return self.here.source(request.primary, state, own)
        if state.source != rollback.before.source:
            raise DatastoreRefused(rollback.intervention(state))
        return None

    def _bring_up(self) -> None:
        """Start the server if it is down, and wait until it has loaded its data."""
        if not self.here.is_up():
            if self.service is None:
                raise DatastoreRefused(f"Redis at {self.here.address} is down, and there is no [service] to start it")
            self.progress("starting Redis")
            self.service.start(self.stop)
            self._await(lambda state: not state.loading, f"Redis at {self.here.address} does not start")
            self._let_connect()
        self._await(lambda state: not state.loading, f"Redis at {self.here.address} does not start")

    def _reset_option(self) -> None:
        """Reset the option that a killed job has set, unless a running copy still needs it."""
        with self.here.client() as client:
            if not look(client).copying:
                reset_option(client)

    def _let_connect(self) -> None:
        """Wait for the first connection of a started replica: until then the replication id proves nothing."""

        def connected() -> bool:
            state = self._look()
            return state is not None and (not state.is_replica or state.in_step or state.copying)

        poll(connected, CONNECTS_WITHIN, self.stop)

    def _follow(self, source: Source, rollback: Rollback, commands: Commands) -> dict[str, Any]:
        """Run the commands and wait until the server follows. Without commands, it has the new source already."""
        self.progress(f"following {source.address}")
        try:
            if commands:
                self._change_source(source, commands)
            otherwise = f"{source.address} sends Redis at {self.here.address} no data"
            self._await(self._follows(source), otherwise, source)
        except (DatastoreError, OSError) as error:
            raise DatastoreRefused(f"{error}; {complete(rollback.undo)}") from error
        except Terminated:
            raise DatastoreRefused(complete(rollback.undo)) from None
        with self.here.client() as client:
            rollback.end_of_copy(client)
            return config.keep_or_note(client)

    def _change_source(self, source: Source, commands: Commands) -> None:
        """Set the login for the source, then change the source."""
        with self.here.client() as client:
            config.put(client, source.options())
            run_in_transaction(client, commands)

    def _follows(self, source: Source) -> Callable[[RedisState], bool]:
        def done(state: RedisState) -> bool:
            if state.source != source.address:
                raise DatastoreRefused(f"Redis at {self.here.address} no longer follows {source.address}")
            return state.in_step

        return done

    def _await(self, done: Callable[[RedisState], bool], otherwise: str, source: Source | None = None) -> None:
        """Wait until `done` and report the progress.

        Checks a source that sends nothing. Raises `DatastoreUnreachable` after too long a time without progress.
        """
        phase, patience = "", Patience(self.here.settings.timeout)
        pauses = Pauses()
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
            self.stop.wait(pauses.next())

    def _look(self) -> RedisState | None:
        """The present state; None while it does not answer."""
        try:
            with self.here.client() as client:
                return look(client)
        except DatastoreUnreachable:
            return None

    def _link(self, state: RedisState | None) -> int:
        """The state of a replica's link, as an index of `LINK`."""
        if state is None or state.loading:
            return 0
        try:
            with self.here.client() as client:
                role = [word.decode() if isinstance(word, bytes) else word for word in client.role()]
        except DatastoreUnreachable:
            return 0
        return LINK.index(role[3]) if role[0] == "slave" and role[3] in LINK else 0


def members_of(decision: Decision, source: Source) -> dict[str, Any]:
    """The members of the result that the decision determines."""
    discarded = discards_as_json(decision.plan.discards)
    return {"primary": source.address, "method": decision.method, "discarded": discarded}


def commands_of(decision: Decision, source: Source) -> Commands:
    """The commands that change the source, for one transaction.

    After `REPLICAOF NO ONE` Redis cannot continue where it was. In one transaction no client can write in
    between; and after a kill of the job either both the option and the new source are set, or neither.
    """
    commands: list[Sequence[str]] = [("REPLICAOF", source.host, str(source.port))]
    if decision.forget:
        commands.insert(0, ("REPLICAOF", "NO", "ONE"))
    if decision.method == "copy" and decision.keep_old:
        commands.insert(0, ("CONFIG", "SET", DISKLESS, FOR_ONE_COPY))
    return commands


def run_in_transaction(client: Any, commands: Commands) -> None:
    """Run these commands in one transaction; none if Redis refuses to queue one. Raises the driver's errors.

    The driver's pipeline sends everything at once: where `MULTI` is refused, each command would run by itself.
    """
    if len(commands) == 1:
        client.execute_command(*commands[0])
        return
    with client.client() as connection:
        for command in [("MULTI",), *commands]:
            connection.execute_command(*command)
        for result in connection.execute_command("EXEC"):
            if isinstance(result, Exception):
                raise result


class Patience:
    """Detects that there was no progress for this many seconds.

    A primary may take long before it sends the first byte: the link then stays in one state. If a
    primary refuses, the link falls back to an earlier state at each retry.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.moved = time.monotonic()
        self.amount: tuple[Any, ...] = ()
        self.link = 0
        self.setbacks = 0

    def ends(self, state: RedisState | None, link: int) -> bool:
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
        """Whether no byte has arrived for so long that the source must be checked; restarts the interval if so."""
        if time.monotonic() < self.moved + self.seconds:
            return False
        self.moved = time.monotonic()
        return True


def _phase(state: RedisState | None) -> str:
    if state is None:
        return "awaiting Redis"
    if state.loading:
        return "loading its data"
    return "receiving its data" if state.receiving else "waiting for the primary"


def _measured(state: RedisState) -> tuple[int, int | None] | None:
    """Bytes loaded or received, and the total; None if nothing is copied.

    The total of a diskless copy is unknown until it is loaded.
    """
    info = state.info
    if state.loading:
        total = info.get("loading_total_bytes") or info.get("loading_rdb_used_mem") or 0
        return info.get("loading_loaded_bytes", 0), total if total > 1 else None
    if not state.receiving:
        return None
    total = info.get("master_sync_total_bytes", 0)
    return info.get("master_sync_read_bytes", 0), total if total > 0 else None
