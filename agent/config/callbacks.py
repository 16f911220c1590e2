"""The options of the receivers of callbacks."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from agent.config import addresses, validators
from agent.config.mistakes import NOTHING, Mistake
from agent.config.option import option, required

EVENTS = (
    "action.scheduled",
    "action.held",
    "action.approved",
    "action.started",
    "action.cancel_requested",
    "action.final",
)
"""The events of an action that receivers may get, as the audit trail names them."""


@dataclass(frozen=True)
class Callbacks:
    """The receivers of callbacks: each gets the events of all actions."""

    urls: tuple[str, ...] = required(
        addresses.receivers,
        "The receivers; each callback is an AsyncAction.",
        '["https://orchestrator.example.com/actions"]',
    )
    events: tuple[str, ...] = option(
        ("action.final",),
        validators.globs_of(EVENTS),
        f"Which events are sent, * allowed: {', '.join(EVENTS)}.",
    )
    secret: Path | None = option(
        None, validators.secret_file, "A file with the secret that signs the callbacks.", '"credential:callbacks"'
    )
    previous_secret: Path | None = option(
        None,
        validators.secret_file,
        "A file with the previous secret while receivers change to the new one: webhook-signature then has both "
        "signatures.",
        '"credential:callbacks-previous"',
    )
    timeout: float = option(10.0, validators.positive_number, "Timeout of one delivery, in seconds.")
    keep: float = option(
        86400.0, validators.positive_number, "Seconds that an undelivered callback is retried before it is dropped."
    )

    def __post_init__(self) -> None:
        if self.previous_secret is not None and self.secret is None:
            raise Mistake("a value, as previous_secret is set", NOTHING, at="secret")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the events that match `events`."""
        return tuple(event for event in EVENTS if any(fnmatchcase(event, glob) for glob in self.events))
