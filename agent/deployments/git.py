"""git: a bare mirror of an application's repository, and the checkout of its commits."""

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config import Application
from agent.deployments import git_debris
from agent.deployments.errors import DeploymentFailed, failure
from agent.deployments.git_errors import about_key, last_words
from agent.deployments.git_external_files import refuse_files_elsewhere
from agent.processes import command
from agent.processes.output import TAIL
from agent.util.stop import Stop

REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
WHOLE_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
SHORT_HASH = re.compile(r"[0-9a-f]{4,63}", re.ASCII)
SHORT_WORK = 60.0
"""Timeout, in seconds, of git commands that use neither the network nor many files."""
UMASK = 0o022
LISTED = 2**24
"""Bytes read of a list of files or folders."""
OPTIONS = (
    "core.hooksPath=/dev/null",
    # A fetch that succeeded must survive a power cut.
    "core.fsync=all",
    # No process of git continues in the background.
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "advice.detachedHead=false",
)


class Mirror:
    """The mirror of one application's repository: its branches and tags, nothing else."""

    def __init__(self, application: Application) -> None:
        self.path = application.path / "repository"
        self._application = application

    def prepare(self, stop: Stop, action: str) -> None:
        """Create the mirror if it is missing, and remove the files that an interrupted git left.

        Raises `DeploymentFailed`, `OSError`.
        """
        if not (self.path / "HEAD").exists():
            self.make("sha1", stop, action)
        self.sweep()

    def make(self, object_format: str, stop: Stop, action: str) -> None:
        """Create the mirror, empty, for hashes of this format; an existing one is removed first.

        Raises `DeploymentFailed`, `OSError`.
        """
        self.discard()
        # The history may contain private files, and only the agent needs it.
        self.path.mkdir(mode=0o700)
        # git before 2.29 has no such option, and SHA-1 only.
        other = [] if object_format == "sha1" else [f"--object-format={object_format}"]
        self._run(stop, action, "init", "--quiet", "--bare", "--template=", *other)

    def sweep(self) -> None:
        """Remove locks and unfinished files of an interrupted git. No git may be running in the mirror."""
        git_debris.sweep(self.path)

    def is_broken(self, message: str, stop: Stop, action: str) -> bool:
        """Whether git failed with this message because a file of the mirror is broken, as after a power cut."""
        if not git_debris.may_be_broken(message):
            return False
        checked = self._git(stop, action, "fsck", "--connectivity-only", "--no-dangling", "--no-progress")
        return checked.ended is None and checked.status is not None and checked.status > 0

    def forget_checked_out(self) -> None:
        """Remove git's index: with it, git would not write a file a second time."""
        (self.path / "index").unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the mirror: a power cut may have broken the files of a running fetch."""
        shutil.rmtree(self.path, ignore_errors=True)

    def fetch(self) -> list[str]:
        """The command that updates the mirror."""
        options = ("--quiet", "--prune", "--force", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        # Without --update-shallow, git silently fetches no branch of a repository that is itself a shallow clone.
        return self._argv("fetch", *options, "--update-shallow", "--", self._application.repository, *REFS)

    def check_out(self, git_hash: str, folder: Path) -> list[str]:
        """The command that writes the files of a commit, without `.git`, into an empty folder."""
        return self._argv(f"--work-tree={folder}", "read-tree", "--reset", "-u", git_hash)

    def resolve(self, ref: str, stop: Stop, action: str, *, force: bool = False) -> str:
        """The hash of the commit for a full or abbreviated hash, a tag or a branch.

        Raises `DeploymentFailed` if there is no such commit, if the name is ambiguous, and, unless `force`, if no
        branch or tag contains the commit.
        """
        named = self._find(ref, stop, action)
        if not named:
            raise DeploymentFailed(f"{self._application.repository} has no branch, tag or commit {ref}")
        git_hash = next(iter(named.values()))
        is_ref = any(name.startswith("refs/") for name in named)
        if not (force or is_ref or self._is_reached(git_hash, stop, action)):
            raise DeploymentFailed(
                f"no branch or tag of {self._application.repository} reaches commit {git_hash} any more: it was "
                "removed, or its branch was rewritten; force deploys it"
            )
        return git_hash

    def refuse_files_elsewhere(self, git_hash: str, stop: Stop, action: str) -> None:
        """Raises `DeploymentFailed` for a commit with submodules or files in Git LFS."""
        refuse_files_elsewhere(git_hash, lambda *words: self._git(stop, action, *words, tail=LISTED))

    def find(self, ref: str, stop: Stop, action: str) -> str | None:
        """The hash of the commit of that name, None if there is none.

        A full hash has precedence over a branch or tag of the same name. Raises `DeploymentFailed` if git fails, and
        if the name is ambiguous.
        """
        return next(iter(self._find(ref, stop, action).values()), None)

    def _find(self, ref: str, stop: Stop, action: str) -> dict[str, str]:
        """The one commit, under each full name that `ref` may stand for; empty if there is none."""
        if WHOLE_HASH.fullmatch(ref) and (found := self._commits([ref], stop, action)):
            return found
        named = self._commits([*_names(ref), *self._commits_beginning_with(ref, stop, action)], stop, action)
        if len(set(named.values())) > 1:
            raise DeploymentFailed(f"{ref} is ambiguous: {' and '.join(_described(named))}; give one of these names")
        return named

    def _commits(self, names: Sequence[str], stop: Stop, action: str) -> dict[str, str]:
        """The commit hashes by name; names of no commit are omitted. Raises `DeploymentFailed` if git fails."""
        queries = "".join(f"{name}^{{commit}}\n" for name in names).encode()
        found = self._git(stop, action, "cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=queries)
        if not found.ok:
            raise failure(found)
        answers = (line.split(" ") for line in found.stdout.splitlines())
        return {name: hash for name, (hash, *type) in zip(names, answers, strict=True) if type == ["commit"]}

    def _commits_beginning_with(self, ref: str, stop: Stop, action: str) -> list[str]:
        """The hashes of commits with this prefix: git itself would silently prefer a branch of that name."""
        if not SHORT_HASH.fullmatch(ref):
            return []
        found = self._git(stop, action, "rev-parse", f"--disambiguate={ref}")
        if not found.ok:
            raise failure(found)
        candidates = found.stdout.split()
        return [name for name, hash in self._commits(candidates, stop, action).items() if name == hash]

    def _is_reached(self, git_hash: str, stop: Stop, action: str) -> bool:
        """Whether a branch or a tag contains the commit."""
        found = self._git(stop, action, "for-each-ref", "--count=1", f"--contains={git_hash}", "--format=%(refname)")
        if not found.ok:
            raise failure(found)
        return bool(found.stdout.strip())

    def environment(self) -> dict[str, str]:
        """git's environment: no prompts, and no transport helper that a repository URL could name."""
        ssh = ["ssh", "-o", "BatchMode=yes"]
        if key := self._application.ssh_key:
            ssh += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
        if known := self._application.known_hosts:
            ssh += ["-o", f'UserKnownHostsFile="{known}"', "-o", "GlobalKnownHostsFile=/dev/null"]
            ssh += ["-o", "StrictHostKeyChecking=yes"]
        return command.passed_on() | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "LC_ALL": "C",
        }

    def _argv(self, *words: str) -> list[str]:
        options = [*OPTIONS, *self._credentials()]
        return ["git", f"--git-dir={self.path}", *(word for each in options for word in ("-c", each)), *words]

    def _credentials(self) -> Iterator[str]:
        """Options that only read the credentials file: git would erase credentials that a server refused once."""
        if file := self._application.credentials:
            store = shlex.join(["git", "credential-store", "--file", str(file), "get"])
            yield "credential.helper="
            yield f'credential.helper=!f() {{ test "$1" != get || {store}; }}; f'

    def _git(self, stop: Stop, action: str, *words: str, stdin: bytes = b"", tail: int = TAIL) -> command.CommandResult:
        options: dict[str, Any] = {"timeout": SHORT_WORK, "env": self.environment(), "umask": UMASK, "tail": tail}
        options["stdin"] = stdin
        return command.run(self._argv(*words), stop=stop, action=action, **options)

    def why(self, output: str) -> str:
        """The cause of git's failure in one sentence, from its output."""
        return about_key(last_words(output), self._application.ssh_key)

    def _run(self, stop: Stop, action: str, *words: str) -> None:
        outcome = self._git(stop, action, *words)
        if not outcome.ok:
            raise failure(outcome)


def _names(ref: str) -> Iterator[str]:
    """The full refs that `ref` may stand for. Names such as HEAD, which only the mirror has, are excluded."""
    if ref.startswith("refs/"):
        yield ref
        return
    yield f"refs/tags/{ref}"
    yield f"refs/heads/{ref}"


def _described(named: Mapping[str, str]) -> Iterator[str]:
    for name, git_hash in named.items():
        yield f"commit {git_hash}" if name == git_hash else f"{name} (commit {git_hash})"
