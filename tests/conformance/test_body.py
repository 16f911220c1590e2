"""Edge cases of a JSON body: accepted, or refused before any kind reads it."""

from __future__ import annotations

import pytest

from tests.agent_process import AgentProcess
from tests.conformance.shapes import (
    LOOP,
    PING,
    SUCCESS,
    assert_error,
    assert_invalid_args,
    assert_json,
    post_body,
)

NOT_JSON = {
    "empty": b"",
    "blank": b" \n",
    "a word": b"hello",
    "a form": b"count=1",
    "cut off": b'{"count": 1',
    "two values": b"{} {}",
    "something behind": b"{}x",
    "a trailing comma": b'{"count": 1,}',
    "single quotes": b"{'count': 1}",
    "a comment": b'{"count": 1} // one',
    "a bare nul": b"{}\0",
    "a control character in a string": b'{"x": "\0"}',
    "a line break in a string": b'{"x": "a\nb"}',
    "a leading zero": b'{"count": 01}',
    "a plus": b'{"count": +1}',
    "hexadecimal": b'{"count": 0x1}',
    "a name that is no string": b'{1: "count"}',
}
NOT_UTF_8 = {
    "latin-1": '{"x": "é"}'.encode("latin-1"),
    "utf-16 with a mark": "{}".encode("utf-16"),
    "utf-16 little endian": "{}".encode("utf-16-le"),
    "utf-16 big endian": "{}".encode("utf-16-be"),
    "utf-32": "{}".encode("utf-32"),
    "a surrogate": b'{"x": "\xed\xa0\x80"}',
    "an overlong slash": b'{"x": "\xc0\xaf"}',
    "a lone byte": b"\xff",
}
NOT_A_NUMBER = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b'{"count": NaN}',
    b'{"count": Infinity}',
    b'{"count": 1, "x": [{"y": -Infinity}]}',
]
TWICE = [
    b'{"count": 1, "count": 1}',
    b'{"count": 1, "count": 2}',
    b'{"count": 1, "\\u0063ount": 2}',
    b'{"count": 1, "x": {"a": 1, "a": 2}}',
    b'[{"a": [{"b": 1, "b": 1}]}]',
    b'{"": 1, "": 1}',
]


def nested(depth: int) -> bytes:
    """A body with this many levels: an object around lists."""
    return b'{"count": 1, "x": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_body_that_is_not_json_is_refused(shared_agent: AgentProcess, body: bytes) -> None:
    assert_error(post_body(shared_agent, SUCCESS, body), 400, "InvalidBody")


@pytest.mark.parametrize("body", NOT_UTF_8.values(), ids=NOT_UTF_8.keys())
def test_body_that_is_not_utf_8_is_refused(shared_agent: AgentProcess, body: bytes) -> None:
    assert_error(post_body(shared_agent, SUCCESS, body), 400, "InvalidBody")


@pytest.mark.parametrize("body", NOT_A_NUMBER)
def test_nan_and_infinity_are_refused(shared_agent: AgentProcess, body: bytes) -> None:
    assert_error(post_body(shared_agent, PING, body), 400, "InvalidBody")


@pytest.mark.parametrize("body", TWICE)
def test_a_member_named_twice_is_refused(shared_agent: AgentProcess, body: bytes) -> None:
    assert_error(post_body(shared_agent, PING, body), 400, "InvalidBody")


def test_same_member_in_two_objects_is_accepted(shared_agent: AgentProcess) -> None:
    body = b'{"count": 1, "x": {"count": 1, "y": [{"count": 1}, {"count": 1}]}}'
    assert_invalid_args(post_body(shared_agent, PING, body), "x")


def test_nesting_of_sixty_four_levels_is_accepted_and_sixty_five_refused(shared_agent: AgentProcess) -> None:
    assert_invalid_args(post_body(shared_agent, PING, nested(64)), "x")
    assert_error(post_body(shared_agent, PING, nested(65)), 400, "InvalidBody")


