"""Every option once, with its default, its check and its help; a TOML file and the environment give `Settings`."""

import os
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from agent import checks
from agent.checks import Wrong
from agent.errors import ConfigError

SEARCHED = ("agent.toml", "/etc/agent/agent.toml")
"""Where the file is looked for when AGENT_CONFIG does not say; without one the defaults hold."""

S = TypeVar("S")


def option(default: Any, check: Callable[[Any], Any], help: str, example: str = "") -> Any:
    """An option of the file. `default` may be a function of nothing; `check` returns the value or raises `Wrong`.

    `example` is what the documented file shows for an option that is not set by default.
    """
    metadata = {"check": check, "help": help, "example": example}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def required(check: Callable[[Any], Any], help: str, example: str) -> Any:
    """An option without which its table means nothing."""
    return field(metadata={"check": check, "help": help, "example": example})


def subtable(section: type[Any]) -> Any:
    """A table inside a table, whose presence means something."""
    metadata = {"check": lambda value: _options(section, value), "section": section}
    return field(default=None, metadata=metadata)


def _default_db() -> Path:
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or ".") / "agent.db"


@dataclass(frozen=True)
class Agent:
    """This agent and its place."""

    db: Path = option(_default_db, checks.path, "The file of state; $STATE_DIRECTORY/agent.db under systemd.")
    node: str = option(socket.gethostname, checks.text, "The name of this node.")
    stack: str = option("default", checks.text, "The one stack this node belongs to.")
    kinds: tuple[str, ...] = option((), checks.texts, "Python modules of your own whose kinds are offered too.")


@dataclass(frozen=True)
class Tls:
    """Encryption, and who may connect at all."""

    certificate: Path = required(checks.path, "The certificate of this server and its chain, PEM.", '"server.pem"')
    key: Path = required(checks.path, "Its private key, PEM, without a passphrase.", '"server.key"')
    clients_ca: Path | None = option(
        None,
        checks.path,
        "Who certifies callers: one without such a certificate is not served. Its e-mail is who calls.",
        '"clients.pem"',
    )


@dataclass(frozen=True)
class Api:
    """How callers reach the agent, and which of them."""

    bind: str = option(
        "127.0.0.1:8000", checks.address, "host:port or unix:/path; beyond loopback only with tokens or clients_ca."
    )
    allowed_hosts: tuple[str, ...] = option(
        (), checks.host_names, "Names accepted in Host besides that of bind.", '["db-1.example.com"]'
    )
    tokens: Path | None = option(
        None, checks.path, "Who may call and schedule what: see `agentctl token create`.", '"tokens.toml"'
    )
    tls: Tls | None = subtable(Tls)
    threads: int = option(8, checks.positive_integer, "How many requests are answered at once.")
    max_body: int = option(1048576, checks.positive_integer, "The largest body accepted, in bytes.")

    @property
    def certified(self) -> bool:
        """Whether callers are known by their certificates."""
        return self.tls is not None and self.tls.clients_ca is not None

    @property
    def authenticated(self) -> bool:
        """Whether callers are known at all."""
        return self.tokens is not None or self.certified

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the agent."""
        host = checks.host_of(self.bind)
        return host is None or checks.is_loopback(host)


@dataclass(frozen=True)
class Actions:
    """How actions are queued, run and kept."""

    execute_interval: float = option(
        1.0, checks.positive_number, "Seconds between looks at the queue when nothing wakes it."
    )
    queue_limit: int = option(1000, checks.positive_integer, "How many actions may wait; one more is refused with 429.")
    finished_limit: int = option(1000, checks.positive_integer, "How many finished actions a list shows, the newest.")
    prune_interval: float = option(3600.0, checks.positive_number, "Seconds between removals of old finished actions.")
    prune_keep: int = option(100, checks.natural, "How many finished actions are kept, the newest.")
    prune_limit: int = option(500, checks.positive_integer, "How many finished actions one removal takes at most.")
    timeouts: Mapping[str, float] = option(
        dict,
        checks.table_of(checks.positive_number),
        "Seconds an action of a kind may run, by kind.",
        example="{ deploy = 3600 }",
    )


@dataclass(frozen=True)
class Service:
    """The datastore's own service, and what supervises it."""

    supervisor: str = option("systemd", checks.one_of("systemd", "commands"), "Who starts and stops it.")
    unit: str | None = option(None, checks.text, "The unit, for systemd.", '"postgresql@15-main.service"')
    pid: tuple[str, ...] = option(
        (),
        checks.command,
        "Prints the main pid while it runs, for commands.",
        '["pidof", "-s", "redis-server"]',
    )
    start: tuple[str, ...] = option((), checks.command, "Starts it, for commands.", '["/etc/init.d/redis", "start"]')
    stop: tuple[str, ...] = option((), checks.command, "Stops it, for commands.", '["/etc/init.d/redis", "stop"]')
    attempts: int = option(30, checks.positive_integer, "How many times to look whether it is up (or down).")
    interval: float = option(1.0, checks.positive_number, "Seconds between two looks.")
    timeout: float = option(60.0, checks.positive_number, "Seconds one command of the supervisor may take.")

    def __post_init__(self) -> None:
        needed = ("unit",) if self.supervisor == "systemd" else ("pid", "start", "stop")
        for name in needed:
            if not getattr(self, name):
                raise Wrong(f'a value, as supervisor is "{self.supervisor}"', checks.NOTHING, at=name)


