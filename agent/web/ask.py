"""`/ui/ask`: the kinds that the user may schedule, and a form for each, which shows the plan before it schedules."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from flask import Blueprint, Response, request
from marshmallow import Schema, fields as query_fields

from agent.api import body, permissions, request_metadata
from agent.api.context import context
from agent.api.enqueue import enqueue
from agent.api.node_protocol import ScheduleRequest
from agent.api.plan import plan_for
from agent.api.request_metadata import LONGEST_REASON, Terms
from agent.errors import NO_MEMBER, AgentError, InvalidArgs, InvalidHeader
from agent.kinds.base import Kind
from agent.models import Json, Requester
from agent.plan import Danger, object_name, to_confirm
from agent.store import actions
from agent.store.encoding import dumps
from agent.web import access, current_user, forms, templates, views
from agent.web.forms import Entered, Field
from agent.web.routes import page

bp = Blueprint("ask", __name__)

DANGERS = {
    "none": "Harmless",
    "disrupts": "Disrupts the service",
    "destroys": "Destroys data",
}
"""The heading for each danger, harmless first."""
TERMS = ("reason", "not_before", "not_after")


class AskQuery(Schema):
    again = query_fields.String(load_default="", metadata={"description": "The action whose arguments fill the form."})


@page(bp, "/ask", "The kinds that the user may schedule.")
def kinds() -> Response:
    return views.live("kinds", str, "kinds.html", _kinds)


@page(bp, "/ask/<anything:kind>", "The form of a kind.", query=AskQuery)
def form(kind: str) -> Response:
    wanted = _permitted(kind)
    again = request.args.get("again", "")[:64]
    return _page(FormState(wanted, _fields(wanted), _kept(wanted, again), {"again": again}))


@page(bp, "/ask/<anything:kind>", "Plan or schedule the action of a form.", methods=("POST",))
def answer(kind: str) -> Response:
    wanted = _permitted(kind)
    given = {name: value if isinstance(value, str) else value[-1] for name, value in body.form_body().items()}
    state = _read(wanted, given)
    if state.wrong:
        return _page(state, 400)
    try:
        state = replace(state, plan=plan_for(wanted, state.args))
        terms = _terms(state)
        if given.get("do") != "schedule":
            return _page(state)
        if given.get("planned") != state.fingerprint:
            return _page(replace(state, late=True), 400)
        if state.unconfirmed:
            return _page(replace(state, pressed=True), 400)
        accepted = enqueue(
            wanted,
            ScheduleRequest(state.args),
            Requester.WEB,
            user=request_metadata.user(),
            idempotency_key=given.get("key", "")[: request_metadata.LONGEST_KEY] or None,
            terms=terms,
        )
    except InvalidArgs as error:
        return _page(replace(state, wrong=_by_field(state.fields, error), refused=error.message), 400)
    except AgentError as error:
        return _page(replace(state, refused=error.message), error.status)
    return access.redirect(f"/ui/actions/{accepted.action_id}")


@dataclass(frozen=True)
class FormState:
    """The state of a form. `given`: its other fields. `late`: the arguments or the danger differ from the plan shown.

    `pressed`: the user tried to schedule without the confirmation.
    """

    kind: Kind
    fields: Sequence[Field]
    entered: Entered
    given: Mapping[str, str]
    wrong: Mapping[str, Sequence[str]] | None = None
    plan: Json = None
    refused: str = ""
    late: bool = False
    pressed: bool = False

    @property
    def args(self) -> Json:
        """The arguments of the action."""
        if any(field.name == forms.WHOLE for field in self.fields):
            return self.entered.args.get(forms.WHOLE, {})
        return dict(self.entered.args)

    @property
    def members(self) -> dict[str, Json]:
        """The arguments by name; empty if they are not an object."""
        return self.args if isinstance(self.args, dict) else {}

    @property
    def object(self) -> str:
        """The name that the user types to confirm that the object is destroyed."""
        return object_name(self.kind.name, self.members)

    @property
    def danger(self) -> Danger:
        """The danger that the user confirms."""
        return to_confirm(self.kind.danger, self.plan) if isinstance(self.plan, dict) else self.kind.danger

    @property
    def fingerprint(self) -> str:
        """A hash of the kind, the arguments without secrets, the times and the danger."""
        public, _ = self.kind.split_secrets(self.args)
        terms = [self.given.get(name, "").strip() for name in TERMS[1:]]
        return hashlib.sha256(dumps([self.kind.name, public, terms, self.danger]).encode()).hexdigest()[:32]

    @property
    def unconfirmed(self) -> bool:
        """Whether the confirmation of the danger is missing."""
        if self.danger is Danger.DESTROYS:
            return self.given.get("typed", "").strip() != self.object
        return self.danger is Danger.DISRUPTS and self.given.get("confirm") != "yes"


def _permitted(name: str) -> Kind:
    kind = context().registry.get(name)
    permissions.permit(kind.name)
    return kind


def _fields(kind: Kind) -> list[Field]:
    return forms.fields(kind.args_schema())


def _read(kind: Kind, given: Mapping[str, str]) -> FormState:
    """The form as entered, with all mistakes found by the kind and the page."""
    fields = _fields(kind)
    found = forms.entered(fields, given)
    state = FormState(kind, fields, found, given)
    wrong = dict(found.wrong)
    try:
        kind.load(state.args)
    except InvalidArgs as error:
        wrong = _by_field(fields, error) | wrong
    try:
        _terms(state)
    except InvalidHeader as error:
        wrong["terms"] = [error.message]
    return replace(state, wrong=wrong or None)


def _terms(state: FormState) -> Terms:
    """The reason and the times of the form. Raises `InvalidHeader`."""
    reason, *times = (state.given.get(name, "").strip() or None for name in TERMS)
    if reason is not None and len(reason) > LONGEST_REASON:
        raise InvalidHeader(f"The reason must have {LONGEST_REASON} characters at most")
    named = zip(("Not-Before", "Not-After"), times, strict=True)
    not_before, not_after = (request_metadata.moment(name, given) for name, given in named)
    request_metadata.refuse_an_end_before(not_after, not_before)
    return Terms(reason, not_before, not_after)


def _by_field(fields: Sequence[Field], error: InvalidArgs) -> dict[str, list[str]]:
    """The messages of the kind by field; the empty name has those without a field."""
    names = {field.name for field in fields}
    found: dict[str, list[str]] = {}
    for path, messages in (error.details or {}).items():
        name = path.partition(".")[0]
        known = name if name in names else ""
        at = path if known != path and path != NO_MEMBER else ""
        found.setdefault(known, []).extend(f"{at}: {each}" if at else each for each in messages)
    return found


def _kept(kind: Kind, again: str) -> Entered:
    """The arguments of the action `again` as form fields, without secrets; empty for an action of another kind."""
    args = _arguments(kind, again)
    fields = {field.name: field for field in _fields(kind)}
    if forms.WHOLE in fields:
        return Entered({forms.WHOLE: fields[forms.WHOLE].text(args) if args else ""}, args, {})
    shown = {name: value for name, value in args.items() if name in fields}
    return Entered({name: fields[name].text(value) for name, value in shown.items()}, shown, {})


def _arguments(kind: Kind, again: str) -> dict[str, Json]:
    """The arguments of the action `again`, without secrets. Raises `ActionNotFound`."""
    if not again:
        return {}
    before, _ = actions.by_id(context().store, again)
    args = before.args if before.kind == kind.name and isinstance(before.args, dict) else {}
    return {name: value for name, value in args.items() if name not in kind.secret_fields}


def _differences(state: FormState) -> list[tuple[str, Json, Json]]:
    """Name, old value and new value of each argument that differs from the action that filled the form."""
    if not (again := state.given.get("again", "")):
        return []
    before = _arguments(state.kind, again)
    now = {name: value for name, value in state.members.items() if name not in state.kind.secret_fields}
    found = [(name, before.get(name), now.get(name)) for name in sorted(before | now)]
    return [each for each in found if each[1] != each[2]]


def _page(state: FormState, status: int = 200) -> Response:
    kind = state.kind
    return templates.answer(
        "ask.html",
        status,
        state=state,
        kind=kind,
        danger=DANGERS[kind.danger],
        wrong=state.wrong or {},
        differences=_differences(state) if state.plan else [],
        secrets_missing=bool(state.given.get("again")) and not state.plan,
        # An idempotency key: a form sent twice schedules the action once.
        key=secrets.token_urlsafe(16),
        needs_approval=_needs_approval(kind),
    )


def _needs_approval(kind: Kind) -> bool:
    return any(fnmatchcase(kind.name, glob) for glob in context().settings.actions.approval)


def _kinds() -> dict[str, Any]:
    identity = current_user.user()
    offered = [kind for kind in context().registry if identity is None or identity.may(kind.name)]
    groups = [(DANGERS[danger], danger, [kind for kind in offered if kind.danger == danger]) for danger in DANGERS]
    return {"groups": [group for group in groups if group[2]], "missing": sorted(context().registry.missing.items())}
