"""`pytest --fast`: only the tests that need no server, no agent process and no root.

No test is marked for it: a test is left out if its code, its fixtures, or a function of the tests that these use,
reaches a server or an agent, or a call or a program that only root may use. `.ci/pythons` runs them on newer Pythons.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

SLOW = ("tests.servers", "tests.agent_process", "tests.agent_inside", "tests.warm_start", "bench")
"""Modules that start servers, agents and nodes."""
CALLS_OF_ROOT = {"chown", "fchown", "setuid", "seteuid", "setresuid", "setgroups"}
PROGRAMS_OF_ROOT = {"mount", "umount", "unshare", "nsenter", "setpriv", "runuser", "ip"}
UNKNOWN = {"getfixturevalue"}
"""A call whose fixture is known only when the test runs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="run the tests that need no server, no agent and no root")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        fast = {item: isinstance(item, pytest.Function) and is_fast(item) for item in items}
        config.hook.pytest_deselected(items=[item for item in items if not fast[item]])
        items[:] = [item for item in items if fast[item]]


def is_fast(item: pytest.Function) -> bool:
    """Whether neither the test nor its fixtures and parameters start a server or an agent, or need root."""
    fixtures = item._fixtureinfo.name2fixturedefs
    pending: list[Any] = [item.function]
    pending += [definitions[-1].func for name, definitions in fixtures.items() if name != "warm_agents"]
    pending += item.callspec.params.values() if hasattr(item, "callspec") else []
    seen: set[int] = set()
    while pending:
        reached = pending.pop()
        if id(reached) in seen:
            continue
        seen.add(id(reached))
        if module_of(reached).startswith(SLOW) or any(map(may_need_root, codes_of(reached))):
            return False
        if module_of(reached).startswith("tests."):
            pending += used_by(reached)
    return True


def module_of(reached: Any) -> str:
    return reached.__name__ if isinstance(reached, ModuleType) else str(getattr(reached, "__module__", None) or "")


def used_by(reached: Any) -> Iterator[Any]:
    """The functions, classes and modules that a function, or a method of a class, names."""
    if isinstance(reached, type):
        yield from reached.__bases__
    for function in functions_of(reached):
        for code in nested(function.__code__):
            for name in code.co_names:
                used = function.__globals__.get(name)
                if isinstance(used, FunctionType | ModuleType | type):
                    yield used


def codes_of(reached: Any) -> Iterator[CodeType]:
    for function in functions_of(reached):
        yield from nested(function.__code__)


def functions_of(reached: Any) -> Iterator[FunctionType]:
    """The function itself, or the methods of a class."""
    members = vars(reached).values() if isinstance(reached, type) else [reached]
    for member in members:
        function = inspect.unwrap(member) if callable(member) else getattr(member, "__func__", None)
        if isinstance(function, FunctionType):
            yield function


def nested(code: CodeType) -> Iterator[CodeType]:
    """The code and the code of its nested functions."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def may_need_root(code: CodeType) -> bool:
    """Whether the code names such a call, or has a program among its constants."""
    words = {word for each in code.co_consts for word in (each if isinstance(each, tuple) else (each,))}
    calls = CALLS_OF_ROOT | UNKNOWN
    return not calls.isdisjoint(code.co_names) or not PROGRAMS_OF_ROOT.isdisjoint(words)
