"""W3C Trace Context: parses, checks and continues the distributed trace of a request."""

import re
import secrets
from dataclasses import dataclass

TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
KNOWN_FLAGS = 0x03
"""Sampled, and random trace id; other flags must not be passed on."""
NOT_ZERO = "01"
"""The end of each new id: an id of only zeros is invalid."""
TRACESTATE = re.compile(r"[ -~\t]{1,512}")


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a trace; `str` gives the value of a `traceparent` header."""

    trace_id: str
    span_id: str
    flags: int

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


def parse(traceparent: str) -> Span | None:
    """The sender's span; None for an invalid header."""
    found = TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    if not found["trace"].strip("0") or not found["parent"].strip("0"):
        return None
    return Span(found["trace"], found["parent"], int(found["flags"], 16) & KNOWN_FLAGS)


def begin(traceparent: str | None) -> Span:
    """A new span in the sender's trace, or in a new trace if the header is missing or invalid."""
    parent = parse(traceparent) if traceparent is not None else None
    digits = secrets.token_hex(22)
    span_id = f"{digits[:14]}{NOT_ZERO}"
    if parent is None:
        return Span(f"{digits[14:]}{NOT_ZERO}", span_id, 0)
    return Span(parent.trace_id, span_id, parent.flags)


def is_state(tracestate: str) -> bool:
    """Whether the header `tracestate` may be passed on."""
    return TRACESTATE.fullmatch(tracestate) is not None
