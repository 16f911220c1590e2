"""Discovery of kinds: duplicates are refused, and an unavailable kind is reported with the reason."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import Agent, Settings
from agent.errors import ActionNotAvailable, ConfigError
from agent.kinds.base import Kind
from agent.kinds.base.registry import Registry, discover

MODULE = '''
from agent.kinds.base import Done, Kind, NotOffered
from agent.kinds.replicante_test import Ping  # imported: not a kind of this module

class Base(Kind):
    """No name: a base for others."""
    def step(self, step):
        return Done()

class Mine(Base):
    """Mine alone."""
    name = "mine.first"

class Heir(Mine):
    """No name of its own either."""

class Family(Base):
    """One for each member."""
    name = "mine.family"

    def __init__(self, settings, name):
        super().__init__(settings)
        self.name = name

    @classmethod
    def offered(cls, settings):
        for name in ("mine.b", "mine.a"):
            yield cls(settings, name)

class Absent(Base):
    name = "mine.absent"

    @classmethod
    def offered(cls, settings):
        raise NotOffered("set mine.url")
        yield
'''


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for modules; they are removed from `sys.modules` afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def found(*names: str) -> Registry:
    return discover(Settings(agent=Agent(kinds=names)))


def why_not(registry: Registry, name: str) -> str:
    with pytest.raises(ActionNotAvailable) as caught:
        registry.get(name)
    assert caught.value.status == 404
    return caught.value.message


def test_the_kinds_of_the_package_are_found() -> None:
    names = [kind.name for kind in found()]
    assert {"replicante.test.ping", "replicante.test.success", "replicante.test.fail", "replicante.test.loop"} <= set(
        names
    )
    assert names == sorted(names)
    assert all(kind.description for kind in found()), "each says what it does"


def test_kinds_of_a_configured_module_are_found(modules: Path) -> None:
    (modules / "own_kinds_here.py").write_text(MODULE)
    registry = found("own_kinds_here")
    own = [kind.name for kind in registry if type(kind).__module__ == "own_kinds_here"]
    assert own == ["mine.a", "mine.b", "mine.first"]
    assert registry.get("mine.first").description == "Mine alone."


def test_a_kind_that_is_not_offered_is_reported_with_the_reason(modules: Path) -> None:
    (modules / "own_kinds_here.py").write_text(MODULE)
    assert why_not(found("own_kinds_here"), "mine.absent") == "mine.absent is not available on this node: set mine.url"


def test_two_kinds_of_one_name_are_refused_with_both_modules(modules: Path) -> None:
    (modules / "one.py").write_text(MODULE)
    (modules / "other.py").write_text(MODULE)
    with pytest.raises(ConfigError, match=r"^the kind mine\.first is defined twice, by one and other$"):
        found("one", "other")


@pytest.mark.parametrize(
    "text", [None, "def:\n", "import no_such_thing\n", "1 / 0\n", "from agent.kinds.base import Nothing\n"]
)
def test_a_module_that_cannot_be_imported_is_reported_by_its_name(modules: Path, text: str | None) -> None:
    if text is not None:
        (modules / "unfortunate.py").write_text(text)
    with pytest.raises(ConfigError, match=r"^agent\.kinds: cannot import unfortunate: "):
        found("unfortunate")


def test_an_unknown_kind_is_reported_with_the_closest_ones() -> None:
    message = why_not(found(), "replicante.test.pong")
    assert message.startswith("no kind is called 'replicante.test.pong'; the closest are replicante.test.ping")


def test_unknown_kind_without_a_close_one_names_the_list_of_kinds() -> None:
    assert why_not(found(), "zzzzzz") == "no kind is called 'zzzzzz'; GET available lists the kinds"


def test_only_the_beginning_of_a_very_long_name_is_repeated() -> None:
    assert len(why_not(found(), "x" * 1_000_000)) < 400


def test_registry_refuses_a_second_kind_of_a_name() -> None:
    class Mine(Kind):
        name = "mine"

    registry = Registry()
    first = Mine(Settings())
    registry.add(first)
    with pytest.raises(ConfigError):
        registry.add(Mine(Settings()))
    assert registry.get("mine") is first
