"""The rows of the page's tables of actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median

from agent import clock
from agent.api.context import context
from agent.models import Action, Outcome, State
from agent.store import action_list
from agent.store.action_list import Filter, Item
from agent.web import current_user

RECENT = 2000
"""Maximum distance in `seq` to earlier runs, so that a view of a large table stays fast."""
RUNS = 20
"""Maximum runs for the usual duration."""
WORDS = {Outcome.TIMED_OUT: "timed out"}


@dataclass(frozen=True)
class Row:
    """A row. `held`: why it waits. `seconds`: its duration. `share`: the length of its bar, from 0 to 100."""

    item: Item
    held: str | None
    seconds: float | None
    share: float
    may_cancel: bool
    may_approve: bool

    @property
    def status(self) -> str:
        """The state as a word, which also names icon and colour."""
        return status(self.item.state, self.item.outcome, self.held)


def status(state: State, outcome: Outcome | None, held: str | None) -> str:
    if outcome is not None:
        return WORDS.get(outcome, outcome.value)
    if state is State.NEW:
        return "held" if held else "waiting"
    return "running"


def rows(items: Sequence[Item]) -> list[Row]:
    """The rows of these items."""
    longest = max((each for item in items if (each := _seconds(item)) is not None), default=0.0)
    return [_row(item, longest) for item in items]


def pending(limit: int) -> tuple[list[Row], int]:
    """The running and the first waiting actions, in the order of execution, and the count of all."""
    items, count = action_list.queue(context().store, limit)
    return rows(items), count


def finished(wanted: Filter, limit: int) -> list[Row]:
    """Final actions, newest first."""
    return rows(action_list.page(context().store, wanted, limit))


@dataclass(frozen=True)
class UsualDuration:
    """The median duration of `runs` runs, in seconds."""

    seconds: float
    runs: int


def usual(kind: str, seq: int) -> UsualDuration | None:
    """The usual duration of successful runs of this kind before `seq`; None if there were none."""
    wanted = Filter(states=(State.DONE,), kind=literal(kind), before=seq, after=seq - RECENT)
    found = [each for item in action_list.page(context().store, wanted, RUNS) if (each := _seconds(item)) is not None]
    return UsualDuration(median(found), len(found)) if found else None


def earlier(action: Action, resource: tuple[str, str], limit: int) -> list[Row]:
    """The actions of the same kind on the same resource that were scheduled earlier."""
    wanted = Filter(
        kind=literal(action.kind),
        resource_type=resource[0],
        resource_name=resource[1],
        before=action.seq,
        after=action.seq - RECENT,
    )
    return finished(wanted, limit)


def literal(kind: str) -> str:
    """A glob that matches only this kind."""
    return "".join(f"[{each}]" if each in "*?[" else each for each in kind)


def may_cancel(kind: str, state: State) -> bool:
    """Whether the user may cancel an action of this kind, and it can be cancelled."""
    identity, offered = current_user.user(), context().registry.offered.get(kind)
    if state.final or (identity is not None and not identity.may(kind)):
        return False
    return state is State.NEW or offered is None or offered.cancellable


def may_approve(item: Item | Action, held: str | None) -> bool:
    """Whether the user may approve an action, and an approval would have an effect."""
    identity = current_user.user()
    if identity is None or identity.read_only or "approve" not in identity.permissions or identity.email == item.user:
        return False
    return item.state is State.NEW and item.approved_by is None and (item.needs_approval or _is_window(held))


def _row(item: Item, longest: float) -> Row:
    held, seconds = context().engine.holds.reason(item), _seconds(item)
    # The square root keeps a short run visible beside a long one.
    share = 100 * sqrt(seconds / longest) if seconds and longest else 0.0
    return Row(item, held, seconds, share, may_cancel(item.kind, item.state), may_approve(item, held))


def _seconds(item: Item) -> float | None:
    if item.started_ts is None:
        return None
    end = clock.now() if item.finished_ts is None else item.finished_ts
    return max(0.0, (end - item.started_ts) / 1e6)


def _is_window(held: str | None) -> bool:
    return held is not None and held.startswith("the window ")
