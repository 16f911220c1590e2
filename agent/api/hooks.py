"""`POST /hooks/deploy/<application>`: a signed push deploys the pushed commit."""

import re
import secrets
from fnmatch import fnmatchcase
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, fields, validate

from agent import log
from agent.api import body
from agent.api.async_actions import answer
from agent.api.authentication import authenticates_itself, count_refused
from agent.api.context import context
from agent.api.enqueue import enqueue
from agent.api.node_protocol import ScheduleRequest
from agent.api.openapi.description import describe
from agent.auth import hmac_signature, secret_file
from agent.auth.secret_file import SecretUnreadable
from agent.config import Application
from agent.errors import (
    ActionNotAvailable,
    ActionNotFound,
    AgentError,
    HookReplayed,
    HookUnavailable,
    InvalidArgs,
    InvalidHeader,
    QueueFull,
    Unauthenticated,
)
from agent.kinds.base.arguments import Flag
from agent.kinds.base.json_schema import json_schema
from agent.kinds.deploy import LONGEST_PUSHER
from agent.models import Requester
from agent.store import async_actions, idempotency
from agent.util.validation import load

CHALLENGE = f'HMAC-SHA256 header="{hmac_signature.HEADER}"'
"""The challenge of a refused hook. Its scheme is not registered: it shows a person what is missing."""
FORM = re.compile("sha256=[0-9a-f]{64}", re.ASCII)
HOW_TO_SIGN = "sign the body as it is sent with the secret of the application's hook_secret"
EVENTS = ("X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event")
COMMIT = r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$(?!\n)"
DECOY = secrets.token_hex()
"""The secret for a hook that does not exist, so that its signature is verified too."""
SHOWN = 200
"""Maximum characters of a sender's text in answers and log lines."""

bp = Blueprint("hooks", __name__)


class Push(Schema):
    ref = fields.String(required=True, metadata={"description": "The pushed ref, such as `refs/heads/main`."})
    after = fields.String(
        required=True,
        validate=validate.Regexp(COMMIT),
        metadata={"description": "The commit that the ref points to after the push."},
    )
    deleted = Flag(load_default=False, metadata={"description": "Whether the ref was deleted."})

    class Meta:
        unknown = "exclude"  # a push has many more members


@bp.post("/hooks/deploy/<anything:application>")
@authenticates_itself
@describe(
    "Deploy the pushed commit. The signature of the body authenticates the sender; no token is needed. An application "
    "without a hook is answered like a wrong signature.",
    "Hook",
    headers=(hmac_signature.HEADER, EVENTS[0]),
    errors=(
        *body.REFUSALS,
        ActionNotAvailable,
        HookReplayed,
        HookUnavailable,
        InvalidArgs,
        InvalidHeader,
        QueueFull,
    ),
    bodies=lambda registry: {"application/json": json_schema(Push())},
)
def deploy(application: str) -> Response:
    """A repeated delivery returns the same action. A push that is not deployed is answered 200 with the reason."""
    try:
        return _deploy(application)
    except HookUnavailable:
        raise  # its cause is in the log
    except AgentError as error:
        _log_refused(application, error)
        raise


def _deploy(application: str) -> Response:
    configured, received = _verified(application)
    content = body.json_of(received)
    if (event := _event()) != "push":
        return _ignored("ping" if event == "ping" else f"expected the event push, got {event[:SHOWN]}")
    push: dict[str, Any] = load(Push(), content, "this is not the body of a push")
    if reason := _why_not(push, configured):
        return _ignored(reason)
    args = {"application": application, "git_ref": push["after"], "of_ref": push["ref"]}
    accepted = enqueue(
        context().registry.get("deploy"),
        ScheduleRequest(args | _pusher(content)),
        Requester.HOOK,
        user=f"hook:{application}",
        idempotency_key=idempotency.delivery_key(application, received),
    )
    try:
        action = async_actions.by_id(context().store, accepted.action_id)
    except ActionNotFound:
        raise HookReplayed(
            f"this delivery was already accepted as the action {accepted.action_id}, which was removed from the history"
        ) from None
    return answer(action, accepted)


def _verified(application: str) -> tuple[Application, bytes]:
    """The application, and the body with a valid signature of its hook.

    Raises `HookUnavailable`, and `Unauthenticated` before the body is parsed, with the same answer for a wrong
    signature, an unknown application and an application without a hook.
    """
    configured = context().settings.applications.get(application)
    secret = _secret(application, configured)
    received = body.read()
    given = request.headers.get(hmac_signature.HEADER, "")
    signed = hmac_signature.verify(DECOY if secret is None else secret, received, given)
    if configured is None or secret is None or not signed:
        raise Unauthenticated(f"{hmac_signature.HEADER} {_how_wrong(given)}: {HOW_TO_SIGN}", CHALLENGE)
    return configured, received


def _secret(application: str, configured: Application | None) -> str | None:
    """The secret of a hook, read at each delivery; None without a hook. Raises `HookUnavailable`."""
    if configured is None or configured.hook_secret is None:
        return None
    try:
        return secret_file.read(configured.hook_secret, shortest=secret_file.SHORTEST_KEY)
    except SecretUnreadable as error:
        log.secret_unreadable(f"applications.{application}.hook_secret", str(error))
        raise HookUnavailable("the secret of this hook cannot be read now; the agent's log says why") from None


def _how_wrong(given: str) -> str:
    if not given:
        return "is missing"
    return (
        "does not match the body" if FORM.fullmatch(given) else "is not sha256= and 64 hexadecimal digits in lower case"
    )


def _log_refused(application: str, error: AgentError) -> None:
    """Log each refusal with the option to check. The answer does not show the caller which hooks exist."""
    table = f"applications.{application[:SHOWN]}"
    configured = context().settings.applications.get(application)
    if configured is None:
        name = application[:SHOWN]
        reason = f"unknown application {name!a}: a hook needs applications.NAME.hook_secret"
    elif configured.hook_secret is None:
        reason = f"{table}.hook_secret is not set"
    elif isinstance(error, Unauthenticated):
        reason = f"{table}.hook_secret: {error.sentence}"
    else:
        # The secret is right or was not checked. The sentence about a limit names the option of the limit.
        reason = f"the hook of {table}: {error.sentence}"
    log.caller_refused(error.status, request.environ.get("REMOTE_ADDR", ""), reason)
    count_refused(error.status)


def _event() -> str:
    for name in EVENTS:
        if event := request.headers.get(name):
            return event
    raise InvalidHeader(f"the header {EVENTS[0]} is missing: it must name the event")


def _why_not(push: dict[str, Any], configured: Application) -> str:
    if push["deleted"] or not push["after"].strip("0"):
        return f"{push['ref'][:SHOWN]} was deleted"
    if not any(fnmatchcase(push["ref"], glob) for glob in configured.hook_refs):
        return f"{push['ref'][:SHOWN]} is not deployed by hooks"
    return ""


def _pusher(content: dict[str, Any]) -> dict[str, str]:
    """The argument `pusher`: the unverified e-mail or name of the sender; empty without both."""
    pusher = content.get("pusher")
    known = [pusher.get(name) for name in ("email", "name")] if isinstance(pusher, dict) else []
    shown = [each for each in known if isinstance(each, str) and each.isprintable() and 0 < len(each) <= LONGEST_PUSHER]
    return {"pusher": shown[0]} if shown else {}


def _ignored(reason: str) -> Response:
    return jsonify({"ignored": reason})
