"""Removes the output of actions that were pruned."""

import shutil
from pathlib import Path

from agent.store import Store, actions

PIECE = 500
"""Folders that are checked by one read of the database."""


def remove_orphaned(store: Store, output: Path) -> None:
    """Remove the folders of pruned actions below `output`. Raises `StoreUnavailable`, `OSError`."""
    if not output.is_dir():
        return
    folders = sorted(each.name for each in output.iterdir())
    for at in range(0, len(folders), PIECE):
        for name in actions.unknown(store, folders[at : at + PIECE]):
            shutil.rmtree(output / name, ignore_errors=True)
