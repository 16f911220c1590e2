"""The wording of life-cycle events, in one place. No argument, header or payload is ever logged."""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from urllib.parse import urlsplit

from agent.models import Action, Request
from agent.ration import Ration

log = logging.getLogger("agent")
refusals, unreadable, crowds = Ration(10), Ration(10), Ration(1)
"""The journal drops lines, of others too, where there are many: so many a second are enough of wrong calls."""


def set_up() -> None:
    """One line an event on standard error, where systemd's journal adds the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    # Also what libraries say: without a handler of ours their texts are written as they are.
    log.handlers = logging.getLogger().handlers = [handler]
    threading.excepthook = lambda ended: thread_ended(ended.thread.name if ended.thread else "", ended.exc_value)
    log.propagate = False
    log.setLevel(logging.INFO)
    # What neither our lines nor gunicorn's show is not collected.
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None  # the documented way to leave out the caller's place
    # A tick that is skipped because one is under way is how the drain is meant to work.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def one_line(text: str) -> str:
    """The text with every character escaped that ends a line, steers a terminal or reorders what is shown."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class PrioritisedLines(logging.Formatter):
    """A record is one line with its priority. Each line of a traceback has the priority and a mark, too."""

    def begin(self, record: logging.LogRecord) -> str:
        return _priority(record.levelno)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        begin = self.begin(record)
        message, *traced = super().format(record).split("\n")
        return "\n".join([f"{begin}{message}", *(f"{begin}  | {one_line(line)}" for line in traced)])


class _Lines(PrioritisedLines):
    """The same with the level."""

    def begin(self, record: logging.LogRecord) -> str:
        return f"{super().begin(record)}{record.levelname} "


