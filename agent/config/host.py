"""The options of what else runs on the host: units, applications, containers, processes, caches, maintenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from agent.config import addresses, git_names, validators
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
class Application:
    """An application that `deploy` deploys, by its name."""

    repository: str = required(
        git_names.repository,
        "The git repository, for its branches and tags; submodules and Git LFS are not supported.",
        '"https://git.example.com/shop.git"',
    )
    path: Path = required(
        validators.absolute_path,
        "The folder of the releases and of `current`, the link to the release in use.",
        '"/srv/shop"',
    )
    ref: str = option("main", git_names.git_ref, "The default branch, tag or commit to deploy.")
    services: tuple[str, ...] = option(
        (),
        validators.units,
        "The units of the application, restarted after the switch.",
        '["shop@1.service", "shop@2.service"]',
    )
    strategy: str = option(
        "rolling", validators.one_of("rolling", "parallel", "none"), "How the units are restarted by default."
    )
    before: tuple[tuple[str, ...], ...] = option(
        (), validators.commands, "Commands to run in the new release before the switch.", '[["/usr/bin/make", "build"]]'
    )
    after: tuple[tuple[str, ...], ...] = option(
        (),
        validators.commands,
        "Commands to run in the new release when its units are up.",
        '[["/usr/bin/make", "warm"]]',
    )
    health: tuple[str, ...] = option(
        (),
        validators.command,
        "A command that succeeds when the unit $AGENT_UNIT is healthy; repeated until it succeeds.",
        '["/usr/local/bin/shop-is-healthy"]',
    )
    health_timeout: float = option(
        60.0, validators.positive_number, "Seconds in which a restarted unit must be up and healthy."
    )
    timeout: float = option(600.0, validators.positive_number, "Timeout of git and of each command, in seconds.")
    keep: int = option(5, validators.positive_integer, "How many releases are kept.")
    ssh_key: Path | None = option(
        None, validators.secret_file, "The private key for the repository.", '"credential:shop-key"'
    )
    known_hosts: Path | None = option(
        None,
        validators.known_hosts,
        "The host keys for ssh, in place of those of the agent's user.",
        '"/etc/agent/known_hosts"',
    )
    credentials: Path | None = option(
        None,
        validators.secret_file,
        "User and password for the repository, as a line of git's credential store.",
        '"credential:shop-git"',
    )
    hook_secret: Path | None = option(
        None,
        validators.secret_file,
        "A file with the secret that signs hooks; without it the application has no hook.",
        '"credential:shop-hook"',
    )
    hook_refs: tuple[str, ...] = option(
        ("refs/heads/main",),
        validators.texts,
        "Globs of the refs that a hook deploys; pushes to other refs are ignored.",
    )


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
"""What a cache of each kind must have, and how that must look."""


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
    """A group of processes for `process_*`, by its name: a unit, or what a pid file names."""

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


EVENTS = (
    "action.scheduled",
    "action.held",
    "action.approved",
    "action.started",
    "action.cancel_requested",
    "action.final",
)
"""The events of an action that receivers may get, as the audit trail names them."""


@dataclass(frozen=True)
class Callbacks:
    """The receivers of callbacks: each gets the events of all actions."""

    urls: tuple[str, ...] = required(
        addresses.receivers,
        "The receivers; each callback is an AsyncAction.",
        '["https://orchestrator.example.com/actions"]',
    )
    events: tuple[str, ...] = option(
        ("action.final",),
        validators.globs_of(EVENTS),
        f"Which events are sent, * allowed: {', '.join(EVENTS)}.",
    )
    secret: Path | None = option(
        None, validators.secret_file, "A file with the secret that signs the callbacks.", '"credential:callbacks"'
    )
    previous_secret: Path | None = option(
        None,
        validators.secret_file,
        "A file with the previous secret while receivers change to the new one: webhook-signature then has both "
        "signatures.",
        '"credential:callbacks-previous"',
    )
    timeout: float = option(10.0, validators.positive_number, "Timeout of one delivery, in seconds.")
    keep: float = option(
        86400.0, validators.positive_number, "Seconds that an undelivered callback is retried before it is dropped."
    )

    def __post_init__(self) -> None:
        if self.previous_secret is not None and self.secret is None:
            raise Mistake("a value, as previous_secret is set", NOTHING, at="secret")

    @property
    def names(self) -> tuple[str, ...]:
        """The events by their names."""
        return tuple(event for event in EVENTS if any(fnmatchcase(event, glob) for glob in self.events))
