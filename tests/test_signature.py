"""Signatures, by the example that GitHub documents and by what they must not accept."""

import pytest

from agent.auth import hmac_signature

SECRET, BODY = "It's a Secret to Everybody", b"Hello, World!"
SIGNED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_the_signature_is_that_of_the_github_documentation() -> None:
    assert hmac_signature.sign(SECRET, BODY) == SIGNED
    assert hmac_signature.verify(SECRET, BODY, SIGNED)


@pytest.mark.parametrize("given", ["", SIGNED[:-1], SIGNED + "0", SIGNED.upper(), SIGNED[7:], "\udcff", "é" * 71])
def test_nothing_else_is_accepted(given: str) -> None:
    assert not hmac_signature.verify(SECRET, BODY, given)


def test_another_secret_or_body_has_another_signature() -> None:
    assert not hmac_signature.verify(SECRET + " ", BODY, SIGNED)
    assert not hmac_signature.verify(SECRET, BODY + b"\n", SIGNED)
