"""The releases of one application: a folder for each, and the symbolic link `current` to the one in use."""

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
"""The units of an application run as another user, who must be able to read it, whatever the agent's umask."""


class Releases:
    """The releases below `path`. The name of a release is the target of `current`: `releases/<stamp>-<hash>`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make the folders. Raises `OSError`."""
        for folder in (*reversed(self.path.parents), self.path, self.path / FOLDER):
            if not folder.is_dir():
                _make_open(folder)

    def in_use(self) -> str | None:
        """The release that `current` points to; None if the link is missing or dangling.

        Raises `DeploymentFailed` if `current` is not a symbolic link.
        """
        link = self.path / LINK
        if not link.is_symlink():
            if link.exists():
                raise DeploymentFailed(f"{link} is no symbolic link, move it away first")
            return None
        return os.readlink(link) if link.is_dir() else None

    def named(self, git_hash: str) -> str:
        """A new name for a release of this commit. It sorts after all others, even if the clock went back."""
        moment = datetime.fromtimestamp(clock.now() // 1_000_000, UTC)
        for newest in self._names()[-1:]:
            with suppress(ValueError, OverflowError):  # the digits are no date
                made = datetime.strptime(newest.rpartition("-")[0], STAMP).replace(tzinfo=UTC)
                moment = max(moment, made + timedelta(seconds=1))
        return f"{FOLDER}/{moment.strftime(STAMP)}-{git_hash}"

    def make(self, release: str) -> None:
        """Create its folder, empty; an existing one is removed first. Raises `OSError`."""
        self.remove(release)
        folder = self.path / release
        folder.mkdir()
        folder.chmod(OPEN)

    def switch(self, release: str) -> None:
        """Point `current` to it, atomically and durably. Raises `OSError`."""
        draft = self.path / f".{LINK}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(release)
        os.rename(draft, self.path / LINK)
        atomic_files.sync(self.path)

    def remove(self, release: str) -> bool:
        """Remove a release that is not in use; false if a part of it is left.

        It is renamed first: half a release must not be mistaken for a complete one.
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
        """All releases but the newest `keep` and the `needed` ones."""
        for name in self._names()[:-keep]:
            if f"{FOLDER}/{name}" not in needed:
                yield f"{FOLDER}/{name}"

    def _names(self) -> list[str]:
        """The folders with the name of a release, oldest first."""
        return sorted(entry.name for entry in (self.path / FOLDER).iterdir() if NAME.fullmatch(entry.name))

    def sweep(self) -> list[str]:
        """Finish removals that a killed agent had begun. Returns the names of releases that cannot be removed."""
        left = sorted(entry for entry in (self.path / FOLDER).glob(".*") if NAME.fullmatch(entry.name[1:]))
        return [f"{FOLDER}/{entry.name}" for entry in left if not remove_tree(entry)]


def _make_open(folder: Path) -> None:
    """Create a folder with mode `OPEN` atomically: a kill leaves no folder with another mode. Raises `OSError`."""
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
    """The commit in the name of a release; None if the name has none."""
    found = NAME.fullmatch(Path(release).name) if release else None
    return found[1] if found else None
