"""The wording of life-cycle events, in one place. No argument, header or payload is ever logged."""

import logging
from collections.abc import Sequence

from agent.models import Request

log = logging.getLogger("agent")


def set_up() -> None:
    """One line an event on standard error, where systemd's journal adds the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)
    # What neither our lines nor gunicorn's show is not collected.
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None  # the documented way to leave out the caller's place
    # A tick that is skipped because one is under way is how the drain is meant to work.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


class _Lines(logging.Formatter):
    """Every line with its level, also of a record that has several."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(f"{record.levelname} {line}" for line in super().format(record).splitlines())


def scheduled(actions: Sequence[tuple[str, Request]]) -> None:
    """The ids and requests that one commit wrote down, told as one record: each costs as much as the call itself."""
    if actions:
        log.info(
            "\n".join(
                [
                    f"action {action_id} {request.kind} scheduled by {request.user} via {request.requester}"
                    for action_id, request in actions
                ]
            )
        )


def started(action_id: str, kind: str) -> None:
    log.info("action %s %s started", action_id, kind)


def resumed(action_id: str, kind: str, interrupted: bool) -> None:
    how = "interrupted in a step" if interrupted else "handed over between steps"
    log.warning("action %s %s taken over, %s", action_id, kind, how)


def finished(action_id: str, kind: str, state: str, message: str) -> None:
    log.log(
        logging.INFO if state == "DONE" else logging.WARNING,
        "action %s %s is %s: %s",
        action_id,
        kind,
        state,
        message,
    )


def handed_over(action_id: str, kind: str) -> None:
    log.info("action %s %s left between steps for the next executor", action_id, kind)


def cancel_asked(action_id: str, kind: str) -> None:
    log.info("action %s %s is asked to stop", action_id, kind)


def left_over_ended(action_id: str, pids: list[int]) -> None:
    log.warning("action %s: ended what a killed agent left running: %s", action_id, pids)


def step_raised(action_id: str, kind: str, error: type[BaseException], where: str) -> None:
    # The place, not the message: that may quote what the action was given.
    log.error("action %s %s raised %s at %s", action_id, kind, error.__name__, where)


def executing(lock: str) -> None:
    log.info("this process executes the queue (%s)", lock)


def store_unavailable(causes: list[str]) -> None:
    log.error("the database cannot be used now, trying again: %s", "; ".join(causes))


def pruned(count: int) -> None:
    log.info("%d old finished actions removed", count)


def request_failed(method: str, route: str, error: type[BaseException], where: str) -> None:
    log.error("%s %s raised %s at %s", method, route, error.__name__, where)


def request_refused(status: int, error: str) -> None:
    log.warning("a request was refused with %d: %s", status, error)


def configuration_kept(reason: str) -> None:
    log.error("reload: %s; the configuration of before stays in force", reason)
