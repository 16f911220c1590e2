"""Read the lines of a PostgreSQL configuration file and of the files that it includes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

INCLUDE = re.compile(r"\s*(include|include_if_exists|include_dir)\s*=?\s*'((?:[^'\\]|'')*)'", re.IGNORECASE)
DEPTH = 10
"""Maximum depth of nested includes in the server (`CONF_FILE_MAX_DEPTH` in guc.h)."""


def lines_of(file: Path, depth: int = DEPTH) -> Iterator[str]:
    """The lines of the file; the lines of an included file replace the include.

    An unreadable include stays a line: only the server knows its content. Raises `OSError`.
    """
    for line in file.read_text(errors="replace").splitlines():
        try:
            included = list(_included(line, file.parent, depth))
        except OSError:
            included = [line]
        yield from included


def name_in(line: str) -> str:
    """The name of the setting that a line assigns, in lower case."""
    return line.partition("=")[0].strip().lower()


def _included(line: str, directory: Path, depth: int) -> Iterator[str]:
    """The lines that replace a line. Raises `OSError` if the line includes an unreadable file."""
    found = INCLUDE.match(line)
    if found is None or not depth:
        yield line
        return
    place = directory / found[2].replace("''", "'")
    if found[1].lower() == "include_dir":
        files = sorted(each for each in place.iterdir() if each.suffix == ".conf" and not each.name.startswith("."))
    else:
        files = [place] if found[1].lower() == "include" or place.exists() else []
    for file in files:
        yield from lines_of(file, depth - 1)