def test_nested_lists_count_as_levels(shared_agent: AgentProcess) -> None:
    assert_invalid_args(post_body(shared_agent, PING, b"[" * 64 + b"]" * 64))
    assert_error(post_body(shared_agent, PING, b"[" * 65 + b"]" * 65), 400, "InvalidBody")


@pytest.mark.parametrize("opened", [b"[", b'{"a":'])
def test_extremely_deep_body_is_refused(shared_agent: AgentProcess, opened: bytes) -> None:
    assert_error(post_body(shared_agent, PING, opened * 100_000), 400, "InvalidBody")


def test_brackets_in_a_string_do_not_count_as_levels(shared_agent: AgentProcess) -> None:
    body = b'{"count": 1, "x": "\\"' + b"[{" * 100 + b'"}'
    assert_invalid_args(post_body(shared_agent, PING, body), "x")


def test_wide_body_is_not_refused_as_deep(shared_agent: AgentProcess) -> None:
    body = b'{"count": 1, "x": [' + b",".join([b"[{}]"] * 1000) + b"]}"
    assert_invalid_args(post_body(shared_agent, PING, body), "x")


def test_byte_order_mark_is_skipped_or_refused(shared_agent: AgentProcess) -> None:
    answer = post_body(shared_agent, SUCCESS, b"\xef\xbb\xbf{}")
    if answer.status != 200:
        assert_error(answer, 400, "InvalidBody")


def test_whitespace_around_the_value_is_accepted(shared_agent: AgentProcess) -> None:
    assert_json(post_body(shared_agent, SUCCESS, b" \t\r\n{ } \n"))


@pytest.mark.parametrize("field", ["count", "x"])
@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000, b"1" + b"0" * 5000 + b".5"])
def test_a_number_beyond_all_ranges_is_refused(shared_agent: AgentProcess, number: bytes, field: str) -> None:
    others = b"" if field == "count" else b'"count": 1, '
    body = b"{" + others + b'"' + field.encode() + b'": ' + number + b"}"
    assert_error(post_body(shared_agent, PING, body), 400, "InvalidBody", "InvalidArgs")


@pytest.mark.parametrize("number", [b"1e999", b"9" * 400, b"9" * 5000, b"1e308"])
def test_a_delay_beyond_all_ranges_is_refused(shared_agent: AgentProcess, number: bytes) -> None:
    body = b'{"target": 1, "delay": ' + number + b"}"
    assert_error(post_body(shared_agent, LOOP, body), 400, "InvalidBody", "InvalidArgs")


def test_number_of_four_hundred_digits_is_accepted(shared_agent: AgentProcess) -> None:
    body = b'{"count": 1, "x": ' + b"9" * 400 + b"}"
    assert_invalid_args(post_body(shared_agent, PING, body), "x")


def test_count_of_four_hundred_digits_is_refused_or_stored_exactly(agent: AgentProcess) -> None:
    answer = post_body(agent, PING, b'{"count": ' + b"9" * 400 + b"}")
    if answer.status != 200:
        assert_invalid_args(answer, "count")
    else:
        assert agent.get_info(answer.json["id"]).json["action"]["args"] == {"count": int("9" * 400)}


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udfff", b"\\ude00\\ud83d", b"\\u0000"])
@pytest.mark.parametrize("template", [b'{"count": 1, "x": "%s"}', b'{"%s": 1}', b'"%s"'])
def test_text_with_lone_surrogates_or_nul_is_refused(
    shared_agent: AgentProcess, template: bytes, escape: bytes
) -> None:
    answer = post_body(shared_agent, PING, template % escape)
    assert_error(answer, 400, "InvalidBody", "InvalidArgs")


def test_surrogate_pair_is_one_character(shared_agent: AgentProcess) -> None:
    answer = post_body(shared_agent, PING, b'{"count": 1, "\\ud83d\\udc18": 1}')
    assert_invalid_args(answer, "🐘")
