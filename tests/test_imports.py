"""The import graph of `agent/`, read from the source: no cycles, and each package imports lower layers only.

Imports under `TYPE_CHECKING` count. So does the package of an imported module, whose `__init__` Python runs first.
A graph without cycles proves that each module can be imported alone, in a fresh interpreter.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
Graph = dict[str, set[str]]

LAYERS = (
    ("clock", "errors", "models", "client"),
    ("config", "plan", "util"),
    ("log", "processes"),
    ("auth", "containers", "jobs", "maintenance", "store"),
    ("wire",),
    ("callbacks", "server", "supervisors"),
    ("datastores", "deployments"),
    ("caches",),
    ("kinds",),
    ("engine", "tools"),
    ("api",),
    ("cli", "web"),
)
"""Packages and modules of `agent/`, the lowest first. Each imports only those of the layers before its own."""

NEVER = {
    "store": ("config", "auth", "processes"),  # rows: no settings, no callers, no programs
    "kinds": ("store", "server", "callbacks"),  # a step returns its outcome; the engine writes it
    "datastores": ("store", "server", "callbacks"),
    "jobs": ("config", "log"),  # what outlives the agent loads little
    "server": ("store",),  # at import time: gunicorn's master opens no database
}
"""Packages of lower layers that a package must not import."""

DEFERRED = {
    "agent": "gunicorn's master needs no Flask",
    "agent.api.metrics": "the extra may not be installed",
    "agent.api.openapi.build": "the document is built by the first request for it",
    "agent.cli": "a command loads what it needs",
    "agent.datastores": "only the configured datastore is loaded",
    "agent.datastores.postgresql.datastore": "importing the driver takes a third of the start",
    "agent.jobs.runner": "the command runs while this is loaded",
    "agent.server.lifecycle": "the master imports no store",
    "agent.supervisors": "a job without a unit needs no asyncio",
}
"""Modules that import others of the agent inside functions, with the reasons."""


def modules() -> dict[str, Path]:
    """Every module of `agent/` by its dotted name."""
    found = {}
    for path in (ROOT / "agent").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """The modules of the agent that a module imports, and whether it does so inside a function."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(MODULES[module].read_text()), False)]
    while pending:
        node, deferred = pending.pop()
        deferred = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend((child, deferred) for child in ast.iter_child_nodes(node))
        for name in imported_names(node):
            if name in MODULES and name != module:
                yield name, deferred


def imported_names(node: ast.AST) -> list[str]:
    """The modules that one statement imports; empty for every other statement."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0 and node.module is not None  # ruff refuses relative imports
        members = [f"{node.module}.{alias.name}" for alias in node.names]
        return [member if member in MODULES else node.module for member in members]
    return []


@cache
def graph() -> dict[str, set[tuple[str, bool]]]:
    return {module: set(imports(module)) for module in MODULES}


def loaded() -> Graph:
    """The imports of each module at load time."""
    return {module: {name for name, inside in found if not inside} for module, found in graph().items()}


def later() -> Graph:
    """The imports of each module inside its functions."""
    return {module: {name for name, inside in found if inside} for module, found in graph().items()}


def with_packages(edges: Graph) -> Graph:
    """The graph with the packages whose `__init__` runs before an imported module, but for a module's own packages."""
    return {
        module: {
            name
            for target in targets
            for name in (target, *packages_of(target))
            if not f"{module}.".startswith(f"{name}.")
        }
        | targets
        for module, targets in edges.items()
    }


def packages_of(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def cycle(edges: Graph) -> list[str]:
    """One import cycle, each module importing the next one; empty if there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def part_of(module: str) -> str:
    """The package or module directly below `agent`; empty for `agent` itself."""
    return module.split(".")[1] if "." in module else ""


def layer(module: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if part_of(module) in names)


def test_a_cycle_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert not cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_imports_under_type_checking_and_in_functions_are_seen() -> None:
    assert "agent.supervisors.base" in loaded()["agent.datastores.postgresql.datastore"]
    assert "agent.datastores.postgresql.resync" in later()["agent.datastores.postgresql.datastore"]


def test_there_is_no_import_cycle() -> None:
    found = cycle(with_packages(loaded()))
    assert not found, f"import cycle: {' -> '.join(found)}; move what they share to a module that both import"


def test_every_part_of_the_agent_has_a_layer() -> None:
    placed = {name for names in LAYERS for name in names}
    missing = {part_of(module) for module in MODULES} - {""} - placed
    assert not missing, f"give {sorted(missing)} a place in LAYERS, and in docs/architecture.rst"


def test_modules_import_lower_layers_only() -> None:
    wrong = [
        f"{module} imports {name}"
        for edges in (loaded(), later())
        for module, targets in edges.items()
        for name in targets
        if part_of(module) and part_of(name) and part_of(module) != part_of(name) and layer(name) >= layer(module)
    ]
    assert not wrong, f"not a lower layer (see LAYERS): {sorted(wrong)}"


def test_packages_import_no_refused_module() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, targets in loaded().items()
        for name in targets
        if part_of(name) in NEVER.get(part_of(module), ())
    ]
    assert not wrong, f"refused by NEVER: {sorted(wrong)}"


def test_imports_inside_functions_have_a_reason() -> None:
    wrong = {
        module: sorted(targets)
        for module, targets in later().items()
        if targets and module not in DEFERRED and part_of(module) != "cli"
    }
    assert not wrong, f"import at the head of the module, or give the reason in DEFERRED: {wrong}"
    deferring = later()
    unused = {module for module in DEFERRED if module != "agent.cli" and not deferring[module]}
    assert not unused, f"remove from DEFERRED: {sorted(unused)}"
