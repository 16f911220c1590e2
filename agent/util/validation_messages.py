"""The messages of marshmallow, which nest as the data do, on one level."""

from typing import Any

from agent.errors import NO_MEMBER


def by_path(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    """The messages by the path of what they are about: `{"a.0.b": [...]}`."""
    if not isinstance(messages, dict):
        texts = messages if isinstance(messages, list) else [messages]
        return {prefix or NO_MEMBER: [str(text) for text in texts]}
    flat: dict[str, list[str]] = {}
    for name, inner in messages.items():
        flat |= by_path(inner, f"{prefix}.{name}" if prefix else str(name))
    return flat
