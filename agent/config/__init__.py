"""The configuration, from a TOML file and the environment. Each option is declared once: default, check and help."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from agent.config import addresses, toml, validators
from agent.config.application import Application
from agent.config.callbacks import Callbacks
from agent.config.core import Actions, Agent, Api, Audit, Log, Tls, Web
from agent.config.datastore import DatastoreSettings, ExternalAction, ExternalArgument, Peer, Service
from agent.config.host import CacheSettings, Containers, Host, Maintenance, NamedProcess, NamedService
from agent.config.mistakes import Mistake, Mistakes, collected
from agent.config.option import known, options, tables_by_name
from agent.config.window import Window
from agent.errors import ConfigError

__all__ = [
    "Actions",
    "Agent",
    "Api",
    "Application",
    "Audit",
    "CacheSettings",
    "Callbacks",
    "Containers",
    "DatastoreSettings",
    "ExternalAction",
    "ExternalArgument",
    "Host",
    "Log",
    "Maintenance",
    "NamedProcess",
    "NamedService",
    "Peer",
    "Service",
    "Settings",
    "Tls",
    "Web",
    "Window",
    "changed",
    "current",
    "file",
    "is_read",
    "load",
    "loaded",
    "origin",
    "parse",
    "reload",
]

SEARCHED = ("agent.toml", "/etc/agent/agent.toml")
"""The paths of the file if AGENT_CONFIG is not set. Without a file the defaults apply."""


@dataclass(frozen=True)
class Settings:
    """The whole configuration, checked."""

    agent: Agent = field(default_factory=Agent)
    api: Api = field(default_factory=Api)
    actions: Actions = field(default_factory=Actions)
    audit: Audit = field(default_factory=Audit)
    log: Log = field(default_factory=Log)
    web: Web = field(default_factory=Web)
    service: Service | None = None
    datastore: DatastoreSettings | None = None
    windows: Mapping[str, Window] = field(default_factory=dict)
    external_actions: Mapping[str, ExternalAction] = field(default_factory=dict)
    host: Host | None = None
    applications: Mapping[str, Application] = field(default_factory=dict)
    caches: Mapping[str, CacheSettings] = field(default_factory=dict)
    maintenance: Maintenance | None = None
    containers: Containers | None = None
    services: Mapping[str, NamedService] = field(default_factory=dict)
    processes: Mapping[str, NamedProcess] = field(default_factory=dict)
    callbacks: Callbacks | None = None

    @property
    def test_kinds(self) -> bool:
        """Whether the kinds that test the agent itself are offered."""
        return not self.api.authenticated if self.agent.test_kinds is None else self.agent.test_kinds


TABLES: dict[str, type[Any]] = {
    "agent": Agent,
    "api": Api,
    "actions": Actions,
    "audit": Audit,
    "log": Log,
    "web": Web,
    "service": Service,
    "datastore": DatastoreSettings,
    "host": Host,
    "maintenance": Maintenance,
    "containers": Containers,
    "callbacks": Callbacks,
}
NAMED_TABLES: dict[str, type[Any]] = {
    "windows": Window,
    "applications": Application,
    "services": NamedService,
    "processes": NamedProcess,
    "caches": CacheSettings,
    "external_actions": ExternalAction,
}


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises `ConfigError` with a sentence for each mistake."""
    path = file(environ)
    settings = _with_environment(parse(_read(path), str(path)) if path else Settings(), environ)
    bind = "AGENT_BIND" if environ.get("AGENT_BIND") else f"{path}: api.bind"
    try:
        with collected() as collect:
            with collect(f"{path}: actions.approval"):
                _refuse_approval_without_authentication(settings)
            with collect(bind):
                _refuse_remote_callers_without_authentication(settings.api)
    except Mistakes as mistakes:
        raise ConfigError(*map(str, mistakes.each)) from None
    return settings


_loaded: Settings | None = None


def reload() -> Settings:
    """Read the configuration again and keep it for `current`. On a `ConfigError` the old one stays."""
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
    """The source of the options that `load` reads, for messages."""
    return str(file(environ) or "the defaults")


def is_read(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `load` reads a file."""
    return file(environ) is not None


def parse(document: Mapping[str, Any], origin: str = "agent.toml") -> Settings:
    """The settings of a parsed TOML document. Raises `ConfigError` with all its mistakes."""
    tables: dict[str, Any] = {}
    try:
        with collected() as collect:
            for name, content in document.items():
                with collect(name):
                    tables[name] = _table(name, content)
    except Mistakes as mistakes:
        raise ConfigError(*(f"{origin}: {wrong}" for wrong in mistakes.each)) from None
    return Settings(**tables)


def _table(name: str, content: Any) -> Any:
    if name in TABLES:
        return options(TABLES[name], content)
    if name in NAMED_TABLES:
        return tables_by_name(NAMED_TABLES[name], content)
    raise Mistake(known(TABLES | NAMED_TABLES), content, unknown=True)


def changed(before: Any, after: Any, name: str = "") -> list[str]:
    """The names of the options that differ between two settings, without their values."""
    if before == after:
        return []
    if not (is_dataclass(before) and is_dataclass(after) and type(before) is type(after)):
        return [name]
    inside = [(each.name, getattr(before, each.name), getattr(after, each.name)) for each in fields(before)]
    return [found for each, old, new in inside for found in changed(old, new, f"{name}.{each}".lstrip("."))]


def file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that `load` reads; None if there is none."""
    if named := environ.get("AGENT_CONFIG"):
        return Path(named)
    return next((Path(path) for path in SEARCHED if _is_there(path)), None)


_seen: dict[str, bool] = {}


def _is_there(path: str) -> bool:
    whole = os.path.abspath(path)
    # A command of root that has switched to the agent's user cannot look into root's folder: root's result is kept.
    with suppress(PermissionError):
        _seen[whole] = Path(whole).exists()
    return _seen.get(whole, False)


def _read(path: Path) -> dict[str, Any]:
    try:
        return toml.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _with_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """AGENT_DB and AGENT_BIND (several addresses with commas between them) override their options."""
    agent, api = settings.agent, settings.api
    try:
        with collected() as collect:
            with collect("AGENT_DB"):
                if db := environ.get("AGENT_DB"):
                    agent = replace(agent, db=validators.path(db))
            with collect("AGENT_BIND"):
                if bind := environ.get("AGENT_BIND"):
                    api = replace(api, bind=addresses.one_or_more(bind.split(",") if "," in bind else bind))
    except Mistakes as mistakes:
        raise ConfigError(*map(str, mistakes.each)) from None
    return replace(settings, agent=agent, api=api)


def _refuse_approval_without_authentication(settings: Settings) -> None:
    if settings.actions.approval and not settings.api.authenticated:
        expected = "no kinds, as neither api.tokens nor api.tls.clients_ca is set and callers are unknown"
        raise Mistake(expected, list(settings.actions.approval))


def _refuse_remote_callers_without_authentication(api: Api) -> None:
    if not api.local and not api.authenticated:
        expected = "a loopback address or unix:/path as long as neither api.tokens nor api.tls.clients_ca is set"
        raise Mistake(expected, next(each for each in api.bind if not addresses.is_local(each)))
