"""Names of branches, tags and commits: one check for arguments and hooks, with git's own rules."""

from __future__ import annotations

import subprocess

import pytest

from agent.config import git_names
from agent.config.mistakes import Mistake

ALLOWED = (
    "main", "feature/añadir", "(wip)", "a&b", "v1.0", "a.lock.b", "release/2026.01", "@a", "a@", "a{b}", "';touch",
    "#1", "$HOME", "refs/heads/main", "日本語", "a-", "lock", "x" * 200,
)  # fmt: skip
REFUSED = (
    "", "@", "a..b", "a@{1}", "a.lock", "a.lock/b", ".a", "a/.b", "a.", "a/", "/a", "a//b", "a b", "a~1", "a^", "a:b",
    "a?", "a*", "a[b", "a\\b", "a\tb", "a\nb", "a\x7fb",
)  # fmt: skip


def is_argument(name: str) -> bool:
    try:
        return git_names.git_ref(name) == name
    except Mistake:
        return False


def is_pushed(name: str) -> bool:
    try:
        return git_names.whole_ref(name) == name
    except Mistake:
        return False


@pytest.mark.parametrize("name", [*ALLOWED, *REFUSED])
def test_ref_name_is_allowed_exactly_if_git_allows_it(name: str) -> None:
    git = subprocess.run(["git", "check-ref-format", "--allow-onelevel", name], check=False).returncode == 0
    assert git is (name in ALLOWED)
    assert is_argument(name) is git
    if name != "@":  # a branch may have this name, as refs/heads/@
        assert is_pushed(f"refs/heads/{name}") is git


@pytest.mark.parametrize("name", ["-a", "--upload-pack=touch", "a\0b", "a\ud800", "x" * 1001, 7, None, ["main"]])
def test_options_of_git_and_values_that_are_not_text_are_refused(name: object) -> None:
    with pytest.raises(Mistake):
        git_names.git_ref(name)


def test_hook_may_name_only_branches_and_tags() -> None:
    assert is_pushed("refs/tags/v1")
    assert not any(map(is_pushed, ("main", "refs/pull/1/head", "refs/heads", "refs/heads/", "HEAD")))
