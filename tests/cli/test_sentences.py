"""Each failure message of agentctl and doctor is expected by a test, word for word."""

from __future__ import annotations

from tests.cli.sentences import ROOT, is_expected, of_code, of_tests

CODE = [*sorted((ROOT / "agent" / "cli").rglob("*.py")), ROOT / "agent" / "client.py"]
TESTS = [
    each for folder in ("callbacks", "cli", "packages", "trust") for each in (ROOT / "tests" / folder).rglob("*.py")
]


def test_every_message_of_the_code_is_expected_by_a_test() -> None:
    expectations = of_tests(TESTS)
    missing = {text: at for text, at in of_code(CODE).items() if not is_expected(text, expectations)}
    assert not missing, "provoke each in a test that expects its words"


def test_sentence_without_a_test_is_found() -> None:
    assert not is_expected("a sentence of \0 that nothing in here has", of_tests(TESTS[:3]))
