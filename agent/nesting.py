"""How deep a JSON text is nested."""

import re

DEPTH = 64
"""How deep objects and lists may be nested, in a body and in a payload."""

STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
BRACKET = re.compile(rb"[\[\]{}]")


def too_deep(text: bytes) -> bool:
    """Whether the text, JSON or not, opens more than `DEPTH` brackets inside one another."""
    # Fewer brackets than levels allowed: nothing to measure, as in all but a few texts.
    if text.count(b"[") + text.count(b"{") <= DEPTH:
        return False
    depth = 0
    for bracket in BRACKET.finditer(STRING.sub(b"", text)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > DEPTH:
            return True
    return False
