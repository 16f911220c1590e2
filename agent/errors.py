"""What can go wrong, named for the fact, with the HTTP status that tells it (PROTOCOL "Errors")."""

from collections.abc import Mapping, Sequence


class AgentError(Exception):
    """A refusal or failure that a caller is told about in one sentence.

    `variant` is the class name, `layers` the causes from the nearest to the deepest.
    """

    status = 500
    retry_after: int | None = None
    """Seconds after which to try again, where that may help."""

    def __init__(
        self,
        message: str,
        *,
        layers: Sequence[str] = (),
        details: Mapping[str, Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.layers = list(layers)
        self.details = details
        self.headers = dict(headers or {})
        if self.retry_after is not None:
            self.headers["Retry-After"] = str(self.retry_after)

    @property
    def variant(self) -> str:
        return type(self).__name__

    @property
    def sentence(self) -> str:
        """The message, with the details that a caller gets beside it."""
        told = [f"{name}: {' '.join(wrong).rstrip('.')}" for name, wrong in (self.details or {}).items()]
        return ": ".join(filter(None, (self.message, "; ".join(told))))


class InvalidBody(AgentError):
    """The body is not the JSON that the protocol accepts."""

    status = 400


class InvalidArgs(AgentError):
    """The kind does not accept these arguments; `details` says which and why."""

    status = 400


class InvalidQuery(AgentError):
    """The address has a query parameter that it does not take, or has one twice."""

    status = 400


class InvalidHeader(AgentError):
    """A header that the agent understands has a value that it does not."""

    status = 400


class UnsupportedMediaType(AgentError):
    """The body is not `application/json`."""

    status = 415


class BodyTooLarge(AgentError):
    """The body is larger than `api.max_body`."""

    status = 413


class HeadersTooLarge(AgentError):
    """What an action would record of the request's headers is larger than 16 KiB."""

    status = 431


class Unauthenticated(AgentError):
    """The caller did not say, or could not prove, who it is."""

    status = 401

    def __init__(self, message: str, scheme: str = "Bearer") -> None:
        super().__init__(message, headers={"WWW-Authenticate": scheme})


class Forbidden(AgentError):
    """The caller is known and may not do this."""

    status = 403


class MisdirectedRequest(AgentError):
    """`Host` names a server that this agent is not."""

    status = 421


class ActionNotAvailable(AgentError):
    """No such kind here, or what it needs is not configured or installed."""

    status = 404


class ActionNotFound(AgentError):
    """No action has this id (any more)."""

    status = 404


class DatastoreNotConfigured(AgentError):
    """This node has no `[datastore]`, or the driver for it is not installed."""

    status = 404


class StackNotFound(AgentError):
    """The node belongs to another stack."""

    status = 404


class NotCancellable(AgentError):
    """The action is final, or its kind cannot be interrupted."""

    status = 409


class IdempotencyKeyReused(AgentError):
    """The key came before with another kind or other arguments."""

    status = 409


class HookReplayed(AgentError):
    """This very delivery was taken before, and the action that came of it is not kept any more."""

    status = 409


class ActionPruned(AgentError):
    """The Idempotency-Key scheduled an action before, which is no longer kept and cannot be shown."""

    status = 409


class QueueFull(AgentError):
    """As many actions or bytes wait as `actions.queue_limit` and `actions.queue_bytes` allow."""

    status = 429
    retry_after = 5


class StoreUnavailable(AgentError):
    """The database cannot be read or written now; nothing was half done."""

    status = 503
    retry_after = 5


class HookUnavailable(AgentError):
    """The secret that the hook is signed with cannot be read now."""

    status = 503
    retry_after = 5


class StoreUnusable(Exception):
    """The database file cannot be served by this agent at all: it does not start."""


class AddressTaken(Exception):
    """Another process listens on an address of `api.bind`; it may end, and the next start succeed."""


class ConfigError(Exception):
    """The configuration is wrong; the message is the sentence that the start ends with."""