PRIORITIES = {logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>", logging.CRITICAL: "<2>"}
"""How a line tells systemd's journal of its level."""


@cache
def _journal() -> bool:
    """Whether standard error is the journal, by the two numbers that systemd says of it."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _priority(level: int) -> str:
    return PRIORITIES.get(level, "") if _journal() else ""


def refusal_to_start(reason: str) -> str:
    """The last line of an agent that does not start, as standard error takes it."""
    return f"{_priority(logging.ERROR)}agent: {one_line(reason)}"


def scheduled(actions: Sequence[tuple[str, Request]]) -> None:
    """The ids and requests that one commit wrote down."""
    if actions:
        _say(
            logging.INFO,
            [
                f"action {action_id} {request.kind} scheduled by {request.user} via {request.requester}"
                for action_id, request in actions
            ],
        )


def started(action: Action) -> None:
    _say(logging.INFO, [f"{_whose(action)} started"])


def resumed(action: Action, interrupted: bool) -> None:
    how = "interrupted in a step" if interrupted else "handed over between steps"
    log.warning("%s taken over, %s", _whose(action), how)


def finished(action: Action, state: str, message: str) -> None:
    level = logging.INFO if state == "DONE" else logging.WARNING
    _say(level, [f"{_whose(action)} is {state}: {message}"])


def expired(action_ids: Sequence[str]) -> None:
    for action_id in action_ids:
        log.warning("action %s is FAILED: expired before it started", action_id)


def handed_over(action: Action) -> None:
    log.info("%s left between steps for the next executor", _whose(action))


def held(action: Action) -> None:
    log.info("%s is held in the queue by maintenance mode", _whose(action))


def cancel_asked(action: Action, user: str) -> None:
    log.info("%s is asked to stop by %s", _whose(action), user)


def _whose(action: Action) -> str:
    return f"action {action.id} {action.kind} of {action.user} via {action.requester}"


def _say(level: int, lines: Sequence[str]) -> None:
    """Straight to standard error, in the form of the other lines.

    For what is said of every action: a record of `logging` would cost a tenth of all that the action costs.
    """
    if log.isEnabledFor(level):
        name = f"{_priority(level)}{logging.getLevelName(level)}"
        # As logging does it: what happens matters more than what is said of it.
        with suppress(OSError, ValueError):
            sys.stderr.write("".join([f"{name} {one_line(line)}\n" for line in lines]))


def left_over_ended(action_id: str, pids: list[int]) -> None:
    log.warning("action %s: ended what a killed agent left running: %s", action_id, pids)


def step_raised(action_id: str, kind: str, error: BaseException) -> None:
    log.error("action %s %s raised %s", action_id, kind, _raised(error))


def thread_ended(name: str, error: BaseException | None) -> None:
    log.error("the thread %s ended: %s", name, _raised(error) if error else "without an exception")


def plan_raised(kind: str, error: BaseException) -> None:
    log.error("the plan of %s raised %s", kind, _raised(error))


def executing(lock: str) -> None:
    log.info("this process executes the queue (%s)", lock)


def not_executing(lock: str, holder: str) -> None:
    log.warning(
        "this process stores actions and executes none: process %s executes the queue of this database (%s); "
        "it takes over when that process ends",
        holder,
        lock,
    )


def store_unavailable(causes: list[str]) -> None:
    log.error("the database cannot be used now, trying again: %s", "; ".join(causes))


def pruned(count: int) -> None:
    log.info("%d old finished actions removed", count)


def request_failed(method: str, route: str, error: BaseException) -> None:
    log.error("%s %s raised %s", method, route, _raised(error))


def _raised(error: BaseException) -> str:
    """What and where, not the message: that may quote what the action or the request was given."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{where}"


def answer_broken_off(method: str, route: str, error: BaseException) -> None:
    log.error("the answer to %s %s broke off: %s", method, route, _raised(error))


def request_refused(status: int, error: str) -> None:
    _say_of_a_refusal(refusals, logging.WARNING, "a request was refused with %d: %s", status, error)


def request_cut(seconds: float) -> None:
    text = "a request was cut off: not all of it was there after %.0f seconds"
    _say_of_a_refusal(crowds, logging.WARNING, text, seconds)


def body_refused() -> None:
    text = "there is no room for more large bodies: the request that has waited longest for its body is refused"
    _say_of_a_refusal(crowds, logging.WARNING, text)


def connections_closed(peer: str, count: int) -> None:
    text = "%s has %d connections: the one that has waited longest is closed to make room"
    _say_of_a_refusal(crowds, logging.WARNING, text, peer, count)


def callers_not_authenticated(bind: str) -> None:
    log.warning("callers are not authenticated: whoever reaches %s on this machine may schedule any action", bind)


def tokens_in_the_clear(bind: str) -> None:
    log.warning("tokens travel unencrypted to %s: api.tls is not set", bind)


def every_certificate_may_all() -> None:
    log.warning("api.tokens is not set: whoever api.tls.clients_ca certifies may schedule any action")


def maintenance_in_memory(flag: str) -> None:
    log.warning("maintenance mode ends with a reboot: its flag %s lies in a file system that is kept in memory", flag)


def callbacks_not_signed() -> None:
    log.warning("callbacks are sent unsigned: callbacks.secret is not set")


def caller_refused(status: int, address: str, reason: str) -> None:
    text = "a caller from %s was refused with %d: %s"
    _say_of_a_refusal(refusals, logging.WARNING, text, address or "the unix socket", status, reason)


def secret_unreadable(option: str, reason: str) -> None:
    _say_of_a_refusal(unreadable, logging.ERROR, "%s: %s", option, reason)


def _say_of_a_refusal(ration: Ration, level: int, text: str, *values: object) -> None:
    """Unless that was said often enough; then how often more is said with the next one."""
    if (left_out := ration.take()) is None:
        return
    if left_out:
        log.log(level, "and %d more calls were refused", left_out)
    log.log(level, text, *values)


def receiver_fails(url: str, reason: str) -> None:
    log.warning("callbacks to %s wait: %s", _origin(url), reason)


def receiver_answers(url: str) -> None:
    log.info("callbacks to %s are taken again", _origin(url))


def callbacks_dropped(url: str, count: int, keep: float) -> None:
    log.error("callbacks to %s: %d were not taken within %g s and are dropped", _origin(url), count, keep)


def receiver_removed(url: str, count: int) -> None:
    log.warning("callbacks to %s: %d are dropped, their URL is not configured any more", _origin(url), count)


def _origin(url: str) -> str:
    """Scheme, host and port: what follows them may be a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def tokens_not_read(reason: str, kept: int, seconds: float) -> None:
    what = "no token is valid until the file is right"
    if kept:
        what = f"the {kept} identities that can be read with certainty stay valid for {seconds:.0f} seconds, no other"
    log.error("%s; %s", reason, what)


def database_closed(path: str, mode: int) -> None:
    log.warning("%s: users other than its owner could read it (mode %04o): the mode is 0600 now", path, mode)


def revocations_not_read(reason: str) -> None:
    log.error("%s; no certificate is accepted until the list is right", reason)


def configuration_kept(reason: str) -> None:
    log.error("reload: %s; the configuration of before stays in force", reason)
