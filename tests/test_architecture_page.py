"""docs/architecture.rst names files and functions that exist, and docs/index.rst names every page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_imports import LAYERS, MODULES, part_of

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
LITERALS = [" ".join(text.split()) for text in re.findall(r"``((?:agent|tests)/[^`]+)``", PAGE)]
NAMED = sorted(
    {
        (path, name)
        for path, _, names in (literal.partition(": ") for literal in LITERALS)
        for name in filter(None, names.split(", "))
    }
)


def defined_in(path: Path) -> set[str]:
    """The functions, classes and `Class.method`s of a module."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def test_page_names_many_files() -> None:
    assert len({path for path, _ in NAMED}) > 30


@pytest.mark.parametrize("path", sorted({literal.partition(": ")[0] for literal in LITERALS}))
def test_a_named_file_exists(path: str) -> None:
    assert (ROOT / path).exists(), f"docs/architecture.rst names {path}: write where that is now"


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_function_is_defined_there(path: str, name: str) -> None:
    assert name in defined_in(ROOT / path), f"docs/architecture.rst names {path}: {name}: write where that is now"


def test_the_packages_are_those_of_the_import_test() -> None:
    rows = PAGE[PAGE.index("Packages\n---") :]
    existing = {part_of(module) for module in MODULES}
    assert not {name for names in LAYERS for name in names if name in existing and f"``{name}``" not in rows}


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.rst").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.rst")} - {"index.rst"}
    assert not {page for page in pages if f"<{page}>" not in index}
