"""Fixtures of receivers, stopped at the end of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.callbacks.receivers import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that listens."""
    made = Receiver().up()
    yield made
    made.down()


@pytest.fixture
def other() -> Iterator[Receiver]:
    """Another one."""
    made = Receiver().up()
    yield made
    made.down()
