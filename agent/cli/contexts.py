"""agentctl context: named agents and the paths of their credentials, in a file of the user."""

import json
import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from agent.cli import exits
from agent.cli.exits import Missing, Usage
from agent.cli.options import Documented, complete_context, given, output
from agent.cli.session import CliSession, agent_of_this_host, say
from agent.client import ADDRESS

DEFAULT = "default"
"""The built-in context of this host's agent."""
MEMBERS = ("url", "token_file", "ca", "certificate", "key_file")


class Contexts(NamedTuple):
    """The agents by name, and the name of the default one."""

    names: Mapping[str, Mapping[str, str]]
    current: str | None = None

    def get(self, name: str) -> dict[str, str]:
        """The address and the paths of the credentials. Raises `Missing`."""
        if name == DEFAULT:
            return agent_of_this_host()
        if name not in self.names:
            known = f"it has {', '.join(self.names)}" if self.names else "it has none"
            raise Missing(f"{path()}: no context {name}; {known}")
        return dict(self.names[name])


def path() -> str:
    """The file: $AGENT_CONTEXTS, else agentctl/contexts.toml in the user's configuration folder."""
    if named := os.environ.get("AGENT_CONTEXTS"):
        return named
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(folder, "agentctl", "contexts.toml")


def read() -> Contexts:
    """All contexts; empty without a file. Raises `Usage` for a file that another user can change or read."""
    file = path()
    try:
        with open(file, "rb") as opened:
            status = os.fstat(opened.fileno())
            if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o077:
                raise Usage(f"{file}: other users can read or change it: run chmod 600 {file}")
            content = opened.read()
    except FileNotFoundError:
        return Contexts({})
    document = _parsed(file, content)
    found = document.get("contexts", {})
    for name, each in found.items():
        if not isinstance(each, dict) or "url" not in each or set(each) - set(MEMBERS):
            raise Usage(f"{file}: contexts.{name}: expected url, and perhaps {', '.join(MEMBERS[1:])}")
    return Contexts(found, document.get("current"))


def _parsed(file: str, content: bytes) -> dict[str, Any]:
    import tomllib  # imported here: it would add a fifth to the imports of a call without contexts

    try:
        return tomllib.loads(content.decode())
    except ValueError as error:
        raise Usage(f"{file}: not TOML: {error}") from None


def _write(contexts: Contexts) -> None:
    """Replace the file atomically; only its owner can read it."""
    file = path()
    os.makedirs(os.path.dirname(file) or ".", mode=0o700, exist_ok=True)
    lines = [f"current = {json.dumps(contexts.current)}\n"] if contexts.current else []
    for name, each in contexts.names.items():
        lines.append(f"\n[contexts.{json.dumps(name)}]\n")
        lines += [f"{member} = {json.dumps(value)}\n" for member, value in each.items()]
    fresh = f"{file}.{os.getpid()}"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.writelines(lines)
    os.replace(fresh, file)


def all_of(contexts: Contexts) -> dict[str, Mapping[str, str]]:
    """All contexts, with the agent of this host first."""
    return {DEFAULT: agent_of_this_host(), **contexts.names}


def _warn_of_environment() -> None:
    if url := os.environ.get("AGENT_URL"):
        say(f"$AGENT_URL is set: commands use {url} instead")


# The commands


@click.group("context")
def context_command() -> None:
    """Agents by name: `agentctl -c NAME queue`.

    The context default is the agent of this host. The file is $AGENT_CONTEXTS, else
    ~/.config/agentctl/contexts.toml. It names files with credentials and holds none.
    """


@context_command.command("list", cls=Documented, params=[output(hidden=True)])
def list_command() -> int:
    """Print the contexts; a star marks the one in use."""
    found = read()
    form = given(click.get_current_context()).get("output", "table")
    if form == "table":
        for name, each in all_of(found).items():
            click.echo(f"{'*' if name == (found.current or DEFAULT) else ' '} {name}  {each['url']}")
        _warn_of_environment()
        return exits.DONE
    from agent.cli import printing

    rows = [
        {"name": name, "in_use": name == (found.current or DEFAULT), **each} for name, each in all_of(found).items()
    ]
    head = ("NAME", "IN_USE", "URL")
    printing.items(rows, head, lambda row: [str(row[column.lower()]) for column in head], form, "name")
    return exits.DONE


@context_command.command("use", cls=Documented)
@click.argument("name", shell_complete=complete_context)
def use_command(name: str) -> int:
    """Select the context of later commands; `default` is the agent of this host."""
    found = read()
    url = found.get(name)["url"]
    _write(found._replace(current=None if name == DEFAULT else name))
    back = "" if name == DEFAULT else f"; back to the agent of this host: agentctl context use {DEFAULT}"
    say(f"commands use {name}, {url}, now{back}")
    _warn_of_environment()
    return exits.DONE


@context_command.command("add", cls=Documented)
@click.argument("name")
@click.argument("url")
@click.option("--token-file", type=click.Path(resolve_path=True), help="A file with the token.")
@click.option("--ca", type=click.Path(resolve_path=True), help="The CA certificates for the agent's certificate.")
@click.option("--certificate", type=click.Path(resolve_path=True), help="A client certificate.")
@click.option("--key-file", type=click.Path(resolve_path=True), help="The key of the client certificate.")
def add_command(name: str, url: str, **files: str | None) -> int:
    """Add an agent, or replace one of this name. URL is unix:PATH, http://HOST:PORT or https://HOST:PORT.

    Commands use it with -c NAME; after `agentctl context use NAME` also without.
    """
    if name == DEFAULT:
        raise Usage(f"{DEFAULT} is the agent of this host: choose another name")
    if not ADDRESS.fullmatch(url):
        raise Usage(f"{url}: expected unix:PATH, http://HOST:PORT or https://HOST:PORT")
    found = read()
    each = {"url": url} | {member: file for member, file in files.items() if file}
    _write(found._replace(names={**found.names, name: each}))
    if found.current != name:
        say(f"added; agentctl -c {name} … uses it, and after agentctl context use {name} every command")
    return exits.DONE


add_command.examples = ("agentctl context add db-1 https://db-1.example.com:8000 --token-file ~/.agent-token",)  # type: ignore[attr-defined]


@context_command.command("remove", cls=Documented)
@click.argument("name", shell_complete=complete_context)
def remove_command(name: str) -> int:
    """Remove an agent from the file. If it was the one in use, commands use the agent of this host again."""
    found = read()
    if name == DEFAULT:
        raise Usage(f"{DEFAULT} is the agent of this host: it cannot be removed")
    found.get(name)
    rest = {each: content for each, content in found.names.items() if each != name}
    _write(Contexts(rest, None if found.current == name else found.current))
    if found.current == name:
        say(f"commands use the agent of this host now, {agent_of_this_host()['url']}")
    return exits.DONE


@context_command.command("test", cls=Documented)
@click.argument("name", required=False, shell_complete=complete_context)
@click.pass_context
def test_command(ctx: click.Context, name: str | None) -> int:
    """Call the agent of a context; default: the context in use."""
    options: dict[str, Any] = given(ctx) | ({"context": name} if name else {})
    session = CliSession(options)
    session.client.get("/api/unstable/actions/queue")
    click.echo(f"{session.client.url} answers")
    return exits.DONE
