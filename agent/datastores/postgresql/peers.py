"""Query the other servers of a replica's cluster: its source and the configured peers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import psycopg

from agent.config import DatastoreSettings, Peer
from agent.datastores.base import DatastoreError, DatastoreUnreachable, password_in
from agent.datastores.postgresql import facts
from agent.datastores.postgresql.connection import Connection, Target, parse
from agent.errors import ConfigError

ANSWERS_WITHIN = 1.2
"""Timeout in seconds of another server's answer for a plan."""
ANSWERS_BEFORE_ACTING = 5.0
"""Timeout in seconds before a promotion: a slow primary must not be mistaken for a dead one."""

Answer = TypeVar("Answer")

STATE = """
    SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on',
           (SELECT COALESCE(sender_host || ':' || sender_port, '') FROM pg_stat_wal_receiver
            WHERE status = 'streaming' OR status IS NULL),
           host(inet_server_addr())
"""


@dataclass(frozen=True)
class PeerState:
    """Another server: `state` is `unreachable`, `read_only`, `writable` or `unknown`.

    `unknown`: it runs, but the agent's credentials do not permit more; `error` has the reason. `position` is the
    LSN up to which it has data, on its `timeline`. `follows` is the host and port that it receives from now, empty
    if the account may not see it. `own_address` is the address under which it was queried.
    """

    address: str
    state: str
    cluster_id: str | None = None
    position: str | None = None
    error: str | None = None
    timeline: int | None = None
    follows: str | None = None
    own_address: str | None = None


def source_params(connection: Connection) -> dict[str, Any]:
    """The connection parameters to this replica's source; empty without a source or without the permission."""
    try:
        row = connection.execute("SELECT current_setting('primary_conninfo', true)").fetchone()
        return parse(row[0] or "", "primary_conninfo") if row else {}
    except (ConfigError, psycopg.errors.InsufficientPrivilege):
        return {}


def logins_of(settings: DatastoreSettings, params: Mapping[str, Any], timeout: float) -> list[Target]:
    """The logins for the address of a source, the best first: its peer, `datastore.primary`, the replica's own."""
    peers = [peer for peer in _configured(settings) if _endpoint(_params(peer)) == _endpoint(params)]
    # The replica's own account may log in for replication, and possibly for SQL.
    plain = {name: value for name, value in params.items() if name not in ("replication", "dbname")}
    own = [Target(plain | {"dbname": "postgres"}, _none, timeout)]
    own.append(Target(plain | {"replication": "true"}, _none, timeout))
    return [*(_target(peer, timeout) for peer in peers), *own]


def ask_source(
    settings: DatastoreSettings, params: Mapping[str, Any], timeout: float = ANSWERS_WITHIN
) -> PeerState | None:
    """The state of the source; None without a source."""
    return ask(logins_of(settings, params, timeout), timeout) if _endpoint(params)[0] else None


def ask_all(
    settings: DatastoreSettings, params: Mapping[str, Any], timeout: float = ANSWERS_WITHIN
) -> tuple[PeerState | None, Sequence[PeerState]]:
    """The source and the other configured servers, queried in parallel."""
    others = {_endpoint(_params(peer)): peer for peer in _configured(settings)}
    others.pop(_endpoint(params), None)
    with ThreadPoolExecutor(max_workers=len(others) + 1) as pool:
        source = pool.submit(ask_source, settings, params, timeout)
        answers = [pool.submit(ask, [_target(peer, timeout)], timeout) for peer in others.values()]
        return source.result(), [each.result() for each in answers]


def ask(logins: Sequence[Target], timeout: float) -> PeerState:
    """The state from the first accepted login; `unreachable` after the timeout."""
    address = logins[0].address
    try:
        return within(timeout, address, partial(_query, logins))
    except DatastoreUnreachable as error:
        return PeerState(address, "unreachable", error=str(error))


def within(seconds: float, address: str, query: Callable[[], Answer]) -> Answer:
    """The result of `query`. Raises `DatastoreUnreachable` after `seconds`, a limit that libpq does not keep."""
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(query)
    pool.shutdown(wait=False)
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise DatastoreUnreachable(f"{address} has not answered within {seconds:g} s") from None


def _query(logins: Iterable[Target]) -> PeerState:
    refused: PeerState | None = None
    for login in logins:
        try:
            with login.connect() as connection:
                return _answer(login, connection)
        except DatastoreUnreachable as error:
            return PeerState(login.address, "unreachable", error=str(error))
        except DatastoreError as error:
            refused = refused or PeerState(login.address, "unknown", error=str(error))
    assert refused is not None
    return refused


def _answer(login: Target, connection: Connection) -> PeerState:
    row: Any
    if "replication" in login.params:
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
        cluster_id, position = _text(row[0]), _text(row[2])
        row = connection.execute("SHOW transaction_read_only").fetchone()
        return PeerState(login.address, _state(_text(row[0]) == "on"), cluster_id, position)
    row = connection.execute(STATE).fetchone()
    read_only, follows, own_address = row
    return PeerState(
        login.address, _state(read_only), facts.cluster_id(connection), facts.position(connection), None,
        facts.timeline(connection), follows, own_address,
    )  # fmt: skip


def _state(read_only: bool) -> str:
    return "read_only" if read_only else "writable"


def _text(value: str | bytes) -> str:
    """Decode text: a replication connection has no encoding and may return bytes."""
    return value.decode("ascii") if isinstance(value, bytes) else value


def _configured(settings: DatastoreSettings) -> list[Peer]:
    peers = list(settings.peers.values())
    if settings.primary is not None:
        peers.append(Peer(url=settings.primary, password_file=settings.primary_password_file))
    return peers


def _target(peer: Peer, timeout: float) -> Target:
    return Target({"dbname": "postgres"} | _params(peer), partial(password_in, peer.password_file), timeout)


def _params(peer: Peer) -> dict[str, Any]:
    try:
        return parse(peer.url, "datastore.peers")
    except ConfigError:
        return {}


def _endpoint(params: Mapping[str, Any]) -> tuple[str, str]:
    return str(params.get("host") or params.get("hostaddr") or ""), str(params.get("port") or 5432)


def _none() -> None:
    return None
