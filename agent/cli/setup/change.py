"""One change of setup, with its description, a check whether it is made, and the note for `--remove`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Note = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """`description` begins with a verb. `note`: the entry of the record; None if there is nothing to undo."""

    description: str
    is_made: Callable[[], bool]
    make: Callable[[], Note | None]
    """May be called again after an interruption; its result is added to the note."""
    note: Note | None = field(default=None, repr=False)
    again: bool = False
    """Whether to make it again after any other change of the same run."""
