"""What setup has made on this host, for `--remove`: a file of root's, written before each change."""

import json
from pathlib import Path

from agent.cli.exits import Usage
from agent.cli.setup.change import Note
from agent.util import atomic_files

FILE = Path("/etc/agent/setup.json")


def read() -> list[Note]:
    """In the order in which it was made; nothing where setup has not run. Raises `Usage`."""
    data = atomic_files.read(FILE)
    if data is None:
        return []
    try:
        return list(json.loads(data)["made"])
    except (ValueError, KeyError, TypeError):
        raise Usage(f"{FILE} is no record of setup: remove what it made by hand, then the file") from None


def add(note: Note) -> None:
    """Note a change before it is made; a file once, with its newest content."""
    notes = read()
    if note not in notes:
        write([*(each for each in notes if "path" not in note or each.get("path") != note["path"]), note])


def write(notes: list[Note]) -> None:
    """Replace the record; remove the file of an empty one."""
    if notes:
        FILE.parent.mkdir(mode=0o755, exist_ok=True)
        atomic_files.replace(FILE, json.dumps({"made": notes}, indent=1).encode() + b"\n")
    else:
        atomic_files.remove(FILE)
