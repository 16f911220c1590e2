"""Refuses commits with files outside the repository: the agent fetches neither submodules nor Git LFS."""

from collections.abc import Callable

from agent.deployments.errors import DeploymentFailed, failure
from agent.processes.command import CommandResult

SUBMODULE = "160000 "
"""The mode of a submodule in a tree."""
POINTER = "version https://git-lfs.github.com/spec/v1"
"""The first line of a pointer to a file in Git LFS."""
NOTHING_FOUND = 1
"""The exit status of `git grep` without a match."""

Git = Callable[..., CommandResult]
"""Runs git in the mirror with the given arguments."""


def refuse_files_elsewhere(git_hash: str, git: Git) -> None:
    """Raises `DeploymentFailed` if the release would contain empty folders or pointers in place of files."""
    _refuse(git_hash, "submodules", _submodules(git_hash, git))
    _refuse(git_hash, "files in Git LFS", _in_lfs(git_hash, git))


def _submodules(git_hash: str, git: Git) -> list[str]:
    # -d lists only folders and submodules.
    listed = git("ls-tree", "-r", "-d", "-z", git_hash)
    if not listed.ok:
        raise failure(listed)
    return [entry.partition("\t")[2] for entry in listed.stdout.split("\0") if entry.startswith(SUBMODULE)]


def _in_lfs(git_hash: str, git: Git) -> list[str]:
    # Without the attribute, such a text is an ordinary file.
    if not _found(git_hash, git, "filter=lfs", ":(glob)**/.gitattributes"):
        return []
    return _found(git_hash, git, POINTER)


def _found(git_hash: str, git: Git, text: str, *where: str) -> list[str]:
    """The files of the commit that contain the text."""
    found = git("grep", "-l", "-z", "-I", "--fixed-strings", "-e", text, git_hash, "--", *where)
    if found.status == NOTHING_FOUND and found.ended is None:
        return []
    if not found.ok:
        raise failure(found)
    return [name.partition(":")[2] for name in found.stdout.split("\0") if name]


def _refuse(git_hash: str, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise DeploymentFailed(f"commit {git_hash} has {what}, which the agent does not fetch: {names[0]}{more}")