@dataclass(frozen=True)
class Datastore:
    """The datastore itself."""

    kind: str = required(
        checks.one_of("postgresql", "mysql", "redis", "mongodb"), "Which server it is; mysql is MariaDB too.", '"redis"'
    )
    url: str = required(checks.text, "How the agent connects to it.", '"unix:///run/redis/redis.sock"')
    password_file: Path | None = option(
        None, checks.path, "A file that holds the password alone.", '"/etc/agent/redis.password"'
    )
    timeout: float = option(30.0, checks.positive_number, "Seconds one command to it may take.")
    primary: str | None = option(
        None, checks.text, "Whom a resync follows, where the replica does not know it.", '"redis://10.0.0.2:6379"'
    )
    primary_password_file: Path | None = option(
        None, checks.path, "A file that holds the password for the primary alone.", '"/etc/agent/primary.password"'
    )
    data_directory: Path | None = option(
        None,
        checks.path,
        "Where its data lies, for a resync of a server that is down.",
        '"/var/lib/postgresql/15/main"',
    )
    programs: Path | None = option(
        None, checks.path, "Where its programs lie, where PATH does not tell.", '"/usr/lib/postgresql/15/bin"'
    )


@dataclass(frozen=True)
class ExternalAction:
    """An action of your own, as a pair of commands: kind `external.NAME`."""

    action: tuple[str, ...] = required(
        checks.command, "Starts it and returns at once.", '["/usr/local/bin/vacuum", "start"]'
    )
    check: tuple[str, ...] = required(
        checks.command, "Prints how it stands, as JSON.", '["/usr/local/bin/vacuum", "check"]'
    )
    description: str = option("", checks.text, "What it does, for people.", '"Vacuum every table"')
    timeout: float = option(60.0, checks.positive_number, "Seconds each of the two commands may take.")
    interval: float = option(1.0, checks.positive_number, "Seconds between two checks.")


@dataclass(frozen=True)
class Settings:
    """The whole configuration, checked."""

    agent: Agent = field(default_factory=Agent)
    api: Api = field(default_factory=Api)
    actions: Actions = field(default_factory=Actions)
    service: Service | None = None
    datastore: Datastore | None = None
    external_actions: Mapping[str, ExternalAction] = field(default_factory=dict)


