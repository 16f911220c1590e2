"""The options of what else runs on the host: units, applications, containers, processes, caches, maintenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from agent.config import validators
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
        "Reboots this host; without it there is no `stack_reboot`.",
        '["systemctl", "--no-ask-password", "reboot"]',
    )
    reboot_timeout: float = option(300.0, validators.positive_number, "Seconds in which a reboot must have begun.")
    timeout: float = option(60.0, validators.positive_number, "Seconds in which a unit must be up again, or paused.")


@dataclass(frozen=True)
class Application:
    """An application that `deploy` deploys, by its name."""

    repository: str = required(
        validators.repository,
        "Where git fetches it from, branches and tags; neither submodules nor Git LFS.",
        '"https://git.example.com/shop.git"',
    )
    path: Path = required(
        validators.absolute_path, "Where its releases lie, and `current`, the link to the one in use.", '"/srv/shop"'
    )
    ref: str = option(
        "main", validators.git_ref, "What is deployed unless the caller says: a branch, a tag or a commit."
    )
    services: tuple[str, ...] = option(
        (),
        validators.units,
        "The units that run it, restarted after the switch.",
        '["shop@1.service", "shop@2.service"]',
    )
    strategy: str = option(
        "rolling", validators.one_of("rolling", "parallel", "none"), "How they are restarted unless the caller says."
    )
    before: tuple[tuple[str, ...], ...] = option(
        (), validators.commands, "Commands run in the new release before the switch.", '[["/usr/bin/make", "build"]]'
    )
    after: tuple[tuple[str, ...], ...] = option(
        (), validators.commands, "Commands run in the new release once its units are up.", '[["/usr/bin/make", "warm"]]'
    )
    health: tuple[str, ...] = option(
        (),
        validators.command,
        "Succeeds once the unit that $AGENT_UNIT names is healthy; tried until it does.",
        '["/usr/local/bin/shop-is-healthy"]',
    )
    health_timeout: float = option(
        60.0, validators.positive_number, "Seconds in which a restarted unit must be up and healthy."
    )
    timeout: float = option(600.0, validators.positive_number, "Seconds that git, and each command, may take.")
    keep: int = option(5, validators.positive_integer, "How many releases are kept.")
    ssh_key: Path | None = option(
        None, validators.secret_file, "The private key for the repository.", '"credential:shop-key"'
    )
    known_hosts: Path | None = option(
        None,
        validators.known_hosts,
        "The hosts that ssh knows, in place of those that the agent's user does.",
        '"/etc/agent/known_hosts"',
    )
    credentials: Path | None = option(
        None,
        validators.secret_file,
        "User and password for the repository, a line of git's credential store.",
        '"credential:shop-git"',
    )
    hook_secret: Path | None = option(
        None,
        validators.secret_file,
        "A file with the secret that hooks are signed with; without it there is no hook.",
        '"credential:shop-hook"',
    )
    hook_refs: tuple[str, ...] = option(
        ("refs/heads/main",), validators.texts, "Which refs a hook deploys, as globs; a push to another is ignored."
    )


@dataclass(frozen=True)
class Cache:
    """A cache that `clear_caches` clears, by its name."""

    kind: str = required(
        validators.one_of("redis", "memcached", "folder"), "What it is; redis is Valkey too.", '"redis"'
    )
    url: str | None = option(
        None, validators.text, "Where it listens, for redis and memcached.", '"unix:///run/redis/cache.sock"'
    )
    databases: tuple[int, ...] = option((0,), validators.naturals, "The databases that are cleared, for redis.")
    password_file: Path | None = option(
        None, validators.secret_file, "A file that holds the password alone, for redis.", '"credential:cache"'
    )
    path: Path | None = option(
        None, validators.absolute_path, "The folder; it stays, what is in it goes.", '"/var/cache/shop"'
    )
    timeout: float = option(30.0, validators.positive_number, "Seconds that one command to it may take.")

    def __post_init__(self) -> None:
        needed, check = CACHES[self.kind]
        if (value := getattr(self, needed)) is None:
            raise Mistake(f'a value, as kind is "{self.kind}"', NOTHING, at=needed)
        with inside(needed):
            check(value)


CACHES: Mapping[str, tuple[str, validators.Check]] = {
    "redis": ("url", validators.server_url("redis", "rediss", "unix")),
    "memcached": ("url", validators.server_url("memcached", "unix")),
    "folder": ("path", validators.folder),
}
"""What a cache of each kind must have, and how that must look."""


@dataclass(frozen=True)
class Maintenance:
    """What `maintenance_mode` does."""

    flag: Path | None = option(
        None,
        validators.absolute_path,
        "The file that is there while it is on; beside agent.db unless set. Below /run a reboot would remove it.",
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
        "Kinds that wait in the queue while it is on, as globs; never maintenance_mode itself.",
        '["database_*", "deploy"]',
    )
    timeout: float = option(60.0, validators.positive_number, "Seconds that each command may take.")


@dataclass(frozen=True)
class Containers:
    """The container engine of this host, Docker or podman."""

    engine: str = option(
        "unix:///run/docker.sock",
        validators.server_url("unix", "tcp"),
        "Where its API listens; through tcp://127.0.0.1:PORT, which is never encrypted, everybody on the host is root.",
    )
    label: str = option(
        "com.docker.compose.service", validators.text, "The label of a container that names the service it belongs to."
    )
    stop_timeout: int = option(10, validators.natural, "Seconds that a container gets to end before it is killed.")
    timeout: float = option(
        60.0, validators.positive_number, "Seconds that one call to the engine may take beyond that."
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
        "Holds the pid of the process that leads the group, where there is no unit.",
        '"/run/worker.pid"',
    )
    restart: tuple[str, ...] = option(
        (), validators.command, "Restarts it, for a pid file.", '["/etc/init.d/worker", "restart"]'
    )
    timeout: float = option(60.0, validators.positive_number, "Seconds in which it must be up again, or paused.")

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
        validators.urls, "Where each is sent as an AsyncAction.", '["https://orchestrator.example.com/actions"]'
    )
    events: tuple[str, ...] = option(
        ("action.final",),
        validators.globs_of(EVENTS),
        f"Which events are sent, * allowed: {', '.join(EVENTS)}.",
    )
    secret: Path | None = option(
        None, validators.secret_file, "A file with the secret that they are signed with.", '"credential:callbacks"'
    )
    previous_secret: Path | None = option(
        None,
        validators.secret_file,
        "A file with the former secret while receivers change to the new one: webhook-signature has both signatures.",
        '"credential:callbacks-previous"',
    )
    timeout: float = option(10.0, validators.positive_number, "Seconds that a receiver gets to answer.")
    keep: float = option(86400.0, validators.positive_number, "Seconds that one which cannot be delivered is retried.")

    def __post_init__(self) -> None:
        if self.previous_secret is not None and self.secret is None:
            raise Mistake("a value, as previous_secret is set", NOTHING, at="secret")

    @property
    def names(self) -> tuple[str, ...]:
        """The events by their names."""
        return tuple(event for event in EVENTS if any(fnmatchcase(event, glob) for glob in self.events))
