"""docs/kinds.rst is generated from the kinds."""

from pathlib import Path

from agent.tools import kinds_page

PAGE = Path(__file__).parent.parent / "docs" / "kinds.rst"


def test_page_is_generated_from_the_kinds() -> None:
    assert PAGE.read_text() == kinds_page.document(), "run: make docs (agentctl config kinds > docs/kinds.rst)"
