"""`POST /hooks/deploy/<application>`: a push deploys what was pushed; whoever can sign it may ask for that."""

import re
from fnmatch import fnmatchcase
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import Schema, ValidationError, fields, validate

from agent import log, secret_file, signature
from agent.api import body, requesting
from agent.api.auth import authenticates_itself
from agent.api.current import context
from agent.api.description import describe
from agent.api.schedule import marked, write_down
from agent.api.schemas import async_action_fields
from agent.config import Application
from agent.errors import (
    ActionNotAvailable,
    ActionNotFound,
    HookNotFound,
    HookReplayed,
    HookUnavailable,
    InvalidArgs,
    InvalidHeader,
    QueueFull,
    Unauthenticated,
)
from agent.kinds.arguments import Flag, json_schema
from agent.models import Json, Requester
from agent.secret_file import SecretUnreadable
from agent.store import async_actions, idempotency

CHALLENGE = f'HMAC-SHA256 header="{signature.HEADER}"'
"""How a hook is authenticated. The scheme is none of a registry: it says to a person what is missing."""
FORM = re.compile("sha256=[0-9a-f]{64}", re.ASCII)
NO_HOOK = "there is no such hook: /hooks/deploy/ is followed by the name of an application that has a hook_secret"
HOW_TO_SIGN = (
    "give the sender the secret that is in the file of applications.{}.hook_secret, to sign the body with as it is sent"
)
EVENTS = ("X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event")
COMMIT = r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$(?!\n)"
SHOWN = 200
"""Characters of what a sender says that are repeated."""

bp = Blueprint("hooks", __name__)


class Push(Schema):
    ref = fields.String(required=True, metadata={"description": "What was pushed to, such as `refs/heads/main`."})
    after = fields.String(
        required=True, validate=validate.Regexp(COMMIT), metadata={"description": "The commit that it is at now."}
    )
    deleted = Flag(load_default=False, metadata={"description": "Whether it was deleted instead."})

    class Meta:
        unknown = "exclude"  # a push says much more


@bp.post("/hooks/deploy/<anything:application>")
@authenticates_itself
@describe(
    "Deploy what was pushed. No token is asked for: the signature of the body says that its sender may.",
    "Hook",
    headers=(signature.HEADER, EVENTS[0]),
    errors=(
        *body.REFUSALS,
        ActionNotAvailable,
        HookNotFound,
        HookReplayed,
        HookUnavailable,
        InvalidArgs,
        InvalidHeader,
        QueueFull,
    ),
    bodies=lambda registry: {"application/json": json_schema(Push())},
)
def deploy(application: str) -> Response:
    """The same delivery again is the same action; what is not to be deployed is answered all the same."""
    configured, secret = _hook(application)
    received = body.read()
    _check_signature(application, secret, received)
    said = body.json_of(received)
    if (event := _event()) != "push":
        return _ignored("ping" if event == "ping" else f"the event is no push but {event[:SHOWN]}")
    push = _push(said)
    if reason := _why_not(push, configured):
        return _ignored(reason)
    accepted = write_down(
        context().registry.get("deploy"),
        {"application": application, "git_ref": push["after"], "of_ref": push["ref"]},
        Requester.HOOK,
        user=_pusher(said),
        idempotency_key=idempotency.delivery_key(application, received),
    )
    try:
        action = async_actions.by_id(context().store, accepted.action_id)
    except ActionNotFound:
        raise HookReplayed(
            f"this was delivered before, as the action {accepted.action_id}, which is no longer kept"
        ) from None
    return marked(jsonify({"response": async_action_fields(action)}), accepted)


def _hook(application: str) -> tuple[Application, str]:
    """The application and the secret of its hook, read anew each time. Raises `HookNotFound` or `HookUnavailable`."""
    configured = context().settings.applications.get(application)
    if configured is None or configured.hook_secret is None:
        missing = "no such application" if configured is None else "no hook_secret"
        _log_refused(HookNotFound.status, f"{application[:SHOWN]!a}: {missing}")
        raise HookNotFound(NO_HOOK)
    try:
        return configured, secret_file.read(configured.hook_secret)
    except SecretUnreadable as error:
        log.secret_unreadable(f"applications.{application}.hook_secret", str(error))
        raise HookUnavailable("the secret of this hook cannot be read now; the agent's log says why") from None


def _check_signature(application: str, secret: str, received: bytes) -> None:
    """Raises `Unauthenticated`: before anything of the body is looked at."""
    given = request.headers.get(signature.HEADER, "")
    if not signature.verify(secret, received, given):
        reason = f"{signature.HEADER} {_how_wrong(given)}"
        _log_refused(Unauthenticated.status, f"{application}: {reason}")
        raise Unauthenticated(f"{reason}: {HOW_TO_SIGN.format(application)}", CHALLENGE)


def _how_wrong(given: str) -> str:
    if not given:
        return "is missing"
    return (
        "does not match the body" if FORM.fullmatch(given) else "is not sha256= and 64 hexadecimal digits in lower case"
    )


def _log_refused(status: int, reason: str) -> None:
    log.caller_refused(status, request.environ.get("REMOTE_ADDR", ""), reason)


def _event() -> str:
    for name in EVENTS:
        if event := request.headers.get(name):
            return event
    raise InvalidHeader(f"{EVENTS[0]} must say what has happened")


def _push(said: Json) -> dict[str, Any]:
    try:
        push: dict[str, Any] = Push().load(said)
    except ValidationError as error:
        details = error.messages if isinstance(error.messages, dict) else {"_schema": error.messages}
        raise InvalidArgs("this is not the body of a push", details=details) from None
    return push


def _why_not(push: dict[str, Any], configured: Application) -> str:
    if push["deleted"] or not push["after"].strip("0"):
        return f"{push['ref'][:SHOWN]} was deleted"
    if not any(fnmatchcase(push["ref"], glob) for glob in configured.hook_refs):
        return f"{push['ref'][:SHOWN]} is not deployed by hooks"
    return ""


def _pusher(said: dict[str, Any]) -> str:
    """The e-mail of who pushed; the agent's own for hooks where that is none."""
    pusher = said.get("pusher")
    email = pusher.get("email") if isinstance(pusher, dict) else None
    if isinstance(email, str) and requesting.ADDRESS.fullmatch(email) and email.isprintable():
        return email
    return f"hook@{context().settings.agent.node}"


def _ignored(reason: str) -> Response:
    return jsonify({"ignored": reason})
