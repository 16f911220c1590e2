"""The options of everything else on the host: units, containers, processes, caches, maintenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.config import addresses, validators
from agent.config.mistakes import NOTHING, Mistake, inside
from agent.config.option import option, required


@dataclass(frozen=True)
class Host:
    """This host as a whole."""

    services: tuple[str, ...] = option(
        (), validators.units, "The units that `restart` restarts, in this order.", '["postgresql@15-main.service"]'
    )
    reboot: tuple[str, ...] = option(
        (),
        validators.command,
        "Reboots this host; without it `stack_reboot` is not offered.",
        '["systemctl", "--no-ask-password", "reboot"]',
    )
    reboot_timeout: float = option(300.0, validators.positive_number, "Seconds in which the reboot must begin.")
    timeout: float = option(60.0, validators.positive_number, "Seconds in which a unit must be up again, or paused.")


@dataclass(frozen=True)
class CacheSettings:
    """A cache that `clear_caches` clears, by its name."""

    kind: str = required(
        validators.one_of("redis", "memcached", "folder"), "The cache server; redis includes Valkey.", '"redis"'
    )
    url: str | None = option(
        None, validators.text, "For redis and memcached: the address.", '"unix:///run/redis/cache.sock"'
    )
    databases: tuple[int, ...] = option((0,), validators.naturals, "For redis: the databases to clear.")
    password_file: Path | None = option(
        None, validators.secret_file, "For redis: a file with only the password.", '"credential:cache"'
    )
    path: Path | None = option(
        None,
        validators.absolute_path,
        "For folder: the folder; its content is deleted, the folder stays.",
        '"/var/cache/shop"',
    )
    timeout: float = option(30.0, validators.positive_number, "Timeout of one command to the cache, in seconds.")

    def __post_init__(self) -> None:
        needed, check = CACHES[self.kind]
        if (value := getattr(self, needed)) is None:
            raise Mistake(f'a value, as kind is "{self.kind}"', NOTHING, at=needed)
        with inside(needed):
            check(value)


CACHES: Mapping[str, tuple[str, validators.Check]] = {
    "redis": ("url", addresses.server_url("redis", "rediss", "unix")),
    "memcached": ("url", addresses.server_url("memcached", "unix")),
    "folder": ("path", validators.folder),
}
"""The option that a cache of each kind needs, and the check of its value."""


@dataclass(frozen=True)
class Maintenance:
    """What `maintenance_mode` does."""

    flag: Path | None = option(
        None,
        validators.absolute_path,
        "The file that exists while maintenance mode is on; default: beside agent.db. A reboot removes a file below "
        "/run.",
        '"/srv/503"',
    )
    on: tuple[tuple[str, ...], ...] = option(
        (), validators.commands, "Commands that turn it on.", '[["/usr/local/bin/balancer", "drain"]]'
    )
    off: tuple[tuple[str, ...], ...] = option(
        (), validators.commands, "Commands that turn it off.", '[["/usr/local/bin/balancer", "undrain"]]'
    )
    holds: tuple[str, ...] = option(
        (),
        validators.texts,
        "Globs of the kinds that are held while maintenance mode is on; never maintenance_mode itself.",
        '["database_*", "deploy"]',
    )
    timeout: float = option(60.0, validators.positive_number, "Timeout of each command, in seconds.")


@dataclass(frozen=True)
class Containers:
    """The container engine of this host, Docker or podman."""

    engine: str = option(
        "unix:///run/docker.sock",
        addresses.server_url("unix", "tcp"),
        "The address of its API. tcp://127.0.0.1:PORT is not encrypted and makes every user of the host root.",
    )
    label: str = option(
        "com.docker.compose.service", validators.text, "The label of a container with the name of its service."
    )
    stop_timeout: int = option(10, validators.natural, "Seconds that a container has to end before it is killed.")
    timeout: float = option(
        60.0, validators.positive_number, "Timeout of one call to the engine, in seconds, in addition to stop_timeout."
    )


@dataclass(frozen=True)
class NamedService:
    """A service that is a systemd unit and no containers, for `service_*`, by its name."""

    unit: str = required(validators.unit, "The unit.", '"web.service"')


@dataclass(frozen=True)
class NamedProcess:
    """A group of processes for `process_*`, by its name: a unit, or the process group of a pid file."""

    unit: str | None = option(None, validators.unit, "The unit.", '"worker.service"')
    pid_file: Path | None = option(
        None,
        validators.absolute_path,
        "Without a unit: a file with the pid of the leader of the process group.",
        '"/run/worker.pid"',
    )
    restart: tuple[str, ...] = option(
        (), validators.command, "For a pid file: restarts the processes.", '["/etc/init.d/worker", "restart"]'
    )
    timeout: float = option(
        60.0, validators.positive_number, "Seconds in which the processes must be up again, or paused."
    )

    def __post_init__(self) -> None:
        if self.unit is None and self.pid_file is None:
            raise Mistake("a value, or else pid_file", NOTHING, at="unit")
