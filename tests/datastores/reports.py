"""What a resync reports of its progress, as a test sees it."""

from typing import Any

from agent.datastores.progress import Progress


def into(phases: list[str]) -> Progress:
    """Append each phase that is reported, with its detail."""

    def report(state: dict[str, Any]) -> None:
        detail = state.get("progress", {}).get("detail")
        phases.append(f"{state['phase']}: {detail}" if detail else state["phase"])

    return Progress(report)


def nowhere() -> Progress:
    """Reports that no test reads."""
    return Progress(lambda state: None)
