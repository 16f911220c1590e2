"""The OpenAPI document of a node describes its configured modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from agent import config, create_app
from tests.agent_process import PREFIX
from tests.clients import node_models


def document(tmp_path: Path, **api: str) -> Any:
    external = {"note": {"action": ["true"], "check": ["true"]}}
    settings = {"agent": {"db": str(tmp_path / "agent.db")}, "api": api, "external_actions": external}
    found: Any = create_app(config.parse(settings)).test_client().get("/openapi.json").json
    assert [error.message for error in OpenAPIV31SpecValidator(found).iter_errors()] == []
    return found


def test_generation_0_5_describes_the_envelope_and_its_kinds(tmp_path: Path) -> None:
    found = document(tmp_path, node_protocol="0.5")
    paths = [path.removeprefix(f"{PREFIX}/schedule/") for path in found["paths"] if "/schedule/" in path]
    assert {"agent.replicante.io/test.ping", "external.agent.replicante.io/note"} <= set(paths)
    assert not any(path.startswith(("replicante.test", "external.note")) for path in paths)
    for path in ("agent.replicante.io/test.ping", "{kind}"):
        body = found["paths"][f"{PREFIX}/schedule/{path}"]["post"]["requestBody"]
        schema = body["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == {"action_id", "args", "created_ts", "requester"}
        assert schema["additionalProperties"] is False
    schemas = found["components"]["schemas"]
    assert schemas["Action"]["properties"]["requester"]["$ref"] == "#/components/schemas/Requester"
    assert schemas["Requester"]["enum"] == ["AGENT_API", *node_models.CORE]
    conflict = found["paths"][f"{PREFIX}/schedule/{{kind}}"]["post"]["responses"]["409"]
    assert "ActionAlreadyExists" in conflict["description"]


def test_typed_form_describes_its_types_and_routes(tmp_path: Path) -> None:
    found = document(tmp_path, async_actions="typed")
    schemas = found["components"]["schemas"]
    assert schemas["AsyncAction"]["properties"]["resource_id"]["type"] == "string"
    assert {"type": "string"}.items() <= schemas["Error"]["properties"]["details"]["anyOf"][1].items()
    for path in ("/api/3/stacks", "/api/3/ping", "/api/3/stacks/{stack}/deployments", "/api/3/stacks/{stack}/servers"):
        assert {path, f"{path}.json"} <= set(found["paths"])


def test_default_form_describes_no_typed_routes(tmp_path: Path) -> None:
    found = document(tmp_path)
    schemas = found["components"]["schemas"]
    assert schemas["AsyncAction"]["properties"]["resource_id"]["type"] == "integer"
    assert schemas["Error"]["properties"]["details"]["type"] == "object"
    assert not [path for path in found["paths"] if path.startswith("/api/3") and "/actions" not in path]
    assert not [name for name in schemas if name.startswith("Typed")]
