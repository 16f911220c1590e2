"""Fixture of an engine on its own database file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.fakes import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()
