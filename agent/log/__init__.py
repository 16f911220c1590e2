"""The events of the log, each with its name, its fields and its wording. No argument, header or payload is ever logged.

An event is a record of `logging`: `record.event` is its name, `record.args` its fields, `record.msg` the wording with
the names of the fields. A formatter renders it: `agent/log/lines.py` as a line of text.
"""

import logging
import traceback
from collections.abc import Sequence
from logging import ERROR, INFO, WARNING
from urllib.parse import urlsplit

from agent.log import correlation
from agent.log.correlation import correlate
from agent.log.limited import Limited
from agent.models import Action, Held, Request

__all__ = ["correlate", "log"]
log = logging.getLogger("agent")

Field = str | int | float | None
ACTION = "action %(action_id)s %(action_kind)s of %(action_user)s via %(requester)s"
"""The beginning of a line with the fields of `_of`."""


def _limited(name: str, most: int) -> logging.Logger:
    child = log.getChild(name)
    child.filters = [Limited(log, most)]
    return child


refusals, unreadable, crowds = _limited("refusals", 10), _limited("unreadable", 10), _limited("crowds", 1)
"""Loggers of events that any caller can cause."""


def _log(level: int, event: str, text: str, fields: dict[str, Field], logger: logging.Logger = log) -> None:
    fields = {**correlation.current(), **fields}
    # The place of a record is the caller of the event's function.
    logger.log(level, text, *([fields] if fields else ()), extra={"event": event}, stacklevel=3)


def _of(action: Action | Held) -> dict[str, Field]:
    fields: dict[str, Field] = {
        "action_id": action.id,
        "action_kind": action.kind,
        "action_user": action.user,
        "action_state": str(action.state),
        "requester": action.requester,
    }
    return fields | _request_of(action.x_request_id, action.traceparent)


def _request_of(request_id: str | None, traceparent: str | None) -> dict[str, Field]:
    """The ids of the action's request; empty for actions of older agents."""
    fields = {"request_id": request_id, "trace_id": traceparent.split("-")[1] if traceparent else None}
    return {name: value for name, value in fields.items() if value is not None}


# Actions


def scheduled(action_id: str, request: Request) -> None:
    fields: dict[str, Field] = {
        "action_id": action_id,
        "action_kind": request.kind,
        "action_user": request.user,
        "action_state": "NEW",
        "requester": request.requester,
    }
    text = "action %(action_id)s %(action_kind)s scheduled by %(action_user)s via %(requester)s"
    _log(INFO, "action.scheduled", text, fields)


def started(action: Action) -> None:
    _log(INFO, "action.started", f"{ACTION} started", _of(action))


def resumed(action: Action, interrupted: bool) -> None:
    how = "interrupted in a step" if interrupted else "handed over between steps"
    _log(WARNING, "action.resumed", f"{ACTION} taken over, %(how)s", _of(action) | {"how": how})


def finished(action: Action, state: str, message: str) -> None:
    level = INFO if state == "DONE" else WARNING
    fields = _of(action) | {"action_state": state, "result": message}
    _log(level, "action.finished", f"{ACTION} is %(action_state)s: %(result)s", fields)


def expired(action_ids: Sequence[str]) -> None:
    text = "action %(action_id)s is %(action_state)s: expired before it started"
    for action_id in action_ids:
        _log(WARNING, "action.expired", text, {"action_id": action_id, "action_state": "FAILED"})


def handed_over(action: Action) -> None:
    _log(INFO, "action.handed_over", f"{ACTION} left between steps for the next executor", _of(action))


def held(action: Held) -> None:
    fields = _of(action) | {"reason": action.reason}
    _log(INFO, "action.held", f"{ACTION} is held in the queue: %(reason)s", fields)


def cancel_requested(action: Action, user: str) -> None:
    fields = _of(action) | {"user": user}
    _log(INFO, "action.cancel_requested", f"{ACTION}: cancel requested by %(user)s", fields)


