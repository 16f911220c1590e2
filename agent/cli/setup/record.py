"""The record of setup's changes on this host, for `--remove`: a file of root, written before and after each change."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.cli.exits import Usage
from agent.cli.setup.change import Note
from agent.util import atomic_files

FILE = Path("/etc/agent/setup.json")


@contextmanager
def alone() -> Iterator[None]:
    """Lock out other runs of setup; a kill releases the lock. Raises `Usage` while another one runs."""
    # Locks the parent folder, because setup may create and remove the folder of the record.
    folder = os.open(FILE.parent.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(folder)
        yield
    finally:
        os.close(folder)


def read() -> list[Note]:
    """The notes of changes in their order; empty if setup has not run. Raises `Usage`."""
    return _read()["made"]


def begun() -> list[Note]:
    """The notes of changes that were begun and not finished."""
    return _read().get("begun", [])


def add(note: Note, *, begin: bool = False) -> None:
    """Record a change before it is made. A file has one note, with its newest content.

    `begin`: list it in `begun` until `finish`.
    """
    notes, unfinished = read(), begun()
    if note not in notes:
        notes = [*(each for each in notes if "path" not in note or each.get("path") != note["path"]), note]
    if begin and note not in unfinished:
        unfinished.append(note)
    _write(notes, unfinished)


def finish(note: Note, more: Note | None) -> None:
    """Record that a change is made, and add `more` to its note."""
    whole = note | (more or {})
    _write([whole if each == note else each for each in read()], [each for each in begun() if each != note])


def write(notes: list[Note]) -> None:
    """Replace the record; an empty record removes the file."""
    _write(notes, [each for each in begun() if each in notes])


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Usage("another agentctl setup runs on this host: wait for its end") from None


def _read() -> dict[str, list[Note]]:
    data = atomic_files.read(FILE)
    if data is None:
        return {"made": []}
    try:
        found = json.loads(data)
        return {name: list(notes) for name, notes in found.items()} | {"made": list(found["made"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Usage(f"{FILE} is no record of setup: undo the changes of setup by hand, then remove the file") from None


def _write(notes: list[Note], unfinished: list[Note]) -> None:
    if notes:
        FILE.parent.mkdir(mode=0o755, exist_ok=True)
        found = {"made": notes} | ({"begun": unfinished} if unfinished else {})
        atomic_files.replace(FILE, json.dumps(found, indent=1).encode() + b"\n")
    else:
        atomic_files.remove(FILE)
