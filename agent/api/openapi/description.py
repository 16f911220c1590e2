"""What a route says of itself, beside the route; the OpenAPI document is put together from it."""

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
    """One route. The answer is named as in `answers.COMPONENTS`; errors that none names may come from any route.

    `links` say where the answer leads: operation to (its parameter, where in the answer its value is). A route that
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
    """Raises `KeyError` for a view that has none."""
    description: Description = view.__dict__["description"]
    return description
