"""The base class of all kinds and the parts that kinds share. Modules of `agent.kinds` import from here."""

from agent.kinds.base.kind import (
    MASK,
    Args,
    Done,
    Failed,
    Kind,
    NotOffered,
    Running,
    Step,
    StepResult,
    Unsupported,
    failed,
)

__all__ = [
    "MASK",
    "Args",
    "Done",
    "Failed",
    "Kind",
    "NotOffered",
    "Running",
    "Step",
    "StepResult",
    "Unsupported",
    "failed",
]
