"""The progress reports of a resync, collected for a test."""

from agent.datastores.progress import ResyncProgress
from agent.datastores.resync_report import Report


def into(phases: list[str]) -> ResyncProgress:
    """Append each phase that is reported, with its detail."""

    def report(report: Report) -> None:
        detail = (report.progress or {}).get("detail")
        phases.append(f"{report.phase}: {detail}" if detail else report.phase)

    return ResyncProgress(report)


def nowhere() -> ResyncProgress:
    """Reports that no test reads."""
    return ResyncProgress(lambda report: None)
