"""Redis, and what speaks its protocol and commands (Valkey)."""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from agent import plan
from agent.config import Datastore as Settings
from agent.datastores import redis_replication, redis_users
from agent.datastores.base import (
    Datastore,
    DatastoreDown,
    DatastoreError,
    DatastoreRefused,
    DatastoreUnreachable,
    Role,
)
from agent.datastores.redis_resync import Resync
from agent.datastores.requests import PROMOTE, RESYNC, PromoteRequest, ResyncRequest
from agent.errors import ConfigError
from agent.models import Json
from agent.plan import Plan
from agent.stop import Stop

if TYPE_CHECKING:
    import redis

    from agent.supervisors.base import Supervisor

LOOK_EVERY = 0.05
"""Seconds between looks at whether it is gone, or ours to wait for no longer."""


class Redis(Datastore):
    """One Redis. Its "databases", to the users, are prefixes of keys: `app` stands for `app:*`."""

    driver = "redis"
    schemes = ("redis", "rediss", "unix")
    no_databases = "Redis has no databases to create or delete: they are numbered and always there"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.primary = None if settings.primary is None else self._at(settings.primary)

    def _at(self, primary: str) -> Redis:
        """The server that `datastore.primary` names."""
        settings = replace(self.settings, url=primary, password_file=self.settings.primary_password_file, primary=None)
        if not primary.startswith(("redis://", "rediss://")):
            raise ConfigError("datastore.primary: expected redis://host:port or rediss://host:port")
        try:
            return type(self)(settings)
        except ConfigError:
            raise ConfigError("datastore.primary: not a url") from None

    def is_up(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except DatastoreDown:
            return False
        except DatastoreRefused:
            return True
        return True

    def shut_down(self, timeout: float, stop: Stop) -> str:
        deadline = time.monotonic() + timeout
        with self.client() as client:
            server: dict[str, Any] = client.info("server")
            self._ask_to_shut_down(client, deadline, stop)
        while self._still_runs(server["run_id"]):
            self._check_patience(deadline, stop)
            stop.wait(LOOK_EVERY)
        return f"Redis at {self.address} (pid {server['process_id']}) has shut down"

    def _ask_to_shut_down(self, client: redis.Redis, deadline: float, stop: Stop) -> None:
        """Send SHUTDOWN and await the answer: an error, or the end of the connection.

        With neither option it saves where persistence is configured, and waits for its replicas. It
        is asked on a bare connection: a client takes its end for a fault.
        """
        connection: Any = client.connection_pool.make_connection()
        connection.connect()
        try:
            connection.send_command("SHUTDOWN")
            while not connection.can_read(timeout=LOOK_EVERY):
                self._check_patience(deadline, stop)
            connection.read_response()
        except _errors().ConnectionError:
            return
        finally:
            connection.disconnect()
        raise DatastoreRefused(f"Redis at {self.address} answered SHUTDOWN and did not shut down")

    def _check_patience(self, deadline: float, stop: Stop) -> None:
        """Raise where it is time to give up: what can be is called off then."""
        if stop.requested:
            self._call_off()
            raise DatastoreRefused(f"the shutdown of Redis at {self.address} was called off: {stop.reason}")
        if time.monotonic() > deadline:
            raise DatastoreUnreachable(f"Redis at {self.address} has not shut down in the time it has; it still may")

    def _call_off(self) -> None:
        """From Redis 7 on a shutdown that still waits for its replicas can be taken back."""
        with suppress(DatastoreError), self.client() as client:
            client.shutdown(abort=True)

    def _still_runs(self, run_id: str) -> bool:
        """Whether the server of this run answers; one that a supervisor has started since does not count."""
        try:
            with self.client() as client:
                now: dict[str, Any] = client.info("server")
        except DatastoreDown:
            return False
        except DatastoreUnreachable:
            return True  # on its way, or in doubt
        return bool(now["run_id"] == run_id)

    # Users

    def user_exists(self, name: str) -> bool:
        with self.client() as client:
            return redis_users.exists(client, name)

    def create_user(self, name: str, password: str, databases: Sequence[str], privileges: str) -> Json:
        with self.client() as client:
            return redis_users.create(client, name, password, databases, privileges)

    def delete_user(self, name: str, reassign_to: str | None = None) -> Json:
        with self.client() as client:
            return redis_users.delete(client, name)

    def keep_users(self) -> None:
        with self.client() as client:
            redis_users.keep(client)

    # Replication

    def role(self) -> Role:
        with self.client() as client:
            return redis_replication.role(redis_replication.look(client))

    def promote(self, stop: Stop, request: PromoteRequest = PROMOTE) -> Json:
        """Refused while a full copy of its primary comes in: what is there now is not what that had."""
        with self.client() as client:
            if redis_replication.is_copying(redis_replication.look(client)):
                raise DatastoreRefused(f"Redis at {self.address} is still copying its primary: its data is not whole")
            return redis_replication.follow_nobody(client)

    def plan_disable_replication(self) -> Plan:
        """Redis without replicas is where this action leads, so that it is done there at once."""
        with self.client() as client:
            info = redis_replication.look(client)
        if info["role"] != "slave" and not info["connected_slaves"]:
            return plan.nothing("this server follows no source already")
        return super().plan_disable_replication()

    def disable_replication(self, stop: Stop) -> Json:
        """It is writable then: Redis has no read-only but for replicas."""
        with self.client() as client:
            return redis_replication.follow_nobody(client)

    def resync(
        self, service: Supervisor | None, progress: Callable[[str], None], request: ResyncRequest = RESYNC
    ) -> Json:
        return Resync(self, service, progress).run()

    def is_dirty(self) -> bool:
        """Whether a full copy is on its way in, by its own word; one that is down copies anew when it starts."""
        try:
            with self.client() as client:
                return redis_replication.is_copying(redis_replication.look(client))
        except DatastoreError:
            return False

    # Connections

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A connection that tries everything once, and whose errors are ours."""
        errors = _errors()
        try:
            with closing(self._connect()) as client:
                yield client
        except (errors.AuthenticationError, errors.AuthorizationError, errors.BusyLoadingError) as error:
            raise DatastoreRefused(f"Redis at {self.address} refuses: {error}") from error
        except errors.ConnectionError as error:
            if self._nobody_listens(error):
                raise DatastoreDown(f"nothing listens at {self.address}") from error
            raise DatastoreUnreachable(f"Redis at {self.address} {self._why(error)}") from error
        except errors.TimeoutError as error:
            raise DatastoreUnreachable(f"Redis at {self.address} does not answer: {error}") from error
        except errors.RedisError as error:
            raise DatastoreRefused(f"Redis at {self.address} refuses: {error}") from error
        except UnicodeError:
            raise DatastoreRefused("half a surrogate pair is no text and cannot be sent to Redis") from None

    def _connect(self) -> redis.Redis:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        password = self.password()
        options: dict[str, Any] = {} if password is None else {"password": password}
        options |= {"socket_timeout": self.settings.timeout, "socket_connect_timeout": self.settings.timeout}
        try:
            client = redis.Redis.from_url(
                self.settings.url, protocol=2, decode_responses=True, retry=Retry(NoBackoff(), 0), **options
            )
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # which connects to nothing yet
        except (TypeError, ValueError) as error:
            named = [option for option in parse_qs(urlsplit(self.settings.url).query) if f"'{option}'" in str(error)]
            raise DatastoreRefused(
                f"the url of Redis at {self.address} is not understood: {' '.join(named) or 'its options'}"
            ) from None
        return client

    def _nobody_listens(self, error: BaseException) -> bool:
        """Whether a connection was refused, or its unix socket is not there."""
        cause = _cause(error)
        number = None if cause is None else cause.errno
        return number == errno.ECONNREFUSED or (number == errno.ENOENT and self.address.startswith("unix:"))

    def _why(self, error: BaseException) -> str:
        """What is wrong with its certificate, or our files for TLS; else the driver's words."""
        cause = _cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"is not trusted: {cause.verify_message.rstrip('.')} (its url names who is, by ssl_ca_certs)"
        if self.address.startswith("rediss:") and isinstance(cause, FileNotFoundError | PermissionError):
            return f"cannot be reached: a file that its url names for TLS: {cause.strerror}"
        return f"cannot be reached: {error}"


def _cause(error: BaseException) -> OSError | None:
    """The operating system's, or TLS's, error that the driver has wrapped."""
    cause = error.__cause__ or error.__context__
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _errors() -> Any:
    from redis import exceptions

    return exceptions
