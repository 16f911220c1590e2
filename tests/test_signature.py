"""Signatures: the example that GitHub documents, and signatures that must be refused."""

import pytest

from agent.auth import hmac_signature

SECRET, BODY = "It's a Secret to Everybody", b"Hello, World!"
SIGNED = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_signature_equals_the_example_of_github() -> None:
    assert hmac_signature.sign(SECRET, BODY) == SIGNED
    assert hmac_signature.verify(SECRET, BODY, SIGNED)


@pytest.mark.parametrize("given", ["", SIGNED[:-1], SIGNED + "0", SIGNED.upper(), SIGNED[7:], "\udcff", "é" * 71])
def test_other_signatures_are_refused(given: str) -> None:
    assert not hmac_signature.verify(SECRET, BODY, given)


def test_other_secret_or_body_is_refused() -> None:
    assert not hmac_signature.verify(SECRET + " ", BODY, SIGNED)
    assert not hmac_signature.verify(SECRET, BODY + b"\n", SIGNED)
