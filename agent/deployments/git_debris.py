"""Files that an interrupted git leaves in a mirror: locks and unfinished files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

LOCKS = (
    "*.lock",
    "refs/**/*.lock",
    "objects/*.lock",
    "objects/info/*.lock",
    "objects/info/commit-graphs/*.lock",
    "gc.pid",
)
UNFINISHED = (
    "objects/tmp_*",
    "objects/[0-9a-f][0-9a-f]/tmp_obj_*",
    "objects/pack/tmp_*",
    "objects/pack/.tmp-*",
    "objects/info/commit-graphs/tmp_graph_*",
    # A fetch keeps it until its refs are written. A pack with a leftover .keep is never repacked.
    "objects/pack/*.keep",
)
BROKEN = (
    "not a git repository",
    "bad config",
    "bad object",
    "bad tree object",
    "unexpected line in",
    "unterminated line in",
    "object file",
    "is corrupt",
    "unable to read",
    "unable to parse",
    "failed to unpack tree",
    "unable to resolve reference",
    "invalid sha1 pointer",
    "missing blob",
    "missing tree",
)
"""Parts of git's messages about a broken file, as after a power cut, in the mirror or in the remote repository."""


def sweep(mirror: Path) -> None:
    """Remove these files. No git may be running in the mirror."""
    for left in _left(mirror):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _left(mirror: Path) -> Iterator[Path]:
    for pattern in (*LOCKS, *UNFINISHED):
        yield from mirror.glob(pattern)


def may_be_broken(message: str) -> bool:
    """Whether git's message may come from a broken file of the mirror."""
    return any(each in message for each in BROKEN)
