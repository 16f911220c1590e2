"""Limits the nesting depth of JSON."""

import re

DEPTH = 64
"""Maximum nesting of objects and lists, in a body and in a payload."""

# An unterminated string extends to the end of the text. The possessive quantifiers avoid backtracking: linear time.
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def too_deep(text: bytes) -> bool:
    """Whether the text, JSON or not, opens more than `DEPTH` brackets inside one another."""
    # The fast path: almost all texts have fewer brackets than allowed levels.
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
