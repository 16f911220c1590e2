"""Escapes untrusted text for a page: control characters, terminal sequences, text direction."""

import re

ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|[ -/]*[0-~]?)|\x9b[0-?]*[ -/]*[@-~]?"
)
"""Terminal escape sequences, complete or truncated: CSI, OSC and other strings, and two-character sequences."""


def line(text: str, most: int = 20_000) -> str:
    """The text with unprintable characters escaped; cut after `most` characters."""
    cut = text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else _escaped(each) for each in cut)


def output(text: str) -> str:
    """The output of commands as a terminal would finally show it, without colours; unprintable characters escaped."""
    plain = ESCAPE.sub("", text).replace("\r\n", "\n")
    plain = "\n".join(each.rstrip("\r").rpartition("\r")[2] for each in plain.split("\n"))
    if plain.isprintable():
        return plain
    return "".join(each if each.isprintable() or each in "\n\t" else _escaped(each) for each in plain)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
