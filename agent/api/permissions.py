"""Checks of the permissions of the present caller."""

from collections.abc import Iterable
from typing import NoReturn

from agent.api import authentication
from agent.errors import Forbidden


def permit(kind: str) -> None:
    """Raises `Forbidden` unless the caller may schedule and cancel actions of this kind."""
    identity = authentication.caller()
    if identity is not None and not identity.may(kind):
        _forbid(identity.email, f"{identity.email} may not schedule or cancel {kind}")


def permit_any(kinds: Iterable[str]) -> None:
    """Raises `Forbidden` unless the caller may schedule actions of at least one of these kinds."""
    identity = authentication.caller()
    if identity is not None and not any(map(identity.may, kinds)):
        _forbid(identity.email, f"{identity.email} may schedule no action")


def require(permission: str) -> None:
    """Raises `Forbidden` unless the caller has this permission: approve, audit or controller."""
    identity = authentication.caller()
    if identity is not None and permission not in identity.permissions:
        _forbid(identity.email, f"{identity.email} does not have the permission {permission}")


def _forbid(email: str, reason: str) -> NoReturn:
    error = Forbidden(reason)
    authentication.record_refused(error, email)
    raise error
