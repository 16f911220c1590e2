"""The errors of the API, each with its HTTP status."""

from collections.abc import Mapping, Sequence

NO_MEMBER = "_schema"
"""The name in `details` for an error of the whole body instead of one member."""


class AgentError(Exception):
    """A refusal or failure. The caller gets the message as one sentence.

    `variant` is the class name, `layers` the causes from the nearest to the deepest.
    """

    status = 500
    retry_after: int | None = None
    """Seconds for the `Retry-After` header; None: no header."""

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
        """The message with the details, as one sentence."""
        return described(self.message, self.details or {})


def described(message: str, details: Mapping[str, Sequence[str]]) -> str:
    """One sentence of the message and the details: `message: member: error; member: error`.

    Errors of the whole body (`NO_MEMBER`) are shown without a name.
    """
    wrong = {name: " ".join(messages).rstrip(".") for name, messages in details.items()}
    wrong_members = [text if name == NO_MEMBER else f"{name}: {text}" for name, text in wrong.items()]
    return ": ".join(filter(None, (message, "; ".join(wrong_members))))


class InvalidBody(AgentError):
    """The body is not the JSON that the protocol accepts."""

    status = 400


class InvalidArgs(AgentError):
    """The kind does not accept these arguments; `details` says which and why."""

    status = 400


class InvalidQuery(AgentError):
    """The route does not accept a query parameter, or a parameter is given twice."""

    status = 400


class InvalidHeader(AgentError):
    """A request header has an invalid value."""

    status = 400


class UnsupportedMediaType(AgentError):
    """The body is not `application/json`."""

    status = 415


class BodyTooLarge(AgentError):
    """The body is larger than `api.max_body`."""

    status = 413


class HeadersTooLarge(AgentError):
    """The headers that the action would record are larger than 16 KiB."""

    status = 431


class Unauthenticated(AgentError):
    """The request has no valid credentials."""

    status = 401

    def __init__(self, message: str, scheme: str = "Bearer") -> None:
        super().__init__(message, headers={"WWW-Authenticate": scheme})


class Forbidden(AgentError):
    """The caller has no permission for this call."""

    status = 403


class MisdirectedRequest(AgentError):
    """The `Host` header names another server."""

    status = 421


class ActionNotAvailable(AgentError):
    """The kind does not exist, or its configuration or package is missing."""

    status = 404


class ActionNotFound(AgentError):
    """No action has this id (any more)."""

    status = 404


class DatastoreNotConfigured(AgentError):
    """This node has no `[datastore]`, or the driver for it is not installed."""

    status = 404


class MetricsNotInstalled(AgentError):
    """The agent is installed without its extra `metrics`."""

    status = 404


class StackNotFound(AgentError):
    """The node belongs to another stack."""

    status = 404


class ServerNotFound(StackNotFound):
    """This node is another server of the stack."""


class NotCancellable(AgentError):
    """The action is final, or its kind cannot be interrupted."""

    status = 409


class NotApprovable(AgentError):
    """The action has started, is already approved, or was scheduled by the same identity."""

    status = 409


class IdempotencyKeyReused(AgentError):
    """The key was already used with another kind or other arguments."""

    status = 409


class ActionAlreadyExists(AgentError):
    """An action with the `action_id` of the request body already exists."""

    status = 409


class HookReplayed(AgentError):
    """The delivery was already accepted, and its action was removed from the history."""

    status = 409


class ActionPruned(AgentError):
    """The Idempotency-Key was already used, and its action was removed from the history."""

    status = 409


class QueueFull(AgentError):
    """The queue is full: see `actions.queue_limit` and `actions.queue_bytes`."""

    status = 429
    retry_after = 5


class StoreUnavailable(AgentError):
    """The database cannot be read or written now; nothing was changed."""

    status = 503
    retry_after = 5


class NotHealthy(AgentError):
    """A part of the agent or the datastore is not healthy, or the datastore has another role."""

    status = 503
    retry_after = 5


class HookUnavailable(AgentError):
    """The secret of the hook cannot be read now."""

    status = 503
    retry_after = 5


class StoreUnusable(Exception):
    """The database file cannot be used: the agent does not start."""


class AddressTaken(Exception):
    """Another process listens on an address of `api.bind`; a later start may succeed."""


class ConfigError(Exception):
    """The configuration is wrong. `mistakes` has a sentence for each mistake; the message joins them."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class NotInFile(ConfigError):
    """A configuration file has no entry with the given name."""
