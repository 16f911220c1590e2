"""Fixtures of receivers, stopped at the end of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.callbacks.receivers import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that listens."""
    made = Receiver().up()
    yield made
    made.down()


@pytest.fixture
def other() -> Iterator[Receiver]:
    """A second receiver."""
    made = Receiver().up()
    yield made
    made.down()
