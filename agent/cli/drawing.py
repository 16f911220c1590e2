"""Shows the progress of an action: a line for each change, or a progress bar on a terminal."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from agent.cli import printing

Show = Callable[[Mapping[str, Any]], None]


@contextmanager
def of(stream: TextIO) -> Iterator[Show]:
    """A function that shows an action; with a bar on a terminal if `rich` is installed (the extra `cli`)."""
    if stream.isatty():
        try:
            import rich  # noqa: F401
        except ImportError:
            pass
        else:
            with _bar(stream) as show:
                yield show
                return
    yield _lines(stream)


def _lines(stream: TextIO) -> Show:
    seen = ""

    def show(action: Mapping[str, Any]) -> None:
        nonlocal seen
        if (line := printing.progress(action)) != seen:
            seen = line
            print(line, file=stream, flush=True)

    return show


@contextmanager
def _bar(stream: TextIO) -> Iterator[Show]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    text = TextColumn("{task.description}")
    with Progress(SpinnerColumn(), BarColumn(bar_width=30), text, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(action: Mapping[str, Any]) -> None:
            payload = action["state_payload"] if isinstance(action["state_payload"], dict) else {}
            progress = payload.get("progress")
            percent = progress.get("percent") if isinstance(progress, dict) else None
            line = f"{action['kind']}  {printing.progress(action)}"
            bar.update(task, description=escape(line), total=None if percent is None else 100, completed=percent or 0)

        yield show
