"""What browsers must not do with the answers: run what is not ours, show them in frames, keep or forward them."""

from flask import Blueprint, Response

CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT,
    "X-Content-Type-Options": "nosniff",
    # The pages themselves allow it to this origin: without it browsers say of a form that its origin is unknown.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
KEPT = "private, max-age=31536000, immutable"
"""For what never changes under its address."""


def init_app(pages: Blueprint) -> None:
    """Add them to every answer."""
    pages.after_request(add)


def add(response: Response) -> Response:
    response.headers.update(HEADERS)
    if response.headers.get("Cache-Control") != KEPT:
        response.headers["Cache-Control"] = "no-store"
    return response
