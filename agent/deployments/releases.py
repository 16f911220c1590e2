"""The releases of one application: a folder each, and `current`, the link to the one in use."""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent import clock
from agent.deployments.errors import DeploymentFailed
from agent.util import atomic_files
from agent.util.remove_tree import remove_tree

NAME = re.compile(r"\d{8}-\d{6}-([0-9a-f]{40}|[0-9a-f]{64})", re.ASCII)
STAMP = "%Y%m%d-%H%M%S"
FOLDER = "releases"
LINK = "current"
OPEN = 0o755
"""The units that run an application are hardly ours: they must be able to read it, whatever our umask is."""


class Releases:
    """Those below one path. A release is named by what `current` points to: `releases/<stamp>-<hash>`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folders. Raises `OSError`."""
        for folder in (*reversed(self.path.parents), self.path, self.path / FOLDER):
            if not folder.is_dir():
                _make_open(folder)

    def in_use(self) -> str | None:
        """The release that `current` points to; None where it leads nowhere.

        Raises `DeploymentFailed` where it is something else than a link.
        """
        link = self.path / LINK
        if not link.is_symlink():
            if link.exists():
                raise DeploymentFailed(f"{link} is no symbolic link, move it away first")
            return None
        return os.readlink(link) if link.is_dir() else None

    def named(self, git_hash: str) -> str:
        """A new name for a release of this commit, which sorts after all others, whatever the clock says."""
        moment = datetime.fromtimestamp(clock.now() // 1_000_000, UTC)
        for newest in self._names()[-1:]:
            with suppress(ValueError, OverflowError):  # digits that are no date
                made = datetime.strptime(newest.rpartition("-")[0], STAMP).replace(tzinfo=UTC)
                moment = max(moment, made + timedelta(seconds=1))
        return f"{FOLDER}/{moment.strftime(STAMP)}-{git_hash}"

    def make(self, release: str) -> None:
        """Make its folder, empty whatever was there. Raises `OSError`."""
        self.remove(release)
        folder = self.path / release
        folder.mkdir()
        folder.chmod(OPEN)

    def switch(self, release: str) -> None:
        """Point `current` to it: at once, and for good also after a power cut. Raises `OSError`."""
        draft = self.path / f".{LINK}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(release)
        os.rename(draft, self.path / LINK)
        atomic_files.sync(self.path)

    def remove(self, release: str) -> bool:
        """Remove one that is not in use; false where something of it could not be removed.

        It gets another name first: half a release must not be taken for a whole one.
        """
        folder = self.path / release
        hidden = folder.with_name(f".{folder.name}")
        try:
            remove_tree(hidden)
            os.rename(folder, hidden)
        except FileNotFoundError:
            return not hidden.exists()
        except OSError:
            return False
        return remove_tree(hidden)

    def superfluous(self, keep: int, needed: Collection[str | None]) -> Iterator[str]:
        """All but the newest `keep`, and never one that is `needed`. Only what has a release's name is one."""
        for name in self._names()[:-keep]:
            if f"{FOLDER}/{name}" not in needed:
                yield f"{FOLDER}/{name}"

    def _names(self) -> list[str]:
        """The folders that have a release's name, the oldest first."""
        return sorted(entry.name for entry in (self.path / FOLDER).iterdir() if NAME.fullmatch(entry.name))

    def sweep(self) -> list[str]:
        """Remove what an agent that was killed had half removed; the names of what could not be removed."""
        left = sorted(entry for entry in (self.path / FOLDER).glob(".*") if NAME.fullmatch(entry.name[1:]))
        return [f"{FOLDER}/{entry.name}" for entry in left if not remove_tree(entry)]


def _make_open(folder: Path) -> None:
    """Make a folder that is open to all, or none: also where we are killed meanwhile. Raises `OSError`."""
    draft = folder.with_name(f".{folder.name}.new")
    try:
        with suppress(FileNotFoundError):
            draft.rmdir()
        draft.mkdir()
        draft.chmod(OPEN)
        os.rename(draft, folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def hash_of(release: str | None) -> str | None:
    """The commit of a release; None where its name does not tell."""
    found = NAME.fullmatch(Path(release).name) if release else None
    return found[1] if found else None
