"""The options of the datastore: its service, the server, and the operator's own actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config import validators
from agent.config.mistakes import NOTHING, Mistake
from agent.config.option import option, required, subtables, tables_by_name


@dataclass(frozen=True)
class Service:
    """The service of the datastore and its supervisor."""

    supervisor: str = option("systemd", validators.one_of("systemd", "commands"), "What starts and stops the service.")
    unit: str | None = option(None, validators.text, "The unit, for systemd.", '"postgresql@15-main.service"')
    pid: tuple[str, ...] = option(
        (),
        validators.command,
        "For commands: prints the main pid while the service runs.",
        '["pidof", "-s", "redis-server"]',
    )
    start: tuple[str, ...] = option(
        (), validators.command, "For commands: starts the service.", '["/etc/init.d/redis", "start"]'
    )
    stop: tuple[str, ...] = option(
        (), validators.command, "For commands: stops the service.", '["/etc/init.d/redis", "stop"]'
    )
    attempts: int = option(
        30, validators.positive_integer, "How many times the agent checks whether the service is up (or down)."
    )
    interval: float = option(1.0, validators.positive_number, "Seconds between two checks.")
    timeout: float = option(60.0, validators.positive_number, "Timeout of one command of the supervisor, in seconds.")

    def __post_init__(self) -> None:
        needed = ("unit",) if self.supervisor == "systemd" else ("pid", "start", "stop")
        for name in needed:
            if not getattr(self, name):
                raise Mistake(f'a value, as supervisor is "{self.supervisor}"', NOTHING, at=name)


@dataclass(frozen=True)
class Peer:
    """Another server of the same group. The argument `primary` of an action names it."""

    url: str = required(
        validators.text,
        "The address and user of the server, for the agent.",
        '"postgresql://agent@10.0.0.2:5432/postgres"',
    )
    password_file: Path | None = option(
        None, validators.secret_file, "A file with only the password of that user.", '"/etc/agent/peer.password"'
    )
    replication_user: str | None = option(
        None,
        validators.text,
        "The account that this server replicates with; default: the user of the url.",
        '"replicator"',
    )
    replication_password_file: Path | None = option(
        None,
        validators.secret_file,
        "A file with only the password of replication_user.",
        '"/etc/agent/replicator.password"',
    )


@dataclass(frozen=True)
class DatastoreSettings:
    """The database server of this node."""

    kind: str = required(
        validators.one_of("postgresql", "mysql", "redis", "mongodb"),
        "The database server; mysql includes MariaDB.",
        '"redis"',
    )
    url: str = required(
        validators.text, "The address and user of the server, for the agent.", '"unix:///run/redis/redis.sock"'
    )
    password_file: Path | None = option(
        None, validators.secret_file, "A file with only the password.", '"/etc/agent/redis.password"'
    )
    timeout: float = option(30.0, validators.positive_number, "Timeout of one command to the server, in seconds.")
    primary: str | None = option(
        None,
        validators.text,
        "The primary for a resync, if this server has no source configured.",
        '"redis://10.0.0.2:6379"',
    )
    primary_password_file: Path | None = option(
        None,
        validators.secret_file,
        "A file with only the password for the primary.",
        '"/etc/agent/primary.password"',
    )
    data_directory: Path | None = option(
        None,
        validators.path,
        "The data directory, needed to resync a server that is down.",
        '"/var/lib/postgresql/15/main"',
    )
    programs: Path | None = option(
        None,
        validators.path,
        "The folder of the server's programs, if they are not on PATH.",
        '"/usr/lib/postgresql/15/bin"',
    )
    peers: Mapping[str, Peer] = subtables(Peer, "db-2")


@dataclass(frozen=True)
class ExternalArgument:
    """One argument of an action of your own."""

    type: str = required(
        validators.one_of("string", "integer", "number", "boolean", "list", "object"), "Its JSON type.", '"string"'
    )
    required: bool = option(False, validators.truth, "Whether the caller must give it.")
    secret: bool = option(False, validators.truth, "Whether the agent masks it everywhere; strings only.")
    description: str = option("", validators.text, "A description for people.", '"The table"')

    def __post_init__(self) -> None:
        if self.secret and self.type != "string":
            raise Mistake('"string", as secret is true', self.type, at="type")


ARGUMENT_NAME = validators.matching("[A-Za-z_][A-Za-z0-9_-]{0,63}", "names of letters, digits, dashes and underscores")


def arguments(value: Any) -> dict[str, ExternalArgument]:
    """A table for each argument, by its name."""
    return tables_by_name(ExternalArgument, value, ARGUMENT_NAME, "a table for each argument")


@dataclass(frozen=True)
class ExternalAction:
    """An action of your own, as a pair of commands: kind `external.NAME`."""

    action: tuple[str, ...] = required(
        validators.command, "Starts the work and returns at once.", '["/usr/local/bin/vacuum", "start"]'
    )
    check: tuple[str, ...] = required(
        validators.command, "Prints the state of the work, as JSON.", '["/usr/local/bin/vacuum", "check"]'
    )
    description: str = option("", validators.text, "A description for people.", '"Vacuum every table"')
    args: Mapping[str, ExternalArgument] | None = option(
        None,
        arguments,
        "The arguments, each with type, required and secret. Without args any JSON is accepted, and nothing is masked.",
        '{ table = { type = "string", required = true }, password = { type = "string", secret = true } }',
    )
    unit: str | None = option(
        None,
        validators.template,
        "The template that the commands start as NAME@<action id>.service; `agentctl polkit` permits that.",
        '"vacuum@.service"',
    )
    timeout: float = option(60.0, validators.positive_number, "Timeout of each of the two commands, in seconds.")
    interval: float = option(1.0, validators.positive_number, "Seconds between two checks.")
