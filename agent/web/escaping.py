"""Escape untrusted text for a page: control characters, terminal sequences, text direction."""

import re

ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|[ -/]*[0-~]?)|\x9b[0-?]*[ -/]*[@-~]?"
)
"""Sequences that steer a terminal, whole or broken off: CSI, OSC and other strings, and those of two characters."""


def line(text: str, most: int = 20_000) -> str:
    """The text with every character escaped that is not printable; the end of a longer text is left out."""
    cut = text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else _escaped(each) for each in cut)


def output(text: str) -> str:
    """What commands printed, as lines: as a terminal would leave it, without colours."""
    plain = ESCAPE.sub("", text).replace("\r\n", "\n")
    plain = "\n".join(each.rstrip("\r").rpartition("\r")[2] for each in plain.split("\n"))
    if plain.isprintable():
        return plain
    return "".join(each if each.isprintable() or each in "\n\t" else _escaped(each) for each in plain)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
