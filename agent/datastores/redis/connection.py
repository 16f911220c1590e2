"""Connections to one Redis without retries; errors are translated and contain no secret."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from agent.datastores.base import DatastoreDown, DatastoreRefused, DatastoreUnreachable

if TYPE_CHECKING:
    import redis


@dataclass(frozen=True, slots=True)
class Login:
    """User and password. None: those of the URL; without either, the connection is not authenticated."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """URL and login of one server, with the timeout of an answer in seconds."""

    url: str = field(repr=False)
    timeout: float
    login: Callable[[], Login] = Login

    @property
    def address(self) -> str:
        """The URL without user, password and options, for messages."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client without retries. Raises `DatastoreError`s."""
        errors = exceptions()
        try:
            with closing(self._connect()) as client:
                yield client
        except (errors.AuthenticationError, errors.AuthorizationError, errors.BusyLoadingError) as error:
            raise DatastoreRefused(f"Redis at {self.address} refuses: {error}") from error
        except errors.ConnectionError as error:
            if self._nothing_listens(error):
                raise DatastoreDown(f"nothing listens at {self.address}") from error
            raise DatastoreUnreachable(f"Redis at {self.address} {self._why(error)}") from error
        except errors.TimeoutError as error:
            raise DatastoreUnreachable(f"Redis at {self.address} does not answer: {error}") from error
        except errors.RedisError as error:
            raise DatastoreRefused(f"Redis at {self.address} refuses: {error}") from error
        except UnicodeError:
            raise DatastoreRefused("an unpaired surrogate is not valid text and cannot be sent to Redis") from None

    def _connect(self) -> redis.Redis:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        login = self.login()
        options: dict[str, Any] = {"username": login.user, "password": login.password}
        options = {name: value for name, value in options.items() if value is not None}
        options |= {"socket_timeout": self.timeout, "socket_connect_timeout": self.timeout}
        try:
            client = redis.Redis.from_url(
                self.url, protocol=2, decode_responses=True, retry=Retry(NoBackoff(), 0), **options
            )
            pool = client.connection_pool
            pool.connection_class(**pool.connection_kwargs)  # does not connect yet
        except (TypeError, ValueError) as error:
            named = [option for option in parse_qs(urlsplit(self.url).query) if f"'{option}'" in str(error)]
            raise DatastoreRefused(
                f"the url of Redis at {self.address} is not understood: {' '.join(named) or 'its options'}"
            ) from None
        return client

    def _nothing_listens(self, error: BaseException) -> bool:
        """Whether the connection was refused, or the unix socket does not exist."""
        cause = _cause(error)
        number = None if cause is None else cause.errno
        return number == errno.ECONNREFUSED or (number == errno.ENOENT and self.address.startswith("unix:"))

    def _why(self, error: BaseException) -> str:
        """The error about the server's certificate or the TLS files; otherwise the driver's message."""
        cause = _cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"is not trusted: {cause.verify_message.rstrip('.')} (set ssl_ca_certs in its url)"
        if self.address.startswith("rediss:") and isinstance(cause, FileNotFoundError | PermissionError):
            return f"cannot be reached: a TLS file in its url: {cause.strerror}"
        return f"cannot be reached: {error}"


def _cause(error: BaseException) -> OSError | None:
    """The operating system's or TLS error that the driver has wrapped."""
    cause = error.__cause__ or error.__context__
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause


def exceptions() -> Any:
    """The driver's exceptions; the driver is imported only when used."""
    from redis import exceptions as errors

    return errors
