"""The options of what else runs on the host: units, applications, containers, processes, caches, maintenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent import checks
from agent.checks import Wrong
from agent.config.option import option, required


@dataclass(frozen=True)
class Host:
    """This host as a whole."""

    services: tuple[str, ...] = option(
        (), checks.units, "The units that `restart` restarts, in this order.", '["postgresql@15-main.service"]'
    )
    reboot: tuple[str, ...] = option(
        (),
        checks.command,
        "Reboots this host; without it there is no `stack_reboot`.",
        '["systemctl", "--no-ask-password", "reboot"]',
    )
    reboot_timeout: float = option(300.0, checks.positive_number, "Seconds in which a reboot must have begun.")
    timeout: float = option(60.0, checks.positive_number, "Seconds in which a unit must be up again, or paused.")


@dataclass(frozen=True)
class Application:
    """An application that `deploy` deploys, by its name."""

    repository: str = required(
        checks.repository,
        "Where git fetches it from, branches and tags; neither submodules nor Git LFS.",
        '"https://git.example.com/shop.git"',
    )
    path: Path = required(
        checks.absolute_path, "Where its releases lie, and `current`, the link to the one in use.", '"/srv/shop"'
    )
    ref: str = option("main", checks.git_ref, "What is deployed unless the caller says: a branch, a tag or a commit.")
    services: tuple[str, ...] = option(
        (), checks.units, "The units that run it, restarted after the switch.", '["shop@1.service", "shop@2.service"]'
    )
    strategy: str = option(
        "rolling", checks.one_of("rolling", "parallel", "none"), "How they are restarted unless the caller says."
    )
    before: tuple[tuple[str, ...], ...] = option(
        (), checks.commands, "Commands run in the new release before the switch.", '[["/usr/bin/make", "build"]]'
    )
    after: tuple[tuple[str, ...], ...] = option(
        (), checks.commands, "Commands run in the new release once its units are up.", '[["/usr/bin/make", "warm"]]'
    )
    health: tuple[str, ...] = option(
        (),
        checks.command,
        "Succeeds once the unit that $AGENT_UNIT names is healthy; tried until it does.",
        '["/usr/local/bin/shop-is-healthy"]',
    )
    health_timeout: float = option(
        60.0, checks.positive_number, "Seconds in which a restarted unit must be up and healthy."
    )
    timeout: float = option(600.0, checks.positive_number, "Seconds that git, and each command, may take.")
    keep: int = option(5, checks.positive_integer, "How many releases are kept.")
    ssh_key: Path | None = option(
        None, checks.secret_file, "The private key for the repository.", '"credential:shop-key"'
    )
    known_hosts: Path | None = option(
        None,
        checks.known_hosts,
        "The hosts that ssh knows, in place of those that the agent's user does.",
        '"/etc/agent/known_hosts"',
    )
    credentials: Path | None = option(
        None,
        checks.secret_file,
        "User and password for the repository, a line of git's credential store.",
        '"credential:shop-git"',
    )
    hook_secret: Path | None = option(
        None,
        checks.secret_file,
        "A file with the secret that hooks are signed with; without it there is no hook.",
        '"credential:shop-hook"',
    )
    hook_refs: tuple[str, ...] = option(
        ("refs/heads/main",), checks.texts, "Which refs a hook deploys, as globs; a push to another is ignored."
    )


@dataclass(frozen=True)
class Cache:
    """A cache that `clear_caches` clears, by its name."""

    kind: str = required(checks.one_of("redis", "memcached", "folder"), "What it is; redis is Valkey too.", '"redis"')
    url: str | None = option(
        None, checks.text, "Where it listens, for redis and memcached.", '"unix:///run/redis/cache.sock"'
    )
    databases: tuple[int, ...] = option((0,), checks.naturals, "The databases that are cleared, for redis.")
    password_file: Path | None = option(
        None, checks.secret_file, "A file that holds the password alone, for redis.", '"credential:cache"'
    )
    path: Path | None = option(
        None, checks.absolute_path, "The folder; it stays, what is in it goes.", '"/var/cache/shop"'
    )
    timeout: float = option(30.0, checks.positive_number, "Seconds that one command to it may take.")

    def __post_init__(self) -> None:
        needed, check = CACHES[self.kind]
        if (value := getattr(self, needed)) is None:
            raise Wrong(f'a value, as kind is "{self.kind}"', checks.NOTHING, at=needed)
        with checks.inside(needed):
            check(value)


CACHES: Mapping[str, tuple[str, checks.Check]] = {
    "redis": ("url", checks.server_url("redis", "rediss", "unix")),
    "memcached": ("url", checks.server_url("memcached", "unix")),
    "folder": ("path", checks.folder),
}
"""What a cache of each kind must have, and how that must look."""


@dataclass(frozen=True)
class Maintenance:
    """What `maintenance_mode` does."""

    flag: Path | None = option(
        None,
        checks.absolute_path,
        "The file that is there while it is on; beside agent.db unless set. Below /run a reboot would remove it.",
        '"/srv/503"',
    )
    on: tuple[tuple[str, ...], ...] = option(
        (), checks.commands, "Commands that turn it on.", '[["/usr/local/bin/balancer", "drain"]]'
    )
    off: tuple[tuple[str, ...], ...] = option(
        (), checks.commands, "Commands that turn it off.", '[["/usr/local/bin/balancer", "undrain"]]'
    )
    holds: tuple[str, ...] = option(
        (),
        checks.texts,
        "Kinds that wait in the queue while it is on, as globs; never maintenance_mode itself.",
        '["database_*", "deploy"]',
    )
    timeout: float = option(60.0, checks.positive_number, "Seconds that each command may take.")


@dataclass(frozen=True)
class Containers:
    """The container engine of this host, Docker or podman."""

    engine: str = option(
        "unix:///run/docker.sock",
        checks.server_url("unix", "tcp"),
        "Where its API listens; through tcp://127.0.0.1:PORT, which is never encrypted, everybody on the host is root.",
    )
    label: str = option(
        "com.docker.compose.service", checks.text, "The label of a container that names the service it belongs to."
    )
    stop_timeout: int = option(10, checks.natural, "Seconds that a container gets to end before it is killed.")
    timeout: float = option(60.0, checks.positive_number, "Seconds that one call to the engine may take beyond that.")


@dataclass(frozen=True)
class NamedService:
    """A service that is a systemd unit and no containers, for `service_*`, by its name."""

    unit: str = required(checks.unit, "The unit.", '"web.service"')


@dataclass(frozen=True)
class NamedProcess:
    """A group of processes for `process_*`, by its name: a unit, or what a pid file names."""

    unit: str | None = option(None, checks.unit, "The unit.", '"worker.service"')
    pid_file: Path | None = option(
        None,
        checks.absolute_path,
        "Holds the pid of the process that leads the group, where there is no unit.",
        '"/run/worker.pid"',
    )
    restart: tuple[str, ...] = option(
        (), checks.command, "Restarts it, for a pid file.", '["/etc/init.d/worker", "restart"]'
    )
    timeout: float = option(60.0, checks.positive_number, "Seconds in which it must be up again, or paused.")

    def __post_init__(self) -> None:
        if self.unit is None and self.pid_file is None:
            raise Wrong("a value, or else pid_file", checks.NOTHING, at="unit")


@dataclass(frozen=True)
class Callbacks:
    """Who is told of every final action."""

    urls: tuple[str, ...] = required(
        checks.urls, "Where each is sent as an AsyncAction.", '["https://orchestrator.example.com/actions"]'
    )
    secret: Path | None = option(
        None, checks.secret_file, "A file with the secret that they are signed with.", '"credential:callbacks"'
    )
    timeout: float = option(10.0, checks.positive_number, "Seconds that a receiver gets to answer.")
    keep: float = option(86400.0, checks.positive_number, "Seconds that one which cannot be delivered is retried.")
