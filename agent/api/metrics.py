"""`GET /metrics`: the metrics for Prometheus, for authenticated callers; needs the extra `metrics`."""

from importlib.util import find_spec

from flask import Blueprint, Response, current_app, request

from agent.api.openapi.description import describe
from agent.errors import MetricsNotInstalled

bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
@describe(
    "Metrics of the queue, the store and this process, in the text format of Prometheus or OpenMetrics.",
    "Metrics",
    media_type="text/plain",
    errors=(MetricsNotInstalled,),
)
def metrics() -> Response:
    """In the format that `Accept` prefers. Raises `MetricsNotInstalled`."""
    if find_spec("prometheus_client") is None:
        raise MetricsNotInstalled(
            "the Python package prometheus_client is not installed: install the agent with its extra [metrics]"
        )
    from agent.api import exposition

    if (registry := current_app.extensions.get("agent.metrics")) is None:
        registry = current_app.extensions["agent.metrics"] = exposition.registry()
    body, content_type = exposition.written(registry, _accepted())
    response = Response(body, content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    return response


def _accepted() -> list[str]:
    """The media types of `Accept`, the preferred one first."""
    return [media_type for media_type, quality in request.accept_mimetypes if quality > 0]
