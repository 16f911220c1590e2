"""The answers of all routes, as marshmallow schemas. Only the OpenAPI document imports them."""

from marshmallow import Schema

from agent.api.openapi.answers import async_actions, node_protocol, own_routes
from agent.wire.rows import ActionSchema, AsyncActionSchema, ListItem, Resource, TransitionSchema


def name_of(schema: type[Schema]) -> str:
    """The name of a schema in the document."""
    return schema.__name__.removesuffix("Schema")


_ROWS: tuple[type[Schema], ...] = (ActionSchema, AsyncActionSchema, ListItem, Resource, TransitionSchema)
_ANSWERS: list[type[Schema]] = [
    each
    for module in (own_routes, node_protocol, async_actions)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Schema) and each.__module__ == module.__name__
]
COMPONENTS: dict[str, type[Schema]] = {name_of(each): each for each in (*_ROWS, *_ANSWERS)}
"""Every schema by its name in the document."""
LISTS: dict[str, tuple[type[Schema], ...]] = {
    "Items": (own_routes.ItemSchema,),
    "Kinds": (own_routes.AvailableSchema, own_routes.MissingSchema),
}
"""Answers that are lists, with the schemas of their items."""
