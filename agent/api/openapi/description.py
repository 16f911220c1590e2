"""The description of a route, declared beside it; the OpenAPI document is built from these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from marshmallow import Schema

from agent.errors import AgentError
from agent.kinds.base.registry import Registry

View = TypeVar("View", bound=Callable[..., Any])
Bodies = Callable[[Registry], dict[str, Any]]
"""The JSON Schema of a body by media type, for the kinds that a node offers."""


@dataclass(frozen=True)
class Description:
    """One route. `answer` is a name in `answers.COMPONENTS`; errors that no route names may come from any route.

    `links`: the parameter of each following operation, and the JSON pointer of its value in the answer. A route that
    is not `listed` is for people and not in the document.
    """

    summary: str
    answer: str
    errors: tuple[type[AgentError], ...] = ()
    media_type: str = "application/json"
    query: type[Schema] | None = None
    headers: tuple[str, ...] = ()
    answer_headers: tuple[str, ...] = ()
    bodies: Bodies | None = None
    links: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    listed: bool = True


def describe(summary: str, answer: str, **more: Any) -> Callable[[View], View]:
    """Give a view its `Description`."""

    def described(view: View) -> View:
        view.__dict__["description"] = Description(summary, answer, **more)
        return view

    return described


def of(view: Callable[..., Any]) -> Description:
    """The description of a view. Raises `KeyError` if it has none."""
    description: Description = view.__dict__["description"]
    return description
