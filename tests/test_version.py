"""The version in setup.cfg is repeated correctly in every other file."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PAGES = [CHECKOUT / "README.rst", *sorted((CHECKOUT / "docs").glob("*.rst"))]
REPEATED = {
    "CHANGES.rst": r"^(\d\S+)(?: \(unreleased\))?\n-+$",
    "ansible/CHANGELOG.md": r"^## (\S+)$",
    "ansible/galaxy.yml": r"^version: (\S+)$",
}
"""A pattern for the version in each file; the first match is the newest."""
NAMED = re.compile(r"datastore[-_]host[-_]agent[-_](\d+(?:\.\d+)+)|\bagentctl:(\d+(?:\.\d+)+)")
"""The name of a package or an image, with its version."""


@pytest.fixture(scope="module")
def version() -> str:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(CHECKOUT / "setup.cfg")
    return setup["metadata"]["version"]


@pytest.mark.parametrize("file", REPEATED)
def test_a_file_with_the_newest_version_has_that_of_setup_cfg(version: str, file: str) -> None:
    found = re.search(REPEATED[file], (CHECKOUT / file).read_text(), re.MULTILINE)
    assert found is not None and found[1] == version


def test_the_packages_that_pages_name_have_the_version_of_setup_cfg(version: str) -> None:
    named = {(page.name, found[1] or found[2]) for page in PAGES for found in NAMED.finditer(page.read_text())}
    assert {"README.rst", "ansible.rst", "privileges.rst", "recipe-kubernetes.rst", "runbook.rst"} <= {
        page for page, _ in named
    }
    assert {(page, each) for page, each in named if each != version} == set()
