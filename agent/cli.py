"""agentctl: look after an agent from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import config, config_file, log, polkit, token_file, trust
from agent.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 where it went well."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ConfigError, OSError) as error:
        print(log.one_line(str(error)), file=sys.stderr)
        return 1
    return 0


def config_check(arguments: argparse.Namespace) -> None:
    """Say what is wrong with a configuration without starting anything."""
    # Imported here: the kinds bring more with them than the other commands need.
    from agent.kinds.registry import discover

    environ = _environ(arguments.file)
    settings = config.load(environ)
    discover(settings)
    trust.check(settings)
    print(f"{config.origin(environ)}: no mistake found")


def config_show(arguments: argparse.Namespace) -> None:
    """Print a configuration file with every option, its default and what it means."""
    print(config_file.document(), end="")


def kinds_page(arguments: argparse.Namespace) -> None:
    """Print the page that documents every kind."""
    from agent import kinds_page

    print(kinds_page.document(), end="")


def polkit_rule(arguments: argparse.Namespace) -> None:
    """Print the polkit rule with which the agent's user may manage the configured units."""
    environ = _environ(arguments.file)
    settings = config.load(environ)
    if not config.is_read(environ):
        print("no configuration was found: this rule allows the agent its own jobs only", file=sys.stderr)
    print(polkit.rule(settings, arguments.user, config.origin(environ)), end="")


def token_create(arguments: argparse.Namespace) -> None:
    """Print a new token; only its hash is kept."""
    if not (arguments.kinds or arguments.read_only):
        raise ConfigError("say which kinds it may schedule, --kinds 'replicante.service.*', or --read-only")
    file = arguments.file or config.load().api.tokens or "tokens.toml"
    print(token_file.create(Path(file), arguments.email, arguments.kinds, read_only=arguments.read_only))


def _environ(file: str | None) -> dict[str, str]:
    """Ours, with this file as the configuration if one was named."""
    return dict(os.environ) | ({"AGENT_CONFIG": file} if file else {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentctl", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    configuration = commands.add_parser("config", help="the configuration").add_subparsers(
        metavar="COMMAND", required=True
    )
    check = configuration.add_parser("check", help="say what is wrong with it, start nothing")
    check.add_argument("file", nargs="?", help="the file; the one that the agent would read unless given")
    check.set_defaults(run=config_check)
    show = configuration.add_parser("show", help="print a file with every option and its default")
    show.set_defaults(run=config_show)
    page = commands.add_parser("kinds", help="print the page that documents every kind")
    page.set_defaults(run=kinds_page)
    rule = commands.add_parser("polkit", help="print the polkit rule that the configuration needs")
    rule.add_argument("file", nargs="?", help="the configuration; the one that the agent would read unless given")
    rule.add_argument("--user", default="agent", help="who the agent runs as; agent unless given")
    rule.set_defaults(run=polkit_rule)
    tokens = commands.add_parser("token", help="who may call").add_subparsers(metavar="COMMAND", required=True)
    create = tokens.add_parser("create", help="give somebody a token and print it, once")
    create.add_argument("email", help="who it is for; actions are recorded under it")
    create.add_argument("--kinds", nargs="+", action="extend", default=[], help="what it may schedule: globs of kinds")
    create.add_argument("--read-only", action="store_true", help="it may look and schedule nothing")
    create.add_argument("--file", help="the file of tokens; api.tokens of the configuration unless given")
    create.set_defaults(run=token_create)
    return parser


if __name__ == "__main__":
    sys.exit(main())
