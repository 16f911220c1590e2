"""The JSON body of a request, as strictly as the protocol reads it."""

import json
import re
from typing import Any, NoReturn

from flask import request

from agent.errors import InvalidBody, UnsupportedMediaType
from agent.models import Json

DEPTH = 64
"""How deep objects and lists may be nested."""

STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
BRACKET = re.compile(rb"[\[\]{}]")


def json_body() -> Json:
    """The body of this request. Raises `InvalidBody` or `UnsupportedMediaType`."""
    body = request.get_data(cache=False)
    if not body.strip():
        raise InvalidBody("a JSON body is required; send {} where there are no arguments")
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("the body must be application/json", layers=_named(request.content_type))
    _refuse_deep(body)
    try:
        return _decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidBody("the body is not UTF-8", layers=[str(error)]) from None
    except (ValueError, RecursionError) as error:
        raise InvalidBody("the body is not JSON", layers=[str(error)]) from None


def _refuse_deep(body: bytes) -> None:
    # Fewer brackets than levels allowed: nothing to measure, as in all but a few bodies.
    if body.count(b"[") + body.count(b"{") <= DEPTH:
        return
    depth = 0
    for bracket in BRACKET.finditer(STRING.sub(b"", body)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > DEPTH:
            raise InvalidBody(f"the body is nested deeper than {DEPTH} levels")


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member name comes twice in one object")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _named(content_type: str | None) -> list[str]:
    return [f"it is said to be {content_type[:100]}"] if content_type else []


_decoder: Any = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_refuse_constant)
