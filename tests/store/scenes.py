"""Short helpers that create requests and states."""

from typing import Any

from agent import clock
from agent.models import Action, Claimed, Request, Requester, State, Transition
from agent.store import Store, actions, transitions
from agent.store.enqueue import Enqueuer

NO_LIMIT = 1_000_000


def request(
    kind: str = "test", args: Any = None, *, secrets: dict[str, Any] | None = None, key: str | None = None, **more: Any
) -> Request:
    """A request of a caller."""
    resource = more.pop("resource", ("Server", "here"))
    return Request(
        kind, {} if args is None else args, secrets or {}, {}, Requester.API, "a@b", resource, clock.now(), key, **more
    )


def schedule(store: Store, *args: Any, limit: int = NO_LIMIT, **options: Any) -> str:
    """The id of a new action."""
    return Enqueuer(store, limit).schedule(request(*args, **options)).action_id


def claim(store: Store) -> Claimed:
    """The head of the queue, running."""
    claimed = transitions.claim(store)
    assert claimed is not None
    return claimed


def finish(store: Store, state: State = State.DONE, payload: Any = None) -> str:
    """Run the head of the queue to its end; its id."""
    claimed = claim(store)
    transitions.finish(store, claimed.action.seq, state, payload, "over", claim_next=False)
    return claimed.action.id


def info(store: Store, action_id: str) -> tuple[Action, list[Transition]]:
    """An action and its whole history."""
    action, version = actions.by_id(store, action_id)
    return action, list(actions.history(store, action, version))


def ids(rows: list[dict[str, str]]) -> list[str]:
    return [row["id"] for row in rows]
