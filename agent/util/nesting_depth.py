"""How deep a JSON text is nested."""

import re

DEPTH = 64
"""How deep objects and lists may be nested, in a body and in a payload."""

# A string that never ends counts to the end of the text, and no part of it is tried twice: linear on any bytes.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def too_deep(text: bytes) -> bool:
    """Whether the text, JSON or not, opens more than `DEPTH` brackets inside one another."""
    # Fewer brackets than levels allowed: nothing to measure, as in all but a few texts.
    if text.count(b"[") + text.count(b"{") <= DEPTH:
        return False
    depth = 0
    for token in TOKEN.finditer(text):
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
        if depth > DEPTH:
            return True
    return False
