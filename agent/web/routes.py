"""Declares routes of the page: they authenticate by session, and are not in the OpenAPI document."""

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
    """Declare a view. `public`: it needs no authentication."""

    def declare(view: Callable[..., Any]) -> Callable[..., Any]:
        view.__dict__["public"] = public
        described = describe(summary, "Page", media_type="text/html", query=query, listed=False)(view)
        return bp.route(rule, methods=list(methods))(authentication.authenticates_itself(described))

    return declare


def is_public(view: Callable[..., Any]) -> bool:
    """Whether the view was declared as public."""
    return bool(view.__dict__.get("public"))