def approved(action: Action) -> None:
    text = "action %(action_id)s %(action_kind)s of %(action_user)s is approved by %(user)s"
    _log(INFO, "action.approved", text, _of(action) | {"user": action.approved_by})


def left_over_ended(action_id: str, pids: list[int]) -> None:
    text = "action %(action_id)s: ended processes left by a killed agent: %(pids)s"
    _log(WARNING, "action.left_over_ended", text, {"action_id": action_id, "pids": str(pids)})


def step_raised(action_id: str, kind: str, error: BaseException) -> None:
    fields: dict[str, Field] = {"action_id": action_id, "action_kind": kind, "error": _raised(error)}
    _log(ERROR, "action.raised", "action %(action_id)s %(action_kind)s raised %(error)s", fields)


def plan_raised(kind: str, error: BaseException) -> None:
    fields: dict[str, Field] = {"action_kind": kind, "error": _raised(error)}
    _log(ERROR, "plan.raised", "the plan of %(action_kind)s raised %(error)s", fields)


# The queue and its database


def executor_raised(error: BaseException) -> None:
    text = "the executor raised %(error)s; it continues at the next tick"
    _log(ERROR, "executor.raised", text, {"error": _raised(error)})


def executing(lock: str) -> None:
    _log(INFO, "queue.taken", "this process executes the queue (%(lock)s)", {"lock": lock})


def not_executing(lock: str, holder: str) -> None:
    text = (
        "this process stores actions but does not execute them: process %(holder)s executes the queue of this database "
        "(%(lock)s); this process takes over when that one ends"
    )
    _log(WARNING, "queue.taken_by_another", text, {"holder": holder, "lock": lock})


def from_backup(failed: int, why: str) -> None:
    text = "%(failed)s waiting actions are FAILED and will not run: %(reason)s"
    _log(WARNING, "queue.from_backup", text, {"failed": failed, "reason": why})


def store_unavailable(causes: list[str]) -> None:
    text = "the database cannot be used now, retrying: %(cause)s"
    _log(ERROR, "database.unavailable", text, {"cause": "; ".join(causes)})


def pruned(count: int) -> None:
    _log(INFO, "actions.pruned", "%(count)d old finished actions removed", {"count": count})


def output_kept(cause: str) -> None:
    text = "the output of removed actions cannot be deleted, retrying later: %(cause)s"
    _log(ERROR, "output.kept", text, {"cause": cause})


def database_mode_changed(path: str, mode: int) -> None:
    text = "%(path)s: users other than its owner could read it (mode %(mode)04o): the mode is 0600 now"
    _log(WARNING, "database.mode_changed", text, {"path": path, "mode": mode})


# Requests and callers


def request_failed(method: str, route: str, error: BaseException) -> None:
    fields: dict[str, Field] = {"method": method, "route": route, "error": _raised(error)}
    _log(ERROR, "request.raised", "%(method)s %(route)s raised %(error)s", fields)


def answer_broken_off(method: str, route: str, error: BaseException) -> None:
    text = "the answer to %(method)s %(route)s was truncated: %(error)s"
    _log(ERROR, "answer.broken_off", text, {"method": method, "route": route, "error": _raised(error)})


def request_refused(status: int, error: str) -> None:
    text = "a request was refused with %(status)d: %(error)s"
    _log(WARNING, "request.refused", text, {"status": status, "error": error}, refusals)


def request_cut(seconds: float) -> None:
    text = "a request was cut off: incomplete after %(seconds).0f seconds"
    _log(WARNING, "request.cut_off", text, {"seconds": seconds}, crowds)


def body_refused() -> None:
    text = "too many large request bodies: the oldest incomplete request is refused"
    _log(WARNING, "body.refused", text, {}, crowds)


def connections_closed(peer: str, count: int) -> None:
    text = "%(peer)s has %(count)d connections: its oldest idle connection is closed"
    _log(WARNING, "connection.closed", text, {"peer": peer, "count": count}, crowds)


