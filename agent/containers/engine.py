"""Client for the API of this host's container engine, Docker or podman: status, restart, pause."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from agent.config.host import Containers
from agent.containers.container_events import ContainerEvents
from agent.util.repeated_reads import repeated
from agent.util.stop import Stop

ONE_OFF = "com.docker.compose.oneoff"
"""Compose's label of a container of `compose run`: a task, not one of the service's containers."""
SHORT_ID = 12
"""Digits of a shortened id. Fewer digits might be the name of a removed container: `db`, `cafe`."""
BROKEN = (ConnectionError, FileNotFoundError, HTTPException)
"""Errors during a restart of the engine, also after it has accepted the connection."""
NO_ANSWER = "did not answer within {:g} s; the request may still take effect"

Answer = TypeVar("Answer")


class EngineMissing(Exception):
    """The Python package for engines is not installed; the message says how to install it."""


class EngineFailed(Exception):
    """The engine was not reached or refused the request; the message is a sentence."""


class EngineLost(EngineFailed):
    """The engine cannot be reached, or the connection broke before its answer: it may be restarting."""


class EngineUnclear(EngineFailed):
    """The engine answered with a server error: it refuses the request, or is being stopped."""


class NoContainer(EngineFailed):
    """There is no such container."""


@dataclass(frozen=True, slots=True)
class Container:
    """Status of a container. `started` changes with every start and so shows a restart.

    `status` is as the engine reports it: `running`, `paused`, `restarting`, `exited` …; `health` is empty
    without a health check, else `starting`, `healthy` or `unhealthy`. `pid` is its main process on the
    engine's host, 0 for none.
    """

    id: str
    name: str
    status: str
    up: bool
    started: str
    exit_code: int
    health: str
    pid: int = 0

    @property
    def message(self) -> str:
        """`running`, `running (starting)`, `exited with exit code 3`."""
        if self.status not in ("running", "paused"):
            return f"{self.status} with exit code {self.exit_code}"
        return f"{self.status} ({self.health})" if self.health else self.status


class ContainerEngine:
    """A connection to the engine, as a context manager. All calls raise `EngineFailed`.

    With `stop`, reads are repeated during a restart of the engine. `was_lost`: the engine was unreachable once.
    """

    def __init__(self, options: Containers, stop: Stop | None = None) -> None:
        self.stop_timeout = options.stop_timeout
        self.was_lost = False
        self._stop = stop
        self._options = options
        self._client: Any = None

    def __enter__(self) -> Self:
        from docker import APIClient

        url, timeout = self._options.engine, self._options.timeout
        version = self._read(lambda: _version(url, timeout))
        self._client = self._call(lambda: APIClient(base_url=url, version=version, timeout=timeout))
        self._client.trust_env = False  # no proxy of the environment between the agent and the engine
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find(self, wanted: str) -> Container:
        """The container with this name or id, full or of `SHORT_ID` digits. Raises `NoContainer`."""
        listed = self._call(lambda: self._client.containers(all=True))
        found = [each["Id"] for each in listed if wanted in (each["Id"], each["Id"][:SHORT_ID], _name(each))]
        if len(found) != 1:
            raise NoContainer(f"there is no container {wanted}")
        return self.look(found[0])

    def of_service(self, service: str) -> dict[str, str]:
        """The ids of the service's containers by name, sorted by name; stopped containers included."""
        label = {"label": [f"{self._options.label}={service}"]}
        listed = self._call(lambda: self._client.containers(all=True, filters=label))
        lasting = [each for each in listed if (each["Labels"] or {}).get(ONE_OFF) != "True"]
        return dict(sorted((_name(each), each["Id"]) for each in lasting))

    def services(self) -> list[str]:
        """The sorted names of all services with containers."""
        label = self._options.label
        listed = self._call(lambda: self._client.containers(all=True, filters={"label": [label]}))
        lasting = [each["Labels"] for each in listed if (each["Labels"] or {}).get(ONE_OFF) != "True"]
        return sorted({name for labels in lasting if (name := labels.get(label))})

    def look(self, id: str) -> Container:
        """The current status of the container with this full id; full ids are never reused."""
        shown = self._read(lambda: self._client.inspect_container(id), missing=f"the container {id[:SHORT_ID]} is gone")
        state = shown["State"]
        return Container(
            id=shown["Id"],
            name=shown["Name"].lstrip("/"),
            status=state["Status"],
            up=bool(state["Running"] or state["Paused"] or state["Restarting"]),
            started=state["StartedAt"],
            exit_code=state["ExitCode"],
            health=_health(state),
            pid=int(state.get("Pid") or 0),
        )

    def changes(self, id: str) -> ContainerEvents:
        """The events of a container from now on. The caller closes them."""
        try:
            connection = _connected(self._options.engine, self._options.timeout)
        except OSError:
            connection = None  # the next look reports the error
        return ContainerEvents(connection, id)

    def restart(self, id: str) -> None:
        """Restart it, or start it if it does not run. Returns once it has been started.

        Waits for the container to stop, at most `stop_timeout`.
        """
        allowed = self._options.timeout + self.stop_timeout
        self._call(lambda: self._client.restart(id, timeout=self.stop_timeout), allowed=allowed)

    def pause(self, id: str) -> None:
        """Freeze all its processes."""
        self._call(lambda: self._client.pause(id))

    def unpause(self, id: str) -> None:
        """Thaw all its processes."""
        self._call(lambda: self._client.unpause(id))

    def _read(self, ask: Callable[[], Answer], *, missing: str = "") -> Answer:
        def read() -> Answer:
            self._call(self._reach)
            return self._call(ask, missing=missing)

        if self._stop is None:
            return self._call(ask, missing=missing)
        return repeated(read, (EngineLost, EngineUnclear), self._stop)

    def _reach(self) -> None:
        """Raises `OSError` if no engine listens: the docker package would then leave a socket open."""
        if connection := _connected(self._options.engine, self._options.timeout):
            connection.close()

    def _call(self, ask: Callable[[], Answer], *, missing: str = "", allowed: float | None = None) -> Answer:
        """The engine's answer. `missing` is the message for its status 404."""
        from docker.errors import APIError, DockerException, NotFound
        from requests.exceptions import RequestException

        try:
            return ask()
        except NotFound as error:
            raise (NoContainer(missing) if missing else EngineFailed(_refusal(error))) from error
        except APIError as error:
            raise (EngineUnclear if error.is_server_error() else EngineFailed)(_refusal(error)) from error
        except (DockerException, RequestException, HTTPException, OSError) as error:
            why = _reason(error, self._options.timeout if allowed is None else allowed)
            failure = EngineLost if _is_lost(error) else EngineFailed
            self.was_lost |= failure is EngineLost
            raise failure(f"the engine at {self._options.engine} (containers.engine) {why}") from error


