"""agentctl config, polkit: check and print the configuration of this host's agent, and generate files from it."""

import json
import re
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import click

from agent import config
from agent.cli import agent_unit, exits
from agent.cli.host import as_owner, environ
from agent.cli.options import Documented, local
from agent.util import atomic_files, drop_privileges


@click.group("config")
def config_command() -> None:
    """The configuration of this host's agent.

    Read from $AGENT_CONFIG, else ./agent.toml, else /etc/agent/agent.toml.
    """


def _add(command: click.Command) -> click.Command:
    config_command.add_command(command)
    return command


FILE = click.argument("file", required=False, type=click.Path())


@_add
@local("check", examples=("agentctl config check", "agentctl config check --strict /etc/agent/agent.toml"))
@FILE
@click.option("--strict", is_flag=True, help="Treat warnings as mistakes.")
@as_owner
def check_command(file: str | None, strict: bool) -> int:
    """Print every mistake of the configuration; starts nothing.

    The exit status is 1 if there is a mistake. Warnings name settings that are valid but probably wrong, such as a time
    limit or a permission for a kind that does not exist, and kinds that cannot run because something is missing on this
    host. FILE is the configuration; default: the file that the agent would read.
    """
    # Imported here: the other commands do not need the kinds and their imports.
    from agent.cli import checking
    from agent.kinds.base.registry import Registry

    variables = environ(file)
    if file:
        drop_privileges.become(Path(file))
    settings = config.load(variables)
    drop_privileges.become(settings.api.tokens or settings.agent.db)
    found = list(checking.of_the_host(settings, config.file(variables)))
    warned = [
        each for registry in found if isinstance(registry, Registry) for each in checking.warnings(settings, registry)
    ]
    mistakes = list(dict.fromkeys(each for each in found if isinstance(each, str)))
    for line in (*(f"warning: {each}" for each in warned), *mistakes):
        print(checking.line(line), file=sys.stderr)
    if mistakes or (strict and warned):
        return exits.FAILED
    print(f"{config.origin(variables)}: no mistake found")
    return exits.DONE


@_add
@local("diff", examples=("agentctl config diff",))
@FILE
@as_owner
def diff_command(file: str | None) -> None:
    """Print the options that differ from their defaults; passwords in addresses are masked."""
    variables = environ(file)
    settings, default = config.load(variables), config.Settings()
    for name in config.changed(default, settings):
        print(f"{name} = {_shown(_at(settings, name))}")


def _at(settings: object, name: str) -> object:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def _shown(value: object) -> str:
    text = json.dumps(value, default=_plain, ensure_ascii=False)
    text = re.sub(r"(://[^:/@\s\"]*):[^@/\s\"]*@", r"\1:********@", text)
    return re.sub(r"(?i)(password=)[^&\s\"]*", r"\1********", text)


def _plain(value: object) -> object:
    """A table or path as a JSON value; a table without its unset options."""
    if is_dataclass(value):
        found = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: each for name, each in found.items() if each not in (None, (), {})}
    return str(value)


@_add
@click.command("schema", cls=Documented)
def schema_command() -> int:
    """Print the JSON Schema of the configuration, for editors."""
    from agent.config import schema

    print(json.dumps(schema.document(), indent=2))
    return exits.DONE


@_add
@click.command("show", cls=Documented)
def show_command() -> int:
    """Print a configuration file with every option, its default and its meaning."""
    from agent.config import reference

    print(reference.document(), end="")
    return exits.DONE


@_add
@click.command("kinds", cls=Documented)
def kinds_page_command() -> int:
    """Print the page that documents every kind."""
    from agent.tools import kinds_page

    print(kinds_page.document(), end="")
    return exits.DONE


@_add
@click.command("man", cls=Documented)
def man_command() -> int:
    """Print the manual page of agentctl."""
    from agent.cli import manual

    print(manual.page(), end="")
    return exits.DONE


@local(
    "polkit",
    examples=(
        "agentctl polkit --write",
        "agentctl polkit /etc/agent/agent.toml > /etc/polkit-1/rules.d/50-agent.rules",
    ),
)
@FILE
@click.option("--user", help="The user of the agent; default: the user of agent.service.")
@click.option("--write", is_flag=True, help="Replace /etc/polkit-1/rules.d/50-agent.rules if it differs.")
@as_owner
def polkit_command(file: str | None, user: str | None, write: bool) -> None:
    """Print the polkit rule that lets the agent's user manage the configured units.

    With --write the rule is written to its file; agent-polkit.path does so when the configuration changes.
    """
    from agent.tools import polkit

    variables = environ(file)
    settings = config.load(variables)
    if not config.is_read(variables):
        print("no configuration was found: this rule allows the agent its own jobs only", file=sys.stderr)
    rule = polkit.rule(settings, user or agent_unit.user(), config.origin(variables))
    if not write:
        print(rule, end="")
    elif atomic_files.read(polkit.FILE) != rule.encode():
        atomic_files.replace(polkit.FILE, rule.encode(), mode=polkit.MODE)
        print(f"{polkit.FILE} was written for {config.origin(variables)}", file=sys.stderr)
