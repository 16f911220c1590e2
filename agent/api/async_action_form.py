"""The form of the AsyncAction resource: the types of its members and errors, and the requests of its clients.

`api.async_actions` selects it. Every route under /api/3 reads and writes through `form()`.
"""

from typing import Any

from flask import current_app

from agent.api.form import form_args
from agent.kinds.base import Kind
from agent.models import Json
from agent.store.async_actions import AsyncAction
from agent.wire.rows import async_action_fields

OF_TYPED_CLIENTS = (
    "Deployment",
    "TypedDeployment",
    "TypedPing",
    "TypedServer",
    "TypedServers",
    "TypedStack",
    "TypedStacks",
)
"""Answers of routes that only the typed form has."""


class SeedForm:
    """The form of the seed: `resource_id` is a number, the details of an error are an object."""

    name = "seed"

    def fields(self, action: AsyncAction, held: str | None) -> dict[str, Any]:
        """The members of an AsyncAction."""
        return async_action_fields(action, held)

    def error(self, body: dict[str, Any]) -> dict[str, Any]:
        """The members of an error."""
        return body

    def args(self, kind: Kind, parameters: dict[str, Any], *, is_form: bool) -> Json:
        """The arguments of a kind, from the parameters that came as a form or as JSON."""
        return form_args(kind.schema, parameters) if is_form else parameters

    def request_id(self) -> str | None:
        """The id by which a repeat of this request is recognized without an Idempotency-Key; None: not recognized."""
        return None

    def describe(self, schemas: dict[str, Any]) -> None:
        """Adapt the JSON Schemas of the answers, by name, to this form."""
        for name in OF_TYPED_CLIENTS:
            del schemas[name]


def form() -> SeedForm:
    """The form that `api.async_actions` selects."""
    found: SeedForm = current_app.extensions["agent.async_action_form"]
    return found
