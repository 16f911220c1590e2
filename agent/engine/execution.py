"""One running action: its steps, the reasons to stop, its outcome."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from agent import clock, log
from agent.config import Settings
from agent.errors import ActionNotAvailable, AgentError, InvalidArgs
from agent.kinds.base import Done, Failed, Kind, Running, Step, StepResult
from agent.kinds.base.masking import mask
from agent.kinds.base.orphaned import OrphanedKind
from agent.kinds.base.registry import Registry
from agent.models import Claimed, Json, Outcome
from agent.processes import command
from agent.processes.recording import recording
from agent.processes.trace import traced
from agent.processes.transcript import Transcript
from agent.store import encoding
from agent.util.nesting_depth import DEPTH, too_deep
from agent.util.stop import Stop

Result = TypeVar("Result", bound=StepResult)


class Execution:
    """The running action in the memory of the executor."""

    def __init__(
        self,
        claimed: Claimed,
        kind: Kind,
        timeout: float,
        *,
        interrupted: bool = False,
        transcript: Transcript | None = None,
        configured_secrets: Sequence[str] = (),
    ) -> None:
        self.action = claimed.action
        self.version = claimed.version
        self.kind = kind
        self.payload = self.recorded = claimed.action.state_payload
        self.stop = Stop()
        self._secrets = claimed.secrets
        self._configured_secrets = configured_secrets
        self._transcript = transcript
        self.interrupted = interrupted
        self._timeout = timeout
        self._deadline = clock.monotonic() + timeout - claimed.elapsed
        self._stopped_as: Outcome | None = None
        if claimed.cancel_requested:
            self.cancel()

    def cancel(self) -> None:
        self.stop.request("cancelled")

    def check_deadline(self) -> None:
        if clock.monotonic() > self._deadline:
            self.stop.request(f"timed out after {self._timeout:g} s")

    @property
    def has_secrets(self) -> bool:
        return bool(self._secrets)

    @property
    def seconds_left(self) -> float:
        return self._deadline - clock.monotonic()

    def outcome(self, last: Done | Failed) -> Outcome:
        """The outcome of the action; `last` is the result of its last step."""
        if isinstance(last, Done):
            return Outcome.DONE
        if self._stopped_as is not None:
            return self._stopped_as
        interrupted = isinstance(last.payload, dict) and last.payload.get("interrupted") is True
        return Outcome.INTERRUPTED if interrupted else Outcome.FAILED

    def next(self) -> StepResult:
        """Take the next step, or end the action if it was cancelled or ran out of time; never raises."""
        if self.interrupted and (ended := command.end_left_over(self.action.id, self.version)):
            log.left_over_ended(self.action.id, ended)
        self.check_deadline()
        if self.stop.requested:
            return self._stopped()
        with recording(self._transcript), traced(self.action.traceparent):
            outcome = self._masked(self._step())
        self.payload = outcome.payload
        if self.stop.requested and not isinstance(outcome, Done):
            return self._stopped()
        return outcome

    def _step(self) -> StepResult:
        try:
            return self._take_step()
        except AgentError as error:
            return Failed({"message": error.sentence, "layers": error.layers}, error.sentence)
        except Exception as error:
            log.step_raised(self.action.id, self.action.kind, error)
            return Failed({"message": str(error), "error": type(error).__name__}, str(error) or type(error).__name__)

    def _take_step(self) -> StepResult:
        if self.interrupted:
            self.interrupted = False
            return _storable(self.kind.resume(self._input()))
        return _storable(self.kind.step(self._input()))

    def _stopped(self) -> Failed:
        """The end of an action that was cancelled or ran out of time."""
        reason = self.stop.reason or "stopped"
        self._stopped_as = Outcome.CANCELLED if reason == "cancelled" else Outcome.TIMED_OUT
        leftovers = None
        try:
            with recording(self._transcript), traced(self.action.traceparent):
                leftovers = self.kind.cancel(self._input())
        except Exception as error:
            log.step_raised(self.action.id, self.action.kind, error)
        payload = {self._stopped_as.value: True, "payload": self.payload}
        if self.interrupted:
            payload["interrupted"] = True
        if leftovers:
            payload["message"] = f"{reason}: {leftovers}"
        return self._masked(Failed(payload, f"{reason}: {leftovers}" if leftovers else reason))

    def _input(self) -> Step:
        args = _loaded(self.kind, self.action.args, self._secrets, self.payload)
        return Step(self.action, args, self.payload, self.stop, self.version)

    def _masked(self, outcome: Result) -> Result:
        """The outcome with the secrets of the action masked: a server or command may have printed one.

        A final outcome has the configured secrets masked too. A `Running` payload keeps them: masking a weak
        password could change a name that the next step reads.
        """
        secrets = [value for value in self._secrets.values() if isinstance(value, str) and value]
        if not isinstance(outcome, Running):
            secrets.extend(self._configured_secrets)
        if not secrets:
            return outcome
        changes = {"payload": mask(outcome.payload, secrets)}
        if not isinstance(outcome, Running):
            changes["message"] = mask(outcome.message, secrets)
        return replace(outcome, **changes)


def kind_of(claimed: Claimed, registry: Registry, settings: Settings) -> Kind:
    """The kind that runs the action; an `OrphanedKind` if the configuration now lacks it or refuses the arguments."""
    action = claimed.action
    try:
        kind = registry.get(action.kind)
        if action.state_payload is not None:
            _loaded(kind, action.args, claimed.secrets, action.state_payload)
    except (ActionNotAvailable, InvalidArgs) as reason:
        return OrphanedKind(settings, registry.classes.get(action.kind, Kind), reason)
    except Exception as error:  # a bug of the kind: its step raises it again, and the action fails
        log.step_raised(action.id, action.kind, error)
    return kind


def _loaded(kind: Kind, args: Json, secrets: dict[str, Json], payload: Json) -> Any:
    """The arguments for the steps. Raises `InvalidArgs`."""
    args = args | secrets if secrets else args
    return kind.load(args) if payload is None else kind.load_resumed(args, payload)


def _storable(outcome: StepResult) -> StepResult:
    """The outcome, if it can be stored. Raises `TypeError` or `ValueError`."""
    if not isinstance(outcome, Running | Done | Failed):
        raise TypeError("the step returned neither Running, Done nor Failed")
    if isinstance(outcome, Running):
        if not isinstance(outcome.after, int | float):
            raise TypeError("the step returned `after` that is not a number")
    elif not isinstance(outcome.message, str):
        raise TypeError("the step returned a message that is not a string")
    if too_deep(encoding.dumps(outcome.payload).encode()):
        raise ValueError(f"the step returned a payload nested deeper than {DEPTH} levels")
    return outcome
