"""What a git that was ended leaves in a mirror: its locks, and the files that it had not finished."""

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
    # Held by a fetch until its refs are written: a pack that stays kept is never packed again.
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
"""What git says where a file of a repository is broken, as after a power cut: of this one or of the one it asks."""


def sweep(mirror: Path) -> None:
    """Remove it. No git may be running in the mirror."""
    for left in _left(mirror):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _left(mirror: Path) -> Iterator[Path]:
    for pattern in (*LOCKS, *UNFINISHED):
        yield from mirror.glob(pattern)


def may_be_broken(words: str) -> bool:
    """Whether git failed at what may be a broken file of the mirror."""
    return any(each in words for each in BROKEN)
