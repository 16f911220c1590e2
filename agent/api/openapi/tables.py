"""Tables for the OpenAPI document: headers, operation ids, and the errors of the server."""

from typing import Any

Document = dict[str, Any]

ERRORS_OF_THE_SERVER = {
    400: "BadRequest: The request is not valid HTTP.",
    405: "MethodNotAllowed: The method is not allowed at this address.",
    414: "RequestUriTooLong: The address is too long.",
    417: "ExpectationFailed: The value of the header Expect is not supported.",
    431: "RequestHeaderFieldsTooLarge: The request has too many headers, or too large ones.",
    500: "InternalError: An internal error: see the agent's log.",
    501: "NotImplemented: The transfer encoding of the body is not supported.",
}
OPERATIONS = {
    "page": "list_async_actions",
    "begin": "create_async_action",
    "one": "get_async_action",
    "cancel_one": "cancel_async_action",
    "approve": "approve_action",
    "available": "list_kinds",
    "cancel": "cancel_action",
    "finished": "list_finished_actions",
    "info": "get_action",
    "actions": "list_actions",
    "output": "get_action_output",
    "plan_of": "plan_action",
    "queue": "list_queued_actions",
    "schedule": "schedule_action",
    "trail": "list_events",
    "shards": "list_shards",
    "whoami": "get_caller",
    "deploy": "receive_push",
}
"""The operation ids by the names of the views; any other view has `get_` and its name."""
REQUEST_HEADERS: dict[str, Document] = {
    "Idempotency-Key": {
        "description": "Makes the call safe to repeat: the same key of one caller with the same kind and "
        "arguments is one action; kept 24 hours at least. The string of RFC 8941 is the same key as its content.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"},
    },
    "From": {
        "description": "E-mail stored as the action's user. Used only when authentication is off.",
        "schema": {"type": "string"},
    },
    "Prefer": {
        "description": "`wait=N`: wait up to N seconds (60 at most) for a change. "
        "`wait=N, until=final`: wait until the action is final.",
        "schema": {"type": "string"},
    },
    "Action-Reason": {
        "description": "The reason of the action, such as a ticket; stored with the action.",
        "schema": {"type": "string", "maxLength": 255},
    },
    "Not-Before": {
        "description": "The action is held until then: a time of RFC 3339.",
        "schema": {"type": "string"},
    },
    "Not-After": {
        "description": "The action fails as expired if it has not started by then: a time of RFC 3339.",
        "schema": {"type": "string"},
    },
    "X-Request-Id": {
        "description": "Identifies the call in answers, logs and callbacks: at most 128 letters, digits and "
        "`._~:/+=@-`. An invalid id is replaced.",
        "schema": {"type": "string"},
    },
    "traceparent": {
        "description": "The caller's span, as W3C Trace Context. The agent continues its trace; without a valid one it "
        "begins a trace.",
        "schema": {"type": "string"},
    },
    "X-Hub-Signature-256": {
        "description": "`sha256=` and the HMAC-SHA256 of the body with the secret of the application's hook.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-GitHub-Event": {
        "description": "The event; all events but `push` are ignored. X-Gitea-Event and X-Forgejo-Event are the same.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {"description": "The ETag of an earlier answer.", "schema": {"type": "string"}},
}
ANSWER_HEADERS: dict[str, Document] = {
    "ETag": {
        "description": "The entity tag of this answer: it changes when the answer does.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Cache-Control": {
        "description": "Whether the answer may still change.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Request-Id": {"description": "The id of the call.", "required": True, "schema": {"type": "string"}},
    "traceparent": {
        "description": "The span of the call, as W3C Trace Context.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "`true` if an earlier call with the same Idempotency-Key scheduled the action.",
        "schema": {"type": "string", "const": "true"},
    },
    "Location": {
        "description": "The address of the action.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'The address of the action, `rel="monitor"`; of a page, the next page, `rel="next"`.',
        "schema": {"type": "string"},
    },
    "X-Output-Offset": {
        "description": "The offset of the first byte of the answer; greater than requested if bytes were dropped.",
        "required": True,
        "schema": {"type": "integer"},
    },
    "X-Output-Next": {
        "description": "The offset to continue at.",
        "required": True,
        "schema": {"type": "integer"},
    },
    "X-Output-Complete": {
        "description": "`true`: the action is final and this is the end of its output.",
        "required": True,
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    "X-Output-Truncated": {
        "description": "`true`: bytes were left out, as the action printed more than `actions.output_limit`.",
        "required": True,
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    "Preference-Applied": {"description": "The wait that the agent has applied.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer"},
    },
    "Allow": {"description": "The allowed methods.", "required": True, "schema": {"type": "string"}},
}
HEADERS_OF_STATUS = {405: ("Allow",), 429: ("Retry-After",), 503: ("Retry-After",)}
