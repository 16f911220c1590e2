"""Copies the checkout with fixed modes and times, independent of the machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "agent.db*")


def copy(checkout: Path, to: Path, epoch: int) -> Path:
    """Copy the files for a build; returns `to`."""
    shutil.copytree(checkout, to, ignore=NOT_COPIED)
    normalise(to, epoch)
    return to


def normalise(tree: Path, epoch: int) -> None:
    """Give all files and folders the modes of a package, and the time `epoch`, in seconds since 1970."""
    for each in (tree, *tree.rglob("*")):
        if not each.is_symlink():
            each.chmod(0o755 if each.is_dir() or os.access(each, os.X_OK) else 0o644)
        os.utime(each, (epoch, epoch), follow_symlinks=False)
