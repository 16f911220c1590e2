"""The manual page of agentctl, made from the help of its commands."""

from collections.abc import Iterator

import click

from agent.cli import exits
from agent.cli.commands import SECTIONS, agentctl
from agent.cli.options import Documented, common
from agent.cli.session import PLACES

HEAD = """\
.\\" Made by agentctl config man: change the help of the commands instead.
.TH AGENTCTL 1
.SH NAME
agentctl \\- operate an agent on a datastore host
.SH SYNOPSIS
.B agentctl
[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]
.SH DESCRIPTION
"""
FILES = {
    "~/.config/agentctl/contexts.toml": "agents by name; $AGENT_CONTEXTS names another file",
    "/run/agent/agent.sock": "the default socket of the agent of this host",
    "/etc/agent/agent.toml": "the configuration of this host's agent; ./agent.toml and $AGENT_CONFIG come before it",
}


def page() -> str:
    """In the form of man(7)."""
    return "".join(_parts())


def _parts() -> Iterator[str]:
    context = click.Context(agentctl, info_name="agentctl")
    yield HEAD + _text(agentctl.help or "")
    yield ".SH OPTIONS\nThey are accepted before and after the name of a command.\n"
    yield from (_option(each, context) for each in common())
    for title, names in SECTIONS.items():
        yield f".SH {title.upper()}\n"
        for name in names:
            command = agentctl.get_command(context, name)
            assert command is not None  # SECTIONS names commands alone
            yield from _command(command, name, context)
    yield f".SH WHERE THE AGENT IS\nThe first of: {_escaped(PLACES)}.\n.SH EXIT STATUS\n"
    yield from (f".TP\n.B {status}\n{_escaped(meaning)}\n" for status, meaning in exits.MEANINGS.items())
    yield ".SH FILES\n"
    yield from (f".TP\n.I {file}\n{_escaped(about)}\n" for file, about in FILES.items())


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SS {name} {_escaped(usage)}\n{_text(command.help or '')}"
    yield from (_option(each, context) for each in command.params)
    for example in getattr(command, "examples", ()):
        yield f".PP\n.nf\n    {_escaped(example)}\n.fi\n"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            inner = command.get_command(context, each)
            if isinstance(inner, Documented):
                yield from _command(inner, f"{name} {each}", parent)


def _option(option: click.Parameter, context: click.Context) -> str:
    record = option.get_help_record(context)
    return f".TP\n.B {_escaped(record[0])}\n{_escaped(record[1])}\n" if record else ""


def _text(help: str) -> str:
    paragraphs = [" ".join(each.split()) for each in help.split("\n\n")]
    return "".join(f".PP\n{_escaped(each)}\n" for each in paragraphs if each)


def _escaped(text: str) -> str:
    """A line that begins with a dot or an apostrophe would be an instruction."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain
