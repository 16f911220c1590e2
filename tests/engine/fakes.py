"""Kinds whose steps a test defines, and an engine in this process that runs them."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marshmallow import INCLUDE, fields

from agent import clock
from agent.config import Actions, Agent, Settings
from agent.engine.executor import Executor
from agent.kinds.base import Args, Done, Kind, Running, Step, StepResult
from agent.kinds.base.registry import Registry
from agent.models import Request, Requester
from agent.store import Store, transitions
from agent.store.enqueue import Enqueuer
from tests.store.scenes import info

Work = Callable[[Step], Any]


class FakeArgs(Args):
    class Meta:
        unknown = INCLUDE

    password = fields.String(metadata={"secret": True})


class Fake(Kind):
    """Runs the function given by the test."""

    args = FakeArgs
    timeout = 600.0

    def __init__(self, settings: Settings, name: str, step: Work, resume: Work | None, cancel: Work | None) -> None:
        super().__init__(settings)
        self.name = name
        self._step, self._resume, self._cancel = step, resume, cancel
        self.seen: list[tuple[str, Any]] = []

    def step(self, step: Step) -> StepResult:
        self.seen.append(("step", step.payload))
        outcome: StepResult = self._step(step)
        return outcome

    def resume(self, step: Step) -> StepResult:
        self.seen.append(("resume", step.payload))
        outcome: StepResult = self._resume(step) if self._resume else super().resume(step)
        return outcome

    def cancel(self, step: Step) -> None:
        self.seen.append(("cancel", step.payload))
        if self._cancel:
            self._cancel(step)


class Scene:
    """A store, kinds, and executors on it; each executor stands for a process."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.settings = Settings(agent=Agent(db=directory / "agent.db"), actions=Actions(**options))
        self.store = Store(self.settings.agent.db)
        self.enqueuer = Enqueuer(self.store, 100_000)
        self.registry = Registry()
        self.changes = 0
        self.threads: list[threading.Thread] = []
        self.executors: list[Executor] = []

    def kind(
        self, step: Work, *, name: str = "fake", resume: Work | None = None, cancel: Work | None = None, **more: Any
    ) -> Fake:
        """Offer a kind; `more` are its attributes."""
        made = Fake(self.settings, name, step, resume, cancel)
        for attribute, value in more.items():
            setattr(made, attribute, value)
        self.registry.offered[name] = made
        return made

    def schedule(self, kind: str = "fake", args: Any = None, secrets: dict[str, Any] | None = None) -> str:
        request = Request(kind, args or {}, secrets or {}, {}, Requester.API, "a@b", ("Server", "here"), clock.now())
        return self.enqueuer.schedule(request).action_id

    def executor(self) -> Executor:
        """Another executor, as another process has it."""
        made = Executor(self.store, self.registry, self.settings, self._changed)
        self.executors.append(made)
        return made

    def drain(self) -> Executor:
        """Run all waiting actions in this thread, with a new executor that releases the queue afterwards."""
        made = self.executor()
        made.drain()
        self.stop(made)
        return made

    def stop(self, executor: Executor) -> None:
        """Stop the executor like the end of its process."""
        self.executors.remove(executor)
        assert executor.stop(10)

    def start(self, executor: Executor) -> threading.Thread:
        """Drain in another thread."""
        thread = threading.Thread(target=executor.drain)
        self.threads.append(thread)
        thread.start()
        return thread

    def crash(self, kind: str = "fake") -> str:
        """An action that a killed executor left in the middle of a step."""
        action_id = self.schedule(kind)
        assert transitions.claim(self.store)
        return action_id

    def run(self, step: Work, **options: Any) -> "StoredState":
        """Schedule one action with these steps, run it and return its stored state."""
        self.kind(step)
        action_id = self.schedule(**options)
        self.drain()
        return self.stored(action_id)

    def stored(self, action_id: str) -> "StoredState":
        action, history = info(self.store, action_id)
        message = self.store.read("SELECT finished_message FROM actions WHERE id = ?", (action_id,))[0][0]
        return StoredState(
            str(action.state), action.state_payload, message, [str(line.state) for line in reversed(history)]
        )

    def close(self) -> None:
        for executor in self.executors:
            executor.stop(5)
        for thread in self.threads:
            thread.join(10)
        self.store.close()

    def _changed(self) -> None:
        self.changes += 1


class StoredState:
    """The stored state of an action."""

    def __init__(self, state: str, payload: Any, message: str, history: list[str]) -> None:
        self.state, self.payload, self.message, self.history = state, payload, message, history

    def __repr__(self) -> str:
        return f"{self.state} {self.payload!r} {self.message!r} {self.history}"


def count_to(target: int, after: float = 0.0) -> Callable[[Step], StepResult]:
    """Steps that count."""

    def step(step: Step) -> StepResult:
        number = (step.payload or 0) + 1
        return Running(number, after=after) if number < target else Done(number, f"counted to {number}")

    return step
