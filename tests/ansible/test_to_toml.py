"""The filter `to_toml`, which writes the configuration from a dictionary: TOML reads back the same values."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from tests.agent_process import CHECKOUT


@pytest.fixture
def to_toml() -> Callable[[Any], str]:
    spec = importlib.util.spec_from_file_location("to_toml", CHECKOUT / "ansible/plugins/filter/to_toml.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[Any], str] = module.FilterModule().filters()["to_toml"]
    return found


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"api": {"bind": ["unix:/run/agent.sock", "0.0.0.0:8000"], "tls": {"key": "k"}}, "agent": {"test_kinds": True}},
        {"datastore": {"kind": "redis", "peers": {"db-2": {"url": "redis://x"}, "a b.c": {"url": 'q"\\'}}}},
        {"host": {"reboot_timeout": 1.5, "names": ["\x7f", "\n", "é😀"]}, "unix": {"@dba": {"kinds": []}}},
        {"callbacks": [{"url": "http://x", "events": ["*"]}], "empty": {}, "number": -3},
    ],
)
def test_document_is_read_back_unchanged(to_toml: Callable[[Any], str], document: Any) -> None:
    assert tomllib.loads(to_toml(document)) == document


def test_null_is_left_out_and_types_that_toml_lacks_are_refused(to_toml: Callable[[Any], str]) -> None:
    assert tomllib.loads(to_toml({"agent": {"node": None, "stack": "s"}})) == {"agent": {"stack": "s"}}
    with pytest.raises(AnsibleFilterError, match="expected a dictionary, got list"):
        to_toml(["a"])
    with pytest.raises(AnsibleFilterError, match="expected a text, number"):
        to_toml({"a": object()})
