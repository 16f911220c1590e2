"""How a route of the page is declared: it finds out by itself who calls, and is not in the document for programs."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint
from marshmallow import Schema

from agent.api import authentication
from agent.api.openapi.description import describe

Declare = Callable[[Callable[..., Any]], Callable[..., Any]]


def page(
    bp: Blueprint,
    rule: str,
    summary: str,
    *,
    methods: tuple[str, ...] = ("GET",),
    query: type[Schema] | None = None,
    public: bool = False,
) -> Declare:
    """Declare a view. A `public` one answers also where it is not known who calls."""

    def declare(view: Callable[..., Any]) -> Callable[..., Any]:
        view.__dict__["public"] = public
        described = describe(summary, "Page", media_type="text/html", query=query, listed=False)(view)
        return bp.route(rule, methods=list(methods))(authentication.authenticates_itself(described))

    return declare


def is_public(view: Callable[..., Any]) -> bool:
    """Whether it was declared so."""
    return bool(view.__dict__.get("public"))