TABLES: dict[str, type[Any]] = {
    "agent": Agent,
    "api": Api,
    "actions": Actions,
    "service": Service,
    "datastore": Datastore,
}
NAMED_TABLES: dict[str, type[Any]] = {"external_actions": ExternalAction}


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises `ConfigError` with one sentence that names the option."""
    path = _file(environ)
    settings = _with_environment(parse(_read(path), str(path)) if path else Settings(), environ)
    _refuse_to_serve_strangers(settings.api, "AGENT_BIND" if environ.get("AGENT_BIND") else f"{path}: api.bind")
    return settings


_loaded: Settings | None = None


def reload() -> Settings:
    """Read the configuration anew and keep it for `current`. Raises `ConfigError` and keeps what was."""
    global _loaded
    _loaded = load()
    return _loaded


def loaded() -> Settings | None:
    """The settings that this process, or the one it was forked from, read last."""
    return _loaded


def current() -> Settings:
    """The settings to run with. Raises `ConfigError`."""
    return _loaded or reload()


def origin(environ: Mapping[str, str] = os.environ) -> str:
    """Where `load` takes the options from, for messages."""
    return str(_file(environ) or "the defaults")


def parse(document: Mapping[str, Any], origin: str = "agent.toml") -> Settings:
    """The settings that a document of the file's form gives. Raises `ConfigError`."""
    tables: dict[str, Any] = {}
    try:
        for name, content in document.items():
            if name in TABLES:
                tables[name] = _table(TABLES[name], content, name)
            elif name in NAMED_TABLES:
                tables[name] = _named_tables(NAMED_TABLES[name], content, name)
            else:
                raise Wrong(_known(TABLES | NAMED_TABLES), content, at=name, unknown=True)
    except Wrong as wrong:
        raise ConfigError(f"{origin}: {wrong}") from None
    return Settings(**tables)


def _table(section: type[S], content: Any, name: str) -> S:
    try:
        return _options(section, content)
    except Wrong as wrong:
        raise wrong.inside(name) from None


def _options(section: type[S], content: Any) -> S:
    if not isinstance(content, Mapping):
        raise Wrong("a table", content)
    options = {each.name: each for each in fields(section)}  # type: ignore[arg-type]
    for key, value in content.items():
        if key not in options:
            raise Wrong(_known(options), value, at=key, unknown=True)
    for each in options.values():
        if each.name not in content and not _has_default(each):
            raise Wrong(f"a value, such as {each.metadata['example']}", checks.NOTHING, at=each.name)
    return section(**{key: _checked(options[key], value) for key, value in content.items()})


def _named_tables(section: type[S], content: Any, name: str) -> dict[str, S]:
    if not isinstance(content, Mapping):
        raise Wrong("a table for each name", content, at=name)
    try:
        return {key: _table(section, value, checks.name(key)) for key, value in content.items()}
    except Wrong as wrong:
        raise wrong.inside(name) from None


def _checked(option: "Field[Any]", value: Any) -> Any:
    try:
        return option.metadata["check"](value)
    except Wrong as wrong:
        raise wrong.inside(option.name) from None


def _has_default(option: "Field[Any]") -> bool:
    return option.default is not MISSING or option.default_factory is not MISSING


def _known(names: Mapping[str, Any]) -> str:
    return "one of " + ", ".join(sorted(names))


def _file(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get("AGENT_CONFIG"):
        return Path(named)
    return next((Path(path) for path in SEARCHED if Path(path).exists()), None)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _with_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """AGENT_DB and AGENT_BIND override their options."""
    agent, api = settings.agent, settings.api
    try:
        if db := environ.get("AGENT_DB"):
            agent = replace(agent, db=_override("AGENT_DB", checks.path, db))
        if bind := environ.get("AGENT_BIND"):
            api = replace(api, bind=_override("AGENT_BIND", checks.address, bind))
    except Wrong as wrong:
        raise ConfigError(str(wrong)) from None
    return replace(settings, agent=agent, api=api)


def _refuse_to_serve_strangers(api: Api, at: str) -> None:
    if not api.local and not api.authenticated:
        expected = "a loopback address or unix:/path as long as neither api.tokens nor api.tls.clients_ca is set"
        raise ConfigError(str(Wrong(expected, api.bind, at=at)))


def _override(variable: str, check: Callable[[Any], Any], value: str) -> Any:
    try:
        return check(value)
    except Wrong as wrong:
        raise wrong.inside(variable) from None
