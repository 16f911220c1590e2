"""The examples in docs/host.rst are valid configurations."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from agent import config

PAGE = (Path(__file__).parent.parent / "docs" / "host.rst").read_text()
EXAMPLES = [textwrap.dedent(block) for block in re.findall(r"^::\n\n((?:(?:    .*)?\n)+)", PAGE, re.MULTILINE)]
CONFIGURATIONS = [example for example in EXAMPLES if example.lstrip().startswith("[")]


def test_page_has_examples() -> None:
    assert len(CONFIGURATIONS) == 6


@pytest.mark.parametrize("example", CONFIGURATIONS, ids=lambda example: example.split()[0])
def test_every_example_is_a_valid_configuration(example: str) -> None:
    config.parse(tomllib.loads(example))
