"""The AsyncAction resource for clients with typed models: their strings in answers, their spellings in requests."""

from typing import Any

from flask import request

from agent.api import body as request_body
from agent.api.async_action_form import SeedForm
from agent.api.form import with_lists
from agent.errors import InvalidBody
from agent.kinds.base import Kind
from agent.kinds.base.arguments import TWIN_OF
from agent.models import Json
from agent.store.async_actions import AsyncAction

THIS_NODES = ("", "all")
"""Values of `server_group` and `db_type` that include the datastore of every node."""
LONGEST_REQUEST_ID = 255


class TypedForm(SeedForm):
    """`resource_id` and the details of an error are texts."""

    name = "typed"

    def fields(self, action: AsyncAction, held: str | None) -> dict[str, Any]:
        fields = super().fields(action, held)
        return fields | {"resource_id": str(fields["resource_id"])}

    def error(self, body: dict[str, Any]) -> dict[str, Any]:
        """These clients show only `details` if they exist: there they are the whole sentence."""
        return body | {"details": body["error_description"]} if "details" in body else body

    def args(self, kind: Kind, parameters: dict[str, Any], *, is_form: bool) -> Json:
        if is_form:
            parameters = with_lists(parameters)
        kept = {name: value for name, value in parameters.items() if not _includes_this_node(kind, name, value)}
        return super().args(kind, kept, is_form=is_form)

    def request_id(self) -> str | None:
        """The Request-Id; None if it is longer than those of these clients."""
        given = request.headers.get("Request-Id", "").strip()
        return given if 0 < len(given) <= LONGEST_REQUEST_ID else None

    def describe(self, schemas: dict[str, Any]) -> None:
        schemas["AsyncAction"]["properties"]["resource_id"]["type"] = "string"
        details = schemas["Error"]["properties"]["details"]
        text = {"type": "string", "description": "Under /api/3: the sentence with the details."}
        schemas["Error"]["properties"]["details"] = {"anyOf": [details, text]}


def refuse_parameters_in_a_body() -> None:
    """Raises `InvalidBody` for a GET under /api/3 whose parameters, such as `page`, are in the body."""
    if request.method == "GET" and request.path.startswith("/api/3/") and _has_body():
        content = request_body.read().strip()
        if content not in (b"", b"{}"):
            raise InvalidBody("a GET takes its parameters, such as page, from the URL and not from the body")


def _has_body() -> bool:
    return request.environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in request.environ


def _includes_this_node(kind: Kind, name: str, value: Any) -> bool:
    declared = kind.schema.load_fields
    chooses = name in ("server_group", "db_type") and (name in declared or TWIN_OF[name] in declared)
    return chooses and isinstance(value, str) and value in THIS_NODES
