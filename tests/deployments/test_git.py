"""The mirror of a repository: resolving refs, fetching, and everything that it must never run."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.config import Application, git_names
from agent.config.mistakes import Mistake
from agent.deployments.errors import DeploymentFailed
from agent.deployments.git import Mirror
from agent.deployments.git_errors import last_words
from agent.processes import command
from agent.util.stop import Stop
from tests.servers.process import run
from tests.servers.shop import ALONE, Origin


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    made = Origin(tmp_path)
    made.commit({"version": "one"})
    return made


def mirror_of(origin: Origin, **options: Any) -> Mirror:
    path = origin.path.parent / "srv"
    path.mkdir(exist_ok=True)
    every: dict[str, Any] = {"repository": str(origin.path), "path": path} | options
    return Mirror(Application(**every))


def fetch(mirror: Mirror) -> command.CommandResult:
    with Stop() as stop:
        mirror.prepare(stop, "a-1")
    return command.run(mirror.fetch(), timeout=20, env=mirror.environment())


def resolve(mirror: Mirror, ref: str, *, force: bool = False) -> str:
    with Stop() as stop:
        return mirror.resolve(ref, stop, "a-1", force=force)


def refused(mirror: Mirror, ref: str) -> str:
    with pytest.raises(DeploymentFailed) as message:
        resolve(mirror, ref)
    return str(message.value)


def test_a_branch_a_tag_and_a_commit_are_found(origin: Origin) -> None:
    wanted = origin.commit({"version": "side"}, branch="side")
    origin.tag("v1")
    origin.tag("v2", "--annotate", "--message=two")
    later = origin.commit({"version": "later"})
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    for ref in ("side", "v1", "v2", "refs/heads/side", "refs/tags/v2", wanted, wanted[:7]):
        assert resolve(mirror, ref) == wanted, ref
    assert resolve(mirror, "main") == later


@pytest.mark.parametrize("ref", ["nosuch", "HEAD", "FETCH_HEAD", "0123456789", "refs/pull/1/head", "0" * 40])
def test_a_ref_that_is_not_there_is_reported(origin: Origin, ref: str) -> None:
    origin.git("push", "--quiet", "origin", "main:master")  # where the HEAD of a mirror leads
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    with pytest.raises(DeploymentFailed) as message:
        resolve(mirror, ref)
    assert str(message.value) == f"{origin.path} has no branch, tag or commit {ref}"


@pytest.mark.parametrize("how", ["branch", "tag"])
def test_full_hash_selects_its_commit_before_a_ref_of_this_name(origin: Origin, how: str) -> None:
    reviewed = origin.commit({"version": "reviewed"})
    other = origin.commit({"version": "not reviewed"})
    if how == "tag":
        origin.git("push", "--quiet", "origin", f"{other}:refs/tags/{reviewed}")
    else:
        origin.git("push", "--quiet", "origin", f"{other}:refs/heads/{reviewed}")
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    assert resolve(mirror, reviewed) == reviewed
    assert resolve(mirror, f"refs/{'tags' if how == 'tag' else 'heads'}/{reviewed}") == other


def test_a_branch_named_like_the_hash_of_no_commit_is_the_branch(origin: Origin) -> None:
    wanted = origin.commit({"version": "two"})
    origin.git("push", "--quiet", "origin", f"{wanted}:refs/heads/{'ab' * 20}")
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    assert resolve(mirror, "ab" * 20) == wanted


def test_a_branch_named_like_a_short_hash_is_ambiguous_and_both_are_named(origin: Origin) -> None:
    one = origin.commit({"version": "one"})
    two = origin.commit({"version": "two"})
    origin.git("push", "--quiet", "origin", f"{two}:refs/heads/{one[:7]}")
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    both = f"refs/heads/{one[:7]} (commit {two}) and commit {one}"
    assert refused(mirror, one[:7]) == f"{one[:7]} is ambiguous: {both}; give one of these names"
    assert resolve(mirror, f"refs/heads/{one[:7]}") == two
    assert resolve(mirror, one) == one


def test_a_tag_named_like_a_branch_is_ambiguous_and_both_are_named(origin: Origin) -> None:
    one = origin.commit({"version": "one"})
    two = origin.commit({"version": "two"})
    origin.git("push", "--quiet", "origin", f"{one}:refs/tags/main")
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    both = f"refs/tags/main (commit {one}) and refs/heads/main (commit {two})"
    assert refused(mirror, "main") == f"main is ambiguous: {both}; give one of these names"
    assert [resolve(mirror, ref) for ref in ("refs/tags/main", "refs/heads/main")] == [one, two]


def test_two_refs_to_one_commit_are_not_ambiguous(origin: Origin) -> None:
    wanted = origin.commit({"version": "one"})
    origin.git("push", "--quiet", "origin", f"{wanted}:refs/tags/main", f"{wanted}:refs/heads/{wanted[:7]}")
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    assert [resolve(mirror, ref) for ref in ("main", wanted[:7])] == [wanted, wanted]


@pytest.mark.parametrize("digits", [40, 9])
def test_a_commit_that_no_ref_reaches_any_more_needs_force(origin: Origin, digits: int) -> None:
    gone = origin.commit({"version": "withdrawn"})
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    assert resolve(mirror, gone[:digits]) == gone
    origin.git("reset", "--quiet", "--hard", "HEAD~1")
    origin.commit({"version": "instead"})
    assert fetch(mirror).ok
    message = refused(mirror, gone[:digits])
    assert message.startswith(f"no branch or tag of {origin.path} reaches commit {gone} any more")
    assert message.endswith("force deploys it")
    assert resolve(mirror, gone[:digits], force=True) == gone
    origin.git("push", "--quiet", "origin", f"{gone}:refs/tags/kept")
    assert fetch(mirror).ok
    assert resolve(mirror, gone[:digits]) == gone


def test_branches_of_a_shallow_repository_are_found(origin: Origin) -> None:
    wanted = origin.commit({"version": "two"})
    shallow = origin.path.with_name("shallow.git")
    run(["git", "clone", "--quiet", "--bare", "--depth=1", f"file://{origin.path}", shallow])
    mirror = mirror_of(origin, repository=str(shallow))
    assert fetch(mirror).ok
    assert resolve(mirror, "main") == wanted
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    assert resolve(mirror, f"{wanted}")


def test_forced_push_and_deleted_branch_are_followed(origin: Origin) -> None:
    origin.commit({"version": "two"})
    origin.git("push", "--quiet", "origin", "main:side")
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    origin.git("push", "--quiet", "origin", "--delete", "side")
    origin.git("reset", "--quiet", "--hard", "HEAD~1")
    forced = origin.commit({"version": "forced"})
    assert fetch(mirror).ok
    assert resolve(mirror, "main") == forced
    with pytest.raises(DeploymentFailed):
        resolve(mirror, "side")


def test_files_left_by_a_killed_git_do_not_block_the_next_fetch(origin: Origin) -> None:
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    for lock in ("packed-refs.lock", "refs/heads/main.lock", "shallow.lock", "objects/info/commit-graph.lock"):
        (mirror.path / lock).touch()
    wanted = origin.commit({"version": "two"})
    assert fetch(mirror).ok
    assert resolve(mirror, "main") == wanted


def test_no_hook_is_run(origin: Origin, tmp_path: Path) -> None:
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        file = mirror.path / "hooks" / hook
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
        file.chmod(0o755)
    wanted = origin.commit({"version": "two"})
    assert fetch(mirror).ok
    (tmp_path / "release").mkdir()
    argv = mirror.check_out(wanted, tmp_path / "release")
    assert command.run(argv, timeout=20, env=mirror.environment()).ok
    assert [each.name for each in (tmp_path / "release").iterdir()] == ["version"]
    assert not (tmp_path / "hooked").exists()


def test_no_helper_that_an_address_names_is_run(origin: Origin, tmp_path: Path) -> None:
    outcome = fetch(mirror_of(origin, repository=f"ext::touch {tmp_path}/helped"))
    assert "transport 'ext' not allowed" in outcome.stderr
    assert not (tmp_path / "helped").exists()


@pytest.mark.parametrize(
    "repository",
    [
        "https://git.example.com/shop.git",
        "https://git.example.com:8443/@team/shop.git",
        "http://[::1]:3000/shop",
        "ssh://git@git.example.com:2222/shop.git",
        "git@git.example.com:team/shop.git",
        "git://git.example.com/shop",
        "file:///srv/git/shop.git",
        "/srv/git/shop.git",
    ],
)
def test_a_repository_url_or_path_is_accepted(repository: str) -> None:
    assert git_names.repository(repository) == repository


@pytest.mark.parametrize(
    "repository",
    [
        "https://git:battery-staple@git.example.com/shop.git",
        "https://git:battery@staple@git.example.com/shop.git",
        "https://battery-staple@git.example.com/shop.git",
        "ext::sh -c battery-staple",
        "--upload-pack=battery-staple",
        "-host:battery-staple",
        "../battery-staple",
        "https://",
        "",
        7,
    ],
)
def test_a_wrong_repository_is_refused_without_repeating_a_password(repository: Any) -> None:
    with pytest.raises(Mistake) as wrong:
        git_names.repository(repository)
    assert "@" not in str(repository) or "staple" not in str(wrong.value)


class Guarded(SimpleHTTPRequestHandler):
    """Serves files to callers with the password."""

    WANTED = "Basic " + base64.b64encode(b"git:battery-staple").decode()

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == self.WANTED:
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@contextmanager
def served(origin: Origin) -> Iterator[str]:
    """The HTTP address of the repository, served to callers with the password."""
    run(["git", "-C", origin.path, "update-server-info"], env=os.environ | ALONE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Guarded, directory=str(origin.path.parent))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("known", [True, False])
def test_credentials_file_is_used_unchanged_and_never_shown(origin: Origin, tmp_path: Path, known: bool) -> None:
    file = tmp_path / "the store's; touch owned"
    with served(origin) as address:
        password = "battery-staple" if known else "correct-horse"
        file.write_text(f"{address.replace('//', f'//git:{password}@')}\n")
        file.chmod(0o600)
        content = file.read_text()
        outcome = fetch(mirror_of(origin, repository=f"{address}/origin.git", credentials=file))
    assert outcome.ok is known, outcome
    assert password not in outcome.stdout + outcome.stderr
    # git's own credential store would remove refused credentials from the file.
    assert file.read_text() == content
    if not known:
        assert last_words(outcome.stderr) == f"fatal: Authentication failed for '{address}/origin.git/'"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("warning: x\nfatal: no such thing\nPlease make sure\n", "fatal: no such thing"),
        ("first\nlast\n\n", "last"),
        ("", ""),
        ("fatal: unable to access 'https://git:pass@word@host/x'", "fatal: unable to access 'https://host/x'"),
        ("ERROR: no such repository\nfatal: Could not read from remote repository.\n", "ERROR: no such repository"),
        ("fatal: Could not read from remote repository.", "fatal: Could not read from remote repository."),
    ],
)
def test_error_of_git_is_reported_by_its_fatal_line(output: str, message: str) -> None:
    assert last_words(output) == message


# Placeholders in place of files


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n".format("ab" * 32)
TRACKED = "*.bin filter=lfs diff=lfs merge=lfs -text\n"


def incomplete(origin: Origin) -> str:
    """The reason for which the newest commit is refused; empty if accepted."""
    mirror = mirror_of(origin)
    assert fetch(mirror).ok
    wanted = resolve(mirror, "main")
    try:
        with Stop() as stop:
            mirror.refuse_files_elsewhere(wanted, stop, "a-1")
    except DeploymentFailed as error:
        return str(error).replace(wanted, "C")
    return ""


@pytest.mark.parametrize("where", [".gitattributes", "deep/down/.gitattributes"])
def test_a_commit_with_files_in_git_lfs_is_refused_by_their_names(origin: Origin, where: str) -> None:
    folder = where.rpartition("/")[0]
    names = [f"{folder}/{name}".lstrip("/") for name in ("añadir it.bin", "two.bin")]
    origin.commit({where: TRACKED, "version": "one"} | dict.fromkeys(names, POINTER))
    message = "commit C has files in Git LFS, which the agent does not fetch: {} and 1 more"
    assert incomplete(origin) == message.format(names[0])
    origin.commit({where: TRACKED, "version": "one", names[0]: b"\0the file itself"})
    assert incomplete(origin) == ""
    origin.commit({"docs/pointer.txt": POINTER})  # not one by any attribute
    assert incomplete(origin) == ""


def test_a_commit_with_submodules_is_refused_by_their_folders(origin: Origin) -> None:
    commit = origin.git("rev-parse", "HEAD")
    for name in ("lib/one", "lib/two"):
        origin.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")
        origin.git("commit", "--quiet", "--message", "a submodule")
    origin.git("push", "--quiet", "origin", "main")
    message = "commit C has submodules, which the agent does not fetch: lib/one and 1 more"
    assert incomplete(origin) == message
