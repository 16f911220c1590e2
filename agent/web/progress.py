"""How far a running action is, as far as its kind says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.models import Json

MOST_STAGES = 20


@dataclass(frozen=True)
class ProgressView:
    """`done` are the stages before the present one. Sizes are in bytes; None: not known."""

    done: tuple[str, ...]
    stage: str | None
    detail: str | None
    percent: float | None
    bytes_done: float | None
    bytes_total: float | None
    rate: float | None
    seconds_left: float | None


def of(found: Json) -> ProgressView:
    """From the progress of an item of the list, which kinds of the operator's own may have written too."""
    said: Mapping[str, Any] = found if isinstance(found, dict) else {}
    phases = said.get("phases")
    stage = _text(said.get("phase")) or _stage(said.get("stage"))
    done = [each for each in phases if isinstance(each, str) and each != stage] if isinstance(phases, list) else []
    return ProgressView(
        tuple(done[-MOST_STAGES:]),
        stage,
        _text(said.get("detail")),
        _number(said.get("percent"), 100),
        _number(said.get("bytes_done")),
        _number(said.get("bytes_total")),
        _number(said.get("rate")),
        _number(said.get("seconds_left")),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _stage(value: Any) -> str | None:
    return f"stage {value}" if isinstance(value, int | str) and value != "" else None


def _number(value: Any, most: float = 1e18) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return min(float(value), most) if 0 <= value < 1e300 else None