def require_package() -> None:
    """Raises `EngineMissing` without the docker package, which is imported only where it is used."""
    if find_spec("docker") is None:
        raise EngineMissing("the Python package docker is not installed: install the agent with its extra [containers]")


def _version(url: str, timeout: float) -> str | None:
    """The version of the engine's API; None leaves it to the docker package. Raises `OSError`, `HTTPException`.

    The package would leave a socket open if no engine listens, and send a request that takes podman a second.
    """
    connection = _connected(url, timeout)
    if connection is None:
        return None
    with connection, closing(HTTPConnection("localhost")) as engine:
        engine.sock = connection
        engine.request("GET", "/_ping")
        with engine.getresponse() as answer:
            return answer.getheader("Api-Version")


def _connected(url: str, timeout: float) -> socket.socket | None:
    """A connection to its unix socket or port; None leaves errors of the address to the docker package."""
    scheme, _, path = url.partition("://")
    if scheme == "tcp" and (port := urlsplit(url).port):
        return socket.create_connection((urlsplit(url).hostname, port), timeout)
    if scheme != "unix":
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _name(listed: dict[str, Any]) -> str:
    """Its own name. Aliases by links from other containers contain a second slash."""
    names = [name.lstrip("/") for name in listed["Names"] or () if name.count("/") <= 1]
    return names[0] if names else str(listed["Id"])


def _health(state: dict[str, Any]) -> str:
    status = (state.get("Health") or {}).get("Status") or ""
    return "" if status == "none" else str(status)


def _refusal(error: Any) -> str:
    return f"the engine refused: {str(error.explanation or error).strip()}"


def _reason(error: BaseException, allowed: float) -> str:
    """The cause of a missing answer, in a few words: the libraries wrap it in several exceptions."""
    for each in _layers(error):
        if isinstance(each, TimeoutError) or "timed out" in str(each):
            return NO_ANSWER.format(allowed)
        if isinstance(each, OSError) and each.strerror:
            return f"cannot be reached: {each.strerror}"
    return f"cannot be queried: {error}"


def _is_lost(error: BaseException) -> bool:
    """Whether the connection broke or was refused. A timeout or a permanent error is not lost."""
    causes = [each for each in _layers(error) if isinstance(each, OSError | HTTPException)]
    return any(isinstance(each, BROKEN) for each in causes)


def _layers(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, the innermost first."""
    for inner in (*error.args, error.__cause__, error.__context__):
        if isinstance(inner, BaseException):
            yield from _layers(inner)
    yield error
