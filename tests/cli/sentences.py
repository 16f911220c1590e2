"""The failure messages in the code of agentctl and doctor, and the texts that tests expect, from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GAP = "\0"
"""Placeholder for a value in a sentence."""
SENTENCE_OF = {
    **dict.fromkeys(("Usage", "Missing", "ClientError", "Unreachable", "TimedOut", "ConfigError", "fail"), 0),
    **dict.fromkeys(("Refused", "Finding"), 1),
}
"""The position of the sentence in the arguments of these calls."""
WINDOW = 8
"""Consecutive characters that a sentence and an expectation must share to count as the same."""


def of_code(files: Iterable[Path]) -> dict[str, str]:
    """Each sentence, with `GAP` in place of values, and its place in the code."""
    found: dict[str, str] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and len(node.args) > SENTENCE_OF.get(_name(node), len(node.args)):
                for text in _texts(node.args[SENTENCE_OF[_name(node)]]):
                    if _windows(text):
                        found[text] = f"{file.relative_to(ROOT)}:{node.lineno}"
    return found


def of_tests(files: Iterable[Path]) -> list[frozenset[str]]:
    """The texts in tests, each as its windows."""
    texts = {text for file in files for node in ast.walk(ast.parse(file.read_text())) for text in _text(node)}
    return [found for text in texts if (found := _windows(text))]


def is_expected(sentence: str, expectations: Iterable[frozenset[str]]) -> bool:
    """Whether one expectation contains half of the sentence, without its values."""
    words = _windows(sentence)
    return any(2 * len(words & each) >= len(words) for each in expectations)


def _windows(text: str) -> frozenset[str]:
    parts = text.split(GAP)
    return frozenset(part[at : at + WINDOW] for part in parts for at in range(len(part) - WINDOW + 1))


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _texts(node: ast.expr) -> Iterator[str]:
    """The sentences that an expression may give."""
    if isinstance(node, ast.IfExp):
        yield from (*_texts(node.body), *_texts(node.orelse))
    elif isinstance(node, ast.BoolOp):
        for each in node.values:
            yield from _texts(each)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _texts(value)
    else:
        yield from _text(node)


def _text(node: ast.AST) -> Sequence[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        parts = [str(each.value) if isinstance(each, ast.Constant) else GAP for each in node.values]
        return ["".join(parts)]
    return []