def caller_refused(status: int, address: str, reason: str) -> None:
    text = "a caller from %(peer)s was refused with %(status)d: %(reason)s"
    fields: dict[str, Field] = {"peer": address or "the unix socket", "status": status, "reason": reason}
    _log(WARNING, "caller.refused", text, fields, refusals)


def secret_unreadable(option: str, reason: str) -> None:
    fields: dict[str, Field] = {"option": option, "reason": reason}
    _log(ERROR, "secret.unreadable", "%(option)s: %(reason)s", fields, unreadable)


# Weak settings, at the start


def callers_not_authenticated(bind: str) -> None:
    text = "callers are not authenticated: every local process that can connect to %(bind)s may schedule any action"
    _log(WARNING, "api.not_authenticated", text, {"bind": bind})


def tokens_in_the_clear(bind: str) -> None:
    text = "tokens travel unencrypted to %(bind)s: api.tls is not set"
    _log(WARNING, "api.not_encrypted", text, {"bind": bind})


def permissions_not_configured() -> None:
    text = "api.tokens is not set: every client with a certificate of api.tls.clients_ca may schedule any action"
    _log(WARNING, "api.no_permissions", text, {})


def maintenance_in_memory(flag: str) -> None:
    text = "maintenance mode ends with a reboot: its flag %(path)s is in a file system in memory"
    _log(WARNING, "maintenance.in_memory", text, {"path": flag})


def callbacks_not_signed() -> None:
    text = "callbacks are sent unsigned: callbacks.secret is not set"
    _log(WARNING, "callbacks.not_signed", text, {})


# Files and configuration


def tokens_not_read(reason: str, kept: int, seconds: float) -> None:
    what = "no token is valid until the file is corrected"
    if kept:
        what = f"only the {kept} identities without mistakes stay valid, for {seconds:.0f} seconds"
    _log(ERROR, "tokens.not_read", "%(reason)s; %(consequence)s", {"reason": reason, "consequence": what})


def revocations_not_read(reason: str) -> None:
    text = "%(reason)s; no certificate is accepted until the list is corrected"
    _log(ERROR, "revocations.not_read", text, {"reason": reason})


def configuration_kept(reason: str) -> None:
    text = "reload: %(reason)s; the previous configuration stays active"
    _log(ERROR, "configuration.kept", text, {"reason": reason})


# Callbacks


def receiver_fails(url: str, reason: str) -> None:
    fields: dict[str, Field] = {"receiver": _origin(url), "reason": reason}
    _log(WARNING, "receiver.failed", "callbacks to %(receiver)s are delayed: %(reason)s", fields)


def receiver_answers(url: str) -> None:
    _log(INFO, "receiver.recovered", "callbacks to %(receiver)s are accepted again", {"receiver": _origin(url)})


def callbacks_dropped(url: str, count: int, keep: float) -> None:
    text = "%(count)d callbacks to %(receiver)s were not accepted within %(seconds)g s and are dropped"
    _log(ERROR, "callbacks.dropped", text, {"receiver": _origin(url), "count": count, "seconds": keep})


def subscription_ended(url: str, count: int) -> None:
    text = (
        "callbacks to %(receiver)s: the receiver answered 410, which ends its subscription; %(count)d are dropped. "
        "Remove it from callbacks.urls, or resume it with: agentctl callbacks resume"
    )
    _log(WARNING, "receiver.ended", text, {"receiver": _origin(url), "count": count})


def receiver_removed(url: str, count: int) -> None:
    text = "%(count)d callbacks to %(receiver)s are dropped: their URL is no longer configured"
    _log(WARNING, "receiver.removed", text, {"receiver": _origin(url), "count": count})


# The process


def thread_ended(name: str, error: BaseException | None) -> None:
    fields: dict[str, Field] = {"thread": name, "error": _raised(error) if error else "without an exception"}
    _log(ERROR, "thread.ended", "the thread %(thread)s ended: %(error)s", fields)


def _raised(error: BaseException) -> str:
    """The type and place of the error. The message is left out: it may quote arguments or headers."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{type(error).__name__}{where}"


def _origin(url: str) -> str:
    """Scheme, host and port; the path may contain a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
