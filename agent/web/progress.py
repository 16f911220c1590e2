"""The progress of a running action for the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.models import Json

MOST_STAGES = 20


@dataclass(frozen=True)
class ProgressView:
    """A progress. `done`: the stages before the current one. Sizes are in bytes; None: unknown."""

    done: tuple[str, ...]
    stage: str | None
    detail: str | None
    percent: float | None
    bytes_done: float | None
    bytes_total: float | None
    rate: float | None
    seconds_left: float | None


def of(found: Json) -> ProgressView:
    """The view of an item's progress. Values are checked, because an operator's own kind may have written them."""
    given: Mapping[str, Any] = found if isinstance(found, dict) else {}
    phases = given.get("phases")
    stage = _text(given.get("phase")) or _stage(given.get("stage"))
    done = [each for each in phases if isinstance(each, str) and each != stage] if isinstance(phases, list) else []
    return ProgressView(
        tuple(done[-MOST_STAGES:]),
        stage,
        _text(given.get("detail")),
        _number(given.get("percent"), 100),
        _number(given.get("bytes_done")),
        _number(given.get("bytes_total")),
        _number(given.get("rate")),
        _number(given.get("seconds_left")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _stage(value: Any) -> str | None:
    return f"stage {value}" if isinstance(value, int | str) and value != "" else None


def _number(value: Any, most: float = 1e18) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(float(value), most) if 0 <= value < 1e300 else None
