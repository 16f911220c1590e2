"""Selects the actions of a list: the agent filters what it can, the rest is filtered here over several pages."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agent.cli.exits import Usage
from agent.client import ACTIONS, Client

OUTCOMES = ("done", "failed", "cancelled", "timed_out", "interrupted", "expired")
STATES = ("NEW", "RUNNING", "DONE", "FAILED")
PAGE = 500
"""Actions in one call, if this module filters them."""


class Found(NamedTuple):
    """The actions, and the ETag of the list; empty if they come from a file."""

    actions: list[Any]
    tag: str


class Selection(NamedTuple):
    """The newest `limit` actions with one of `states` or `outcomes`.

    `kind` without a wildcard is a kind's name or the last part of it. `more` are further filters of the API.
    """

    states: str | None
    limit: int
    outcomes: frozenset[str] = frozenset()
    whole_states: frozenset[str] = frozenset(STATES)
    kind: str | None = None
    oldest_first: bool = False
    more: Mapping[str, Any] = MappingProxyType({})

    def read(self, client: Client, tag: str = "", wait: float = 0) -> Found | None:
        """The actions; None if the list still has this ETag after `wait` seconds."""
        query: dict[str, Any] = {"state": self.states, "kind": self._glob(), **self.more}
        page = self.limit if self._agent_filters_all() else PAGE
        query["limit"] = page
        first = client.get(f"{ACTIONS}/list", tag, wait, **query)
        if first.status == 304:
            return None
        found, body = self._of(first.body["items"]), first.body
        while len(found) < self.limit and body["next"] is not None:
            body = client.get(f"{ACTIONS}/list", cursor=body["next"], **query).body
            found += self._of(body["items"])
        found = found[: self.limit]
        return Found(found[::-1] if self.oldest_first else found, first.headers.get("etag", ""))

    def _agent_filters_all(self) -> bool:
        return not self.outcomes and (self.kind is None or _is_glob(self.kind))

    def _glob(self) -> str | None:
        return self.kind if self.kind is None or _is_glob(self.kind) else f"*{self.kind}"

    def _of(self, actions: Iterable[Any]) -> list[Any]:
        return [each for each in actions if self._has_state(each) and self._has_kind(each["kind"])]

    def _has_state(self, action: Mapping[str, Any]) -> bool:
        return action["state"] in self.whole_states or action["outcome"] in self.outcomes

    def _has_kind(self, name: str) -> bool:
        return self.kind is None or _is_glob(self.kind) or name == self.kind or name.endswith(f".{self.kind}")


def ended(text: str | None, limit: int, kind: str | None, **more: Any) -> Selection:
    """Actions that have ended, with any outcome or one of those in `text`. Raises `Usage`."""
    outcomes = _words(text.lower(), OUTCOMES) if text else frozenset()
    whole = frozenset() if text else frozenset({"DONE", "FAILED"})
    return _selection(whole, outcomes, limit, kind, more)


def in_any_state(text: str | None, limit: int, kind: str | None, **more: Any) -> Selection:
    """Actions with one of the states (in capitals) and outcomes in `text`. Raises `Usage`."""
    if text is None:
        return Selection(states=None, limit=limit, kind=kind, more=more)
    words = (each if each in OUTCOMES else each.upper() if each.upper() in STATES else each for each in text.split(","))
    named = _words(",".join(words), (*STATES, *OUTCOMES))
    return _selection(named & frozenset(STATES), named & frozenset(OUTCOMES), limit, kind, more)


def _selection(
    whole: frozenset[str], outcomes: frozenset[str], limit: int, kind: str | None, more: Mapping[str, Any]
) -> Selection:
    states = whole | {"DONE" if each == "done" else "FAILED" for each in outcomes}
    return Selection(",".join(sorted(states)), limit, outcomes, whole, kind, more=more)


def _words(text: str, known: tuple[str, ...]) -> frozenset[str]:
    found = frozenset(text.split(","))
    if unknown := found - frozenset(known):
        raise Usage(f"--state: expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    return found


def _is_glob(kind: str) -> bool:
    return any(each in kind for each in "*?[")
