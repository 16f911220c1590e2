"""Writes files of setup: only new ones, or ones that setup or the package wrote before."""

import hashlib
import os
import pwd
from pathlib import Path

from agent.cli.exits import Usage
from agent.cli.setup import record
from agent.cli.setup.change import Change, Note
from agent.util import atomic_files


def write(path: Path, text: str, purpose: str, *, mode: int = 0o644, owner: str | None = None) -> Change:
    """Write a file; keep it if it was changed since setup wrote it. Raises `Usage` for a file of another origin."""
    data = text.encode()
    present = atomic_files.read(path)
    known = _noted(path)
    changed_since = present is not None and known is not None and _is_changed(present, known)
    if present is not None and present != data and known is None and not _is_without_options(present):
        raise Usage(f"{path} was not written by setup: move it away, then run agentctl setup again")
    before = known["before"] if known else (present.decode() if present not in (None, data) else None)

    def make() -> None:
        if changed_since:
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        atomic_files.replace(path, data, mode=mode)
        if owner is not None:
            user = pwd.getpwnam(owner)
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)

    new_folder = known["new_folder"] if known else not path.parent.exists()
    note: Note = {
        "what": "file",
        "path": str(path),
        "sha256": _hash(data),
        "before": before,
        "new_folder": new_folder,
    }

    def is_made() -> bool:
        return changed_since or atomic_files.read(path) == data

    return Change(f"write {path}: {purpose}", is_made, make, note)


def undo(note: Note) -> str:
    """Restore the previous content or remove the file; keep it if it was changed since. Returns what was done."""
    path = Path(note["path"])
    present = atomic_files.read(path)
    if present is None:
        return ""
    if _hash(present) != note["sha256"]:
        return f"kept {path}: it was changed since"
    if note["before"] is not None:
        atomic_files.replace(path, note["before"].encode(), mode=0o644)
        return f"put back {path} as it was"
    atomic_files.remove(path)
    if note.get("new_folder") and not any(path.parent.iterdir()):
        path.parent.rmdir()
    return f"removed {path}"


def _noted(path: Path) -> Note | None:
    return next((each for each in record.read() if each["what"] == "file" and each["path"] == str(path)), None)


def _is_changed(present: bytes, known: Note) -> bool:
    """Whether the content is neither setup's nor, after an interruption, the previous one."""
    return bool(_hash(present) != known["sha256"] and present.decode(errors="replace") != known["before"])


def _is_without_options(present: bytes) -> bool:
    """Whether the file has only comments, such as the agent.toml of the package."""
    lines = present.decode(errors="replace").splitlines()
    return all(not line.strip() or line.startswith("#") for line in lines)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
