"""A minimal Flask application: it answers at once, and a POST only parses its JSON."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.post("/api/unstable/actions/schedule/<kind>")
def schedule(kind: str) -> Response:
    """Return an answer of the same size as the agent's."""
    request.get_json()
    return jsonify(id="308fb8bc-79a1-49d9-bf71-1191d7d6c5d2")


@app.get("/")
def nothing() -> Response:
    return jsonify([])
