"""The container engine of this host, Docker or podman, through its API: how containers stand, restart, pause."""

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
"""Compose's label of what `run` started beside the service: a task, not one of its containers."""
SHORT_ID = 12
"""Digits of an id that stand for it. Fewer might be the name of a container that is gone: `db`, `cafe`."""
BROKEN = (ConnectionError, FileNotFoundError, HTTPException)
"""What an engine that is being restarted causes, also where it has accepted the connection."""
NO_ANSWER = "did not answer within {:g} s; the request may still take effect"

Answer = TypeVar("Answer")


class EngineMissing(Exception):
    """The Python package for engines is not installed; the message says how to install it."""


class EngineFailed(Exception):
    """The engine could not be asked or refused; the message is a sentence."""


class EngineLost(EngineFailed):
    """The engine cannot be reached, or the connection broke before its answer: it may be restarting."""


class EngineUnclear(EngineFailed):
    """The engine failed with the request: it refuses it, or is being stopped."""


class NoContainer(EngineFailed):
    """There is no such container."""


@dataclass(frozen=True, slots=True)
class Container:
    """How a container stands. `started` changes with every start and so shows a restart.

    `status` is the engine's word: `running`, `paused`, `restarting`, `exited` …; `health` is empty
    where the image has no health check, else `starting`, `healthy` or `unhealthy`. `pid` is its main
    process on the engine's host, 0 for none.
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
    """A conversation with the engine, closed with its `with` block. All calls raise `EngineFailed`.

    With `stop`, reads are repeated until an engine that is being restarted answers again; `was_lost` is then true.
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
        self._client = self._asked(lambda: APIClient(base_url=url, version=version, timeout=timeout))
        self._client.trust_env = False  # an engine is asked directly, whatever proxy the environment names
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find(self, wanted: str) -> Container:
        """The container of this name or id, whole or as short as engines show it."""
        listed = self._asked(lambda: self._client.containers(all=True))
        found = [each["Id"] for each in listed if wanted in (each["Id"], each["Id"][:SHORT_ID], _name(each))]
        if len(found) != 1:
            raise NoContainer(f"there is no container {wanted}")
        return self.look(found[0])

    def of_service(self, service: str) -> dict[str, str]:
        """The ids of its containers by their names, in the order of these; also of those that do not run."""
        label = {"label": [f"{self._options.label}={service}"]}
        listed = self._asked(lambda: self._client.containers(all=True, filters=label))
        lasting = [each for each in listed if (each["Labels"] or {}).get(ONE_OFF) != "True"]
        return dict(sorted((_name(each), each["Id"]) for each in lasting))

    def services(self) -> list[str]:
        """The names of all services that have containers, in order."""
        label = self._options.label
        listed = self._asked(lambda: self._client.containers(all=True, filters={"label": [label]}))
        lasting = [each["Labels"] for each in listed if (each["Labels"] or {}).get(ONE_OFF) != "True"]
        return sorted({name for labels in lasting if (name := labels.get(label))})

    def look(self, id: str) -> Container:
        """How it stands now, by its full id, which no other container ever has."""
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
        """The events of a container from now on, to be closed by the caller."""
        try:
            connection = _connected(self._options.engine, self._options.timeout)
        except OSError:
            connection = None  # the next look says why
        return ContainerEvents(connection, id)

    def restart(self, id: str) -> None:
        """Restart it, or start it where it does not run; it has begun when this returns.

        Takes as long as the container takes to end, at most `stop_timeout`.
        """
        allowed = self._options.timeout + self.stop_timeout
        self._asked(lambda: self._client.restart(id, timeout=self.stop_timeout), allowed=allowed)

    def pause(self, id: str) -> None:
        """Freeze all its processes."""
        self._asked(lambda: self._client.pause(id))

    def unpause(self, id: str) -> None:
        """Let them go on."""
        self._asked(lambda: self._client.unpause(id))

    def _read(self, ask: Callable[[], Answer], *, missing: str = "") -> Answer:
        def read() -> Answer:
            self._asked(self._reach)
            return self._asked(ask, missing=missing)

        if self._stop is None:
            return self._asked(ask, missing=missing)
        return repeated(read, (EngineLost, EngineUnclear), self._stop)

    def _reach(self) -> None:
        """Raises `OSError` where no engine listens: the package would leave a socket open."""
        if connection := _connected(self._options.engine, self._options.timeout):
            connection.close()

    def _asked(self, ask: Callable[[], Answer], *, missing: str = "", allowed: float | None = None) -> Answer:
        """What the engine answers. `missing` is what its 404 means."""
        from docker.errors import APIError, DockerException, NotFound
        from requests.exceptions import RequestException

        try:
            return ask()
        except NotFound as error:
            raise (NoContainer(missing) if missing else EngineFailed(_said(error))) from error
        except APIError as error:
            raise (EngineUnclear if error.is_server_error() else EngineFailed)(_said(error)) from error
        except (DockerException, RequestException, HTTPException, OSError) as error:
            why = _reason(error, self._options.timeout if allowed is None else allowed)
            failure = EngineLost if _is_lost(error) else EngineFailed
            self.was_lost |= failure is EngineLost
            raise failure(f"the engine at {self._options.engine} (containers.engine) {why}") from error


def require_package() -> None:
    """Raises `EngineMissing` without the package that speaks to engines, which is imported where it is used."""
    if find_spec("docker") is None:
        raise EngineMissing("the Python package docker is not installed: install the agent with its extra [containers]")


def _version(url: str, timeout: float) -> str | None:
    """What the engine speaks; None where the package is to find out. Raises `OSError`, `HTTPException`.

    The package would leave a socket open where no engine listens, and ask for facts that take podman a second.
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
    """A connection to its unix socket or its port; None where the package is to say what is wrong with the address."""
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
    """Its own name: what other containers call it by links has another slash."""
    names = [name.lstrip("/") for name in listed["Names"] or () if name.count("/") <= 1]
    return names[0] if names else str(listed["Id"])


def _health(state: dict[str, Any]) -> str:
    status = (state.get("Health") or {}).get("Status") or ""
    return "" if status == "none" else str(status)


def _said(error: Any) -> str:
    said = str(error.explanation or error).strip()
    return f"the engine refused: {said}"


def _reason(error: BaseException, allowed: float) -> str:
    """Why there was no answer, in a few words: the libraries wrap it in layers of their own."""
    for each in _layers(error):
        if isinstance(each, TimeoutError) or "timed out" in str(each):
            return NO_ANSWER.format(allowed)
        if isinstance(each, OSError) and each.strerror:
            return f"cannot be reached: {each.strerror}"
    return f"cannot be queried: {error}"


def _is_lost(error: BaseException) -> bool:
    """Whether the connection broke or was refused: no timeout, and nothing that another try would meet again."""
    causes = [each for each in _layers(error) if isinstance(each, OSError | HTTPException)]
    return any(isinstance(each, BROKEN) for each in causes)


def _layers(error: BaseException) -> Iterator[BaseException]:
    """The innermost cause first."""
    for inner in (*error.args, error.__cause__, error.__context__):
        if isinstance(inner, BaseException):
            yield from _layers(inner)
    yield error
