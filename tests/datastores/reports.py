"""What a resync reports of its progress, as a test sees it."""

from agent.datastores.progress import Progress
from agent.datastores.resync_report import Report


def into(phases: list[str]) -> Progress:
    """Append each phase that is reported, with its detail."""

    def report(report: Report) -> None:
        detail = (report.progress or {}).get("detail")
        phases.append(f"{report.phase}: {detail}" if detail else report.phase)

    return Progress(report)


def nowhere() -> Progress:
    """Reports that no test reads."""
    return Progress(lambda report: None)
