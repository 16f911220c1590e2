"""Types of command line values: time spans, times, and options with several values."""

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """A number with the suffix s, m, h or d, converted to seconds; a number without a suffix is seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd]?)", value)
        if not found:
            self.fail(f"expected a number and s, m, h or d, such as 90d, got {value!r}", param, ctx)
        return float(found[1]) * UNITS[found[2]]


class MomentParam(click.ParamType[str]):
    """A time of RFC 3339 with its zone, or a time span from now, multiplied by `sign`; converted to RFC 3339 in UTC."""

    name = "time"

    def __init__(self, sign: int) -> None:
        self.sign = sign

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if found := re.fullmatch(r"(\d{1,9})([smhd])", value):
            seconds = time.time() + self.sign * int(found[1]) * UNITS[found[2]]
            return _rfc3339(datetime.fromtimestamp(seconds, UTC))
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise ValueError
            return _rfc3339(moment.astimezone(UTC))
        except (ValueError, OverflowError):
            expected = "expected a time with a zone such as 2026-11-26T22:00:00+01:00, or a time span such as 24h"
            self.fail(f"{expected}, got {value!r}", param, ctx)


class Several(click.Option):
    """An option with one or more values: all words up to the next option. It may be repeated."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **(more | {"multiple": True}))

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        for name in self.opts:
            option = parser._long_opt[name]
            option.process = self._taking_the_rest(option.process)

    def _taking_the_rest(self, process: Any) -> Any:
        def each(value: Any, state: Any) -> None:
            process(value, state)
            while state.rargs and not state.rargs[0].startswith("-"):
                process(state.rargs.pop(0), state)

        return each


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


DURATION = Duration()
AGO, AHEAD = MomentParam(-1), MomentParam(1)
