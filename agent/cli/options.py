"""Decorators for commands, and the common options, which are accepted before and after the command's name."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from agent.cli import exits
from agent.cli.session import FORMATS, CliSession
from agent.cli.types import DURATION

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

META = "agent.cli.options"
IDS = "a uuid, a unique beginning of one, the number of the action, @last or @running"


def given(ctx: click.Context) -> dict[str, Any]:
    """The common options that were given in this call, by name."""
    found: dict[str, Any] = ctx.meta.setdefault(META, {})
    return found


def _kept(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None and value is not False and option.name is not None:
        given(ctx)[option.name] = value


def complete_context(ctx: click.Context, option: click.Parameter, begin: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    from agent.cli import contexts

    return [CompletionItem(name) for name in contexts.all_of(contexts.read()) if name.startswith(begin)]


def _option(*names: str, **more: Any) -> click.Parameter:
    return click.Option(names, expose_value=False, callback=_kept, **more)


def output(*, hidden: bool = False) -> click.Parameter:
    """The option for the format of results."""
    about = "The format of the result; default: table."
    return _option("-o", "--output", type=click.Choice(FORMATS), help=about, hidden=hidden)


def common(*, hidden: bool = False) -> list[click.Parameter]:
    """Options whose values `given` returns."""
    option = partial(_option, hidden=hidden)
    return [
        option(
            "-c", "--context", help="The agent by its name in the file of contexts.", shell_complete=complete_context
        ),
        option("--url", help="The agent: unix:PATH, http://HOST:PORT or https://HOST:PORT."),
        option("--token-file", type=click.Path(), help="A file with the token."),
        option("--ca", type=click.Path(), help="The CA certificates for the agent's certificate."),
        option("--certificate", type=click.Path(), help="A client certificate; the file may contain its key."),
        option("--key-file", type=click.Path(), help="The key of the client certificate."),
        option("--db", type=click.Path(), help="Read the database file of a stopped agent; changes nothing."),
        output(hidden=hidden),
        option(
            "--timeout",
            type=DURATION,
            help="Maximum duration of the command, such as 30s. By default a wait has no limit.",
        ),
        option("--debug", is_flag=True, help="Print each HTTP call, and the traceback of a failure."),
        option("--on", metavar="NAME,NAME", help="Run the command on several agents, by their contexts or addresses."),
        option(
            "--serial",
            type=click.IntRange(1),
            metavar="N",
            help="With --on: the number of agents to call at the same time; default: 1.",
        ),
        option(
            "--max-failures",
            type=click.IntRange(0),
            metavar="K",
            help="With --on: stop after more than this number of failures; default: 0.",
        ),
    ]


class Documented(click.Command):
    """A command with examples and exit statuses at the end of its help."""

    examples: Sequence[str] = ()
    statuses: Sequence[int] = (exits.DONE, exits.FAILED, exits.USAGE)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {each}\n" for each in self.examples))
        with formatter.section("Exit status"):
            formatter.write_dl([(str(each), exits.MEANINGS[each]) for each in self.statuses])


class Remote(Documented):
    """A command that calls an agent; its function gets a `CliSession` as first argument."""

    statuses = tuple(exits.MEANINGS)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += common(hidden=True)

    def invoke(self, ctx: click.Context) -> Any:
        options = given(ctx)
        if "on" in options:
            from agent.cli import fleet

            return fleet.run(ctx.find_root().meta[META + ".argv"], options)
        ctx.obj = session = CliSession(options)
        ctx.call_on_close(session.close)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        formatter.write_paragraph()
        if any(each.name in ("id", "ids") for each in self.params):
            formatter.write_text(f"ID is {IDS}.")
            formatter.write_paragraph()
        formatter.write_text("The global options (see agentctl --help) are accepted here too.")


Decorator = Callable[[Callable[..., Any]], click.Command]


def remote(name: str, *, examples: Sequence[str] = ()) -> Decorator:
    """Decorate the function of a command that calls an agent: it gets a `CliSession` and returns the exit status."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        command = click.command(name, cls=Remote)(click.pass_obj(function))
        command.examples = examples
        return command

    return decorate


def local(name: str, *, examples: Sequence[str] = (), has_forms: bool = False) -> Decorator:
    """Decorate the function of a command on the files of this host."""
    params = [output(hidden=True)] if has_forms else []

    def decorate(function: Callable[..., Any]) -> click.Command:
        command = click.command(name, cls=Documented, params=params)(function)
        command.examples = examples
        return command

    return decorate
