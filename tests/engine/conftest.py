"""An engine on a file of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.fakes import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()
