"""The page of the kinds says what they are."""

from pathlib import Path

from agent.tools import kinds_page

PAGE = Path(__file__).parent.parent / "docs" / "kinds.rst"


def test_the_page_is_the_one_that_the_kinds_give() -> None:
    assert PAGE.read_text() == kinds_page.document(), "run: make docs (agentctl config kinds > docs/kinds.rst)"
