"""Rows of measurements with their targets, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


class Unmeasured(Exception):
    """A figure could not be measured; the message has the reason."""


@dataclass(frozen=True)
class Bench:
    """One run: the folder of its files, the number of rounds, and the function for progress messages."""

    directory: Path
    rounds: int
    say: Callable[[str], None]

    def new_directory(self, name: str) -> Path:
        """An empty directory for one server or one database."""
        for number in range(1_000_000):
            path = self.directory / f"{name}-{number}"
            if not path.exists():
                path.mkdir()
                return path
        raise Unmeasured(f"no free name for {name} in {self.directory}")


@dataclass(frozen=True)
class Target:
    """A bound on a row's `ratio` or `value`, as `of` names it."""

    of: str
    sign: str
    bound: float
    unit: str = ""

    def met(self, measured: float) -> bool:
        """Whether the measured number is within the bound."""
        return {
            "<": measured < self.bound,
            "<=": measured <= self.bound,
            ">=": measured >= self.bound,
        }[self.sign]

    def __str__(self) -> str:
        subject = "ratio " if self.of == "ratio" else ""
        return f"{subject}{self.sign} {self.bound:g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Row:
    """One line of the table: the agent's value and its reference."""

    figure: str
    name: str
    value: float
    unit: str
    reference: float | None = None
    target: Target | None = None
    rounds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The agent's value divided by the reference; None without a reference."""
        return self.value / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.target is None:
            return None
        measured = self.ratio if self.target.of == "ratio" else self.value
        return measured is not None and self.target.met(measured)

    def as_json(self) -> dict[str, Any]:
        """The whole row, with the values of all rounds."""
        target = str(self.target) if self.target else None
        return asdict(self) | {"ratio": self.ratio, "target": target, "met": self.met}


def compared(
    figure: str,
    name: str,
    unit: str,
    agent: list[float],
    reference: list[float],
    target: Target | None = None,
) -> Row:
    """A row with the medians of the agent and the reference over the same rounds."""
    rounds = {"agent": agent, "reference": reference}
    return Row(figure, name, median(agent), unit, median(reference), target, rounds)


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text."""
    head = ("", "figure", "agent", "reference", "ratio", "target", "met")
    lines = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.figure,
        row.name,
        f"{_number(row.value)} {row.unit}",
        "" if row.reference is None else _number(row.reference),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.target is None else str(row.target),
        {True: "yes", False: "NO", None: ""}[row.met],
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
