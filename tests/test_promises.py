"""Each promise in docs/promises.rst names existing tests."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
TEXT = (CHECKOUT / "docs" / "promises.rst").read_text()
NAMED = sorted(set(re.findall(r"``(tests/[\w/]+\.py)::(\w+)``", TEXT)))


def named_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_named_test_exists(path: str, name: str) -> None:
    assert name in named_in(CHECKOUT / path)


def test_each_promise_names_a_test() -> None:
    promises = re.findall(r"^\*\*(?:.+)\n((?:    .+\n)+)", TEXT, re.MULTILINE)
    assert len(promises) == TEXT.count("\n**")
    assert all("``tests/" in message for message in promises)
