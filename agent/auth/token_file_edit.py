"""Edit the text of a tokens file and keep all other content, including comments."""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agent.config import toml
from agent.errors import ConfigError

Document = dict[str, Any]


class Block:
    """The lines from one table header up to the next. The block before the first header has no keys."""

    def __init__(self, keys: tuple[str, ...], lines: list[str]) -> None:
        self.keys, self.lines = keys, lines

    def has(self, sha256: str) -> bool:
        """Whether this table has the hash as a direct member."""
        found = [_member(line) for line in self.lines]
        return any(each and each[0] == "sha256" and str(each[1]).lower() == sha256 for each in found)

    def remove(self) -> None:
        """Remove all lines except trailing blank lines and comments, which may belong to the next block."""
        kept = len(self.lines)
        while kept and (not (line := self.lines[kept - 1].strip()) or line.startswith("#")):
            kept -= 1
        del self.lines[:kept]

    def drop(self, name: str) -> None:
        """Remove a member on a single line."""
        self.lines[:] = [line for line in self.lines if (_member(line) or ("",))[0] != name]


def with_identity(text: str, email: str, members: Mapping[str, Any]) -> str:
    """The text with a new identity appended."""
    return _appended(text, [f"[{_quoted(email)}]", *_lines(members)])


def with_token(text: str, email: str, token: Mapping[str, Any]) -> str:
    """The text with one more token for an existing identity."""
    return _appended(text, [f"[[{_quoted(email)}.tokens]]", *_lines(token)])


def without_identity(text: str, email: str) -> str:
    """The text without an identity and its tokens. Raises `ConfigError`."""

    def edit(blocks: list[Block]) -> None:
        for block in blocks:
            if block.keys[:1] == (email,):
                block.remove()

    return _edited(text, edit, lambda document: document.pop(email))


def without_token(text: str, email: str, sha256: str) -> str:
    """The text without one token. Raises `ConfigError`."""

    def edit(blocks: list[Block]) -> None:
        for block in _holders(blocks, email, sha256):
            if block.keys == (email,):
                block.drop("sha256")
            else:
                block.remove()

    return _edited(text, edit, lambda document: _drop(document[email], sha256))


def _edited(text: str, edit: Callable[[list[Block]], None], expect: Callable[[Document], object]) -> str:
    """The edited text. Raises `ConfigError` unless it parses to the document that `expect` produces."""
    expected = copy.deepcopy(toml.loads(text))
    expect(expected)
    blocks = list(_blocks(text))
    edit(blocks)
    edited = "".join(line for block in blocks for line in block.lines)
    try:
        found = toml.loads(edited)
    except toml.Mistake:
        found = None
    if found != expected:
        raise ConfigError("agentctl cannot edit this form of the file: edit it by hand")
    return edited


def _drop(identity: Document, sha256: str) -> None:
    if str(identity.get("sha256", "")).lower() == sha256:
        del identity["sha256"]
    if "tokens" in identity:
        identity["tokens"] = [each for each in identity["tokens"] if each["sha256"].lower() != sha256]
        if not identity["tokens"]:
            del identity["tokens"]


def _holders(blocks: list[Block], email: str, sha256: str) -> list[Block]:
    return [each for each in blocks if each.keys in ((email,), (email, "tokens")) and each.has(sha256)]


def _blocks(text: str) -> Iterator[Block]:
    block = Block((), [])
    for line in text.splitlines(keepends=True):
        if keys := _header(line):
            yield block
            block = Block(keys, [])
        block.lines.append(line if line.endswith("\n") else f"{line}\n")
    yield block


def _header(line: str) -> tuple[str, ...]:
    """The keys in a table header; empty for any other line."""
    if not line.lstrip().startswith("["):
        return ()
    try:
        found: Any = toml.loads(line)
    except toml.Mistake:
        return ()
    keys = []
    while isinstance(found, dict) and found:
        ((key, found),) = found.items()
        keys.append(key)
        found = found[0] if isinstance(found, list) else found
    return tuple(keys)


def _member(line: str) -> tuple[str, Any] | None:
    try:
        return next(iter(toml.loads(line).items()), None)
    except toml.Mistake:
        name = re.match(r"\s*(\w+)\s*=", line)
        return (name[1], None) if name else None


def _appended(text: str, lines: list[str]) -> str:
    return f"{text.rstrip()}\n\n".lstrip() + "\n".join(lines) + "\n"


def _lines(members: Mapping[str, Any]) -> list[str]:
    # Strings, lists of strings and booleans look the same in JSON and TOML; times are formatted by the caller.
    return [
        f"{name} = {value if name in ('created', 'expires') else json.dumps(value, ensure_ascii=False)}"
        for name, value in members.items()
        if value is not None
    ]


def _quoted(email: str) -> str:
    return json.dumps(email, ensure_ascii=False)
