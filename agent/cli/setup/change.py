"""One thing that setup makes: what it says before, whether it is made, and the note by which `--remove` undoes it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Note = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """`says` begins with a verb; `note` is what the record keeps, none where nothing is to be undone."""

    says: str
    is_made: Callable[[], bool]
    make: Callable[[], Note | None]
    """May be called again after an interruption; what it returns is added to the note."""
    note: Note | None = field(default=None, repr=False)
    again: bool = False
    """Whether it is made again after any other change of the same run."""
