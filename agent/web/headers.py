"""Security headers: no foreign scripts, no frames, no caching, no referrer."""

from flask import Blueprint, Response

CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT,
    "X-Content-Type-Options": "nosniff",
    # A meta element allows the referrer for this origin: without it, browsers send "Origin: null" with forms.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
KEPT = "private, max-age=31536000, immutable"
"""For files that never change under their address."""


def init_app(pages: Blueprint) -> None:
    """Add the headers to every answer."""
    pages.after_request(add)


def add(response: Response) -> Response:
    response.headers.update(HEADERS)
    if response.headers.get("Cache-Control") != KEPT:
        response.headers["Cache-Control"] = "no-store"
    return response
