"""Forms generated from schemas, and escaping of text."""

from __future__ import annotations

from configparser import ConfigParser
from typing import Any

import pytest
from jinja2 import PackageLoader, meta

from agent import config, create_app
from agent.plan import Danger, Plan, Would
from agent.web import escaping, forms, progress, templates
from agent.web.ask import FormState
from agent.web.forms import Widget
from tests.agent_process import CHECKOUT, eventually
from tests.kinds.effects import Effect


@pytest.mark.parametrize(
    ("schema", "widget", "text", "argument"),
    [
        ({"type": "string"}, Widget.TEXT, " a ", " a "),
        ({"type": ["string", "null"]}, Widget.TEXT, "1", "1"),
        ({"type": "string", "writeOnly": True}, Widget.SECRET, "s", "s"),
        ({"type": "integer"}, Widget.NUMBER, " 12 ", 12),
        ({"type": "integer"}, Widget.NUMBER, "9" * 5000, "9" * 5000),
        ({"type": "number"}, Widget.NUMBER, "0.5", 0.5),
        ({"type": "number"}, Widget.NUMBER, "nan", "nan"),
        ({"type": "number"}, Widget.NUMBER, "1e999", "1e999"),
        ({"type": "boolean"}, Widget.CHOICE, "yes", True),
        ({"type": "boolean"}, Widget.CHOICE, "maybe", "maybe"),
        ({"enum": [True, 1, "on", False, 0, "off"]}, Widget.CHOICE, "no", False),
        ({"type": "string", "enum": ["a", "b", None]}, Widget.CHOICE, "b", "b"),
        ({"type": "integer", "enum": [1, 2]}, Widget.CHOICE, "2", 2),
        ({"type": "array", "items": {"type": "string"}}, Widget.LINES, "a\n\n b \n", ["a", "b"]),
        ({"type": "array", "items": {"type": "string"}}, Widget.LINES, "a", ["a"]),
        ({"type": ["string", "array"], "items": {"type": "string"}}, Widget.LINES, "a", "a"),
        ({"type": "array", "items": {"type": "object"}}, Widget.JSON, "[{}]", [{}]),
        ({"type": "object"}, Widget.JSON, '{"a": [1]}', {"a": [1]}),
        ({}, Widget.JSON, "null", None),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, Widget.NUMBER, "16MB", "16MB"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, Widget.NUMBER, "16", 16),
    ],
)
def test_input_is_converted_by_the_schema(schema: Any, widget: Widget, text: str, argument: Any) -> None:
    [field] = forms.fields({"properties": {"a": schema}})
    assert field.widget is widget
    read = forms.entered([field], {"arg.a": text})
    assert read.args == {"a": argument}
    assert type(read.args["a"]) is type(argument)


@pytest.mark.parametrize("argument", ["text", 5, True, ["a", "b"], {"a": 1}])
def test_argument_is_shown_in_its_input_form(argument: Any) -> None:
    schemas = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}
    [field] = forms.fields({"properties": {"a": {"type": schemas[type(argument)], "items": {"type": "string"}}}})
    assert field.argument(field.text(argument)) == argument


def test_worse_plan_differs_from_the_shown_plan() -> None:
    kind = Effect(config.parse({}))
    plans = [Plan(would, "a plan").as_json() for would in Would]
    states = [FormState(kind, [], forms.entered([], {}), {}, plan=plan) for plan in plans]
    assert len({each.fingerprint for each in states if each.danger is Danger.DISRUPTS}) == 1
    assert len({each.fingerprint for each in states}) == 2


@pytest.mark.parametrize("text", ["{", "NaN", '{"a": 1, "a": 2}', "[" * 100])
def test_json_is_read_as_strictly_as_a_body(text: str) -> None:
    read = forms.entered(forms.fields({}), {"arg.*": text})
    assert read.args == {}
    assert list(read.wrong) == [forms.WHOLE]


def test_empty_field_is_an_absent_argument() -> None:
    fields = forms.fields({"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["b"]})
    assert [field.name for field in fields] == ["b", "a"]
    assert forms.entered(fields, {"arg.a": "", "arg.b": "  "}).args == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\ud800", "\\ud800"),
        ("\x00", "\\x00"),
        ("x" * 30, "x" * 20 + "… (10 more characters)"),
    ],
)
def test_control_characters_of_a_line_are_escaped(text: str, shown: str) -> None:
    assert escaping.line(text, 20) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m\n", "red\n"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1bPq#0\x1b\\", ""),
        ("\x9b31mred", "red"),
        ("10 %\r20 %\r30 %\n", "30 %\n"),
        ("10 %\r20 %\r", "20 %"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("bell\x07 back\x08", "bell\\x07 back\\x08"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\x1b[", ""),
        ("\x1b", ""),
        ("tab\tumlaut ä 漢", "tab\tumlaut ä 漢"),
    ],
)
def test_output_is_shown_as_a_terminal_would_leave_it(text: str, shown: str) -> None:
    assert escaping.output(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"), (0.3, "300 ms"), (1.0, "1 s"), (4.25, "4.2 s"), (59.6, "1 min"), (185, "3 min 5 s"),
        (7200, "2 h"), (7440, "2 h 4 min"), (90000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_duration_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert templates.duration(seconds) == shown


@pytest.mark.parametrize(
    "found",
    [
        None, [], "x", {"percent": "50"}, {"percent": True}, {"percent": -1}, {"percent": float("inf")}, {"phases": 1},
        {"phases": [1, None]}, {"rate": {}}, {"stage": []}, {"percent": 10**400},
    ],
)  # fmt: skip
def test_progress_of_an_unknown_form_is_not_shown(found: Any) -> None:
    shown = progress.of(found)
    assert shown.percent is None and shown.rate is None and shown.stage is None and shown.done == ()


def test_the_package_has_every_template_and_static_file() -> None:
    folder = CHECKOUT / "agent" / "web"
    setup = ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    patterns = [each.strip() for each in setup["options.package_data"]["agent.web"].split(",")]
    packed = {path for pattern in patterns for path in folder.glob(pattern)}
    assert packed == {path for name in ("templates", "static") for path in (folder / name).iterdir()}


def test_templates_of_the_first_view_are_listed_for_compilation() -> None:
    needed, found = {"home.html", "sign_in.html"}, set[str]()
    while needed - found:
        name = (needed - found).pop()
        found.add(name)
        source, _, _ = PackageLoader("agent.web").get_source(templates.ENVIRONMENT, name)
        referenced = meta.find_referenced_templates(templates.ENVIRONMENT.parse(source))
        needed |= {each for each in referenced if each is not None}
    assert set(templates.FIRST) == needed


def test_templates_of_the_first_view_are_compiled_after_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = set[str]()
    monkeypatch.setattr(templates.ENVIRONMENT, "get_template", compiled.add)
    for begin in create_app(config.parse({})).extensions["agent.after_start"]:
        begin()
    eventually(lambda: compiled == set(templates.FIRST), "the templates are compiled")
