"""The server that a Redis will follow, with the logins of the agent and of Redis itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from agent.config import Peer
from agent.datastores.base import DatastoreRefused, password_in
from agent.datastores.redis import config
from agent.datastores.redis.connection import ConnectionOptions, Login, exceptions
from agent.datastores.redis.state import RedisState, address, look

PORT = 6379
REPLICATION = ("masteruser", "masterauth", "tls-replication", "tls-ca-cert-file", "tls-ca-cert-dir")
"""The options of Redis for the connection to its source."""

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """`agent` is the agent's connection; `server` has the login and TLS that Redis will use."""

    host: str
    port: int
    tls: bool
    login: Login
    agent: ConnectionOptions
    server: ConnectionOptions

    @property
    def address(self) -> str:
        return address(self.host, self.port)

    def look(self) -> RedisState:
        """The state of the source. Raises `DatastoreError`."""
        with self.agent.client() as client:
            return look(client)

    def check_it_may_be_followed(self) -> None:
        """Connect like Redis and check the permissions for replication. Raises `DatastoreError`.

        PSYNC with FAILOVER and a nonexistent id is refused by every server after the permission check, and has no
        effect.
        """
        with self.server.client() as client:
            try:
                _ask_to_replicate(client)
            except exceptions().NoPermissionError as error:
                user = self.login.user or "default"
                raise DatastoreRefused(f"{self.address} does not let the user {user} replicate: {error}") from None
            except exceptions().ResponseError:
                return

    def options(self) -> dict[str, str]:
        """The options that Redis needs before it can follow this source."""
        wanted = {"tls-replication": "yes"} if self.tls else {}
        if self.login.password is not None:
            wanted |= {"masteruser": self.login.user or "", "masterauth": self.login.password}
        return wanted


def of_peer(peer: Peer, own: Options, timeout: float) -> Source:
    """The source of a configured URL; without a password in the URL the one of Redis itself is used.

    `own` are the present values of the options `REPLICATION` of Redis.
    """
    parts = urlsplit(peer.url)
    for_agent = Login(_text(parts.username), password_in(peer.password_file) or _text(parts.password))
    if for_agent.password is None:
        for_agent = _own_login(own)
    login = for_agent
    if peer.replication_user is not None or peer.replication_password_file is not None:
        secret = password_in(peer.replication_password_file) or for_agent.password
        login = Login(peer.replication_user or for_agent.user, secret)
    return _source(parts.scheme, parts.hostname or "", parts.port or PORT, parts.query, for_agent, login, own, timeout)


def followed(here: RedisState, own: Options, timeout: float) -> Source | None:
    """The present source of Redis, with its login; None without a source."""
    if not here.is_replica:
        return None
    scheme = "rediss" if own.get("tls-replication") == "yes" else "redis"
    login = _own_login(own)
    return _source(scheme, here.info["master_host"], here.info["master_port"], "", login, login, own, timeout)


def _ask_to_replicate(client: Any) -> None:
    client.execute_command("REPLCONF", "capa", "psync2")
    client.execute_command("PSYNC", "agent-check", "-1", "FAILOVER")


def own_options(client: Any) -> Options:
    """The present values of the options `REPLICATION` of Redis."""
    return config.get(client, *REPLICATION)


def _source(
    scheme: str, host: str, port: int, query: str, for_agent: Login, login: Login, own: Options, timeout: float
) -> Source:
    at, tls = address(host, port), scheme == "rediss"
    options = dict(parse_qsl(query))
    agent_options = options if query or not tls else _trusting(own)
    server_options = options | _trusting(own) if tls else options
    return Source(
        host=host,
        port=port,
        tls=tls,
        login=login,
        agent=ConnectionOptions(f"{scheme}://{at}?{urlencode(agent_options)}", timeout, lambda: for_agent),
        server=ConnectionOptions(f"{scheme}://{at}?{urlencode(server_options)}", timeout, lambda: login),
    )


def _trusting(own: Options) -> dict[str, str]:
    """TLS options like those of Redis: its CA, without a check of the host name. Empty if the file is unreadable."""
    authority = own.get("tls-ca-cert-file")
    if not authority or not os.access(authority, os.R_OK):
        return {}
    return {"ssl_ca_certs": authority, "ssl_check_hostname": "false"}


def _own_login(own: Options) -> Login:
    return Login(own.get("masteruser") or None, own.get("masterauth") or None)


def _text(quoted: str | None) -> str | None:
    return None if quoted is None else unquote(quoted)
