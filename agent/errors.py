"""The errors of the API, each named for the fact, with its HTTP status (PROTOCOL "Errors")."""

from collections.abc import Mapping, Sequence

NO_MEMBER = "_schema"
"""The name in `details` for what is wrong with the whole rather than with one member."""


class AgentError(Exception):
    """A refusal or failure that the caller gets as one sentence.

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
        return described(self.message, self.details or {})


def described(message: str, details: Mapping[str, Sequence[str]]) -> str:
    """The message and, for each member in `details`, what is wrong with that member, as one sentence.

    What is wrong with the whole has no name in it.
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
    """The action has started, was approved before, or was scheduled by the same identity."""

    status = 409


class IdempotencyKeyReused(AgentError):
    """The key came before with another kind or other arguments."""

    status = 409


class ActionAlreadyExists(AgentError):
    """The `action_id` of the envelope was used before; nothing is said of that action."""

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


class NotHealthy(AgentError):
    """A part of the agent, or the datastore, is not as it was asked for."""

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
    """The configuration is wrong. `mistakes` has a sentence for each mistake; the message is all of them."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class NotInFile(ConfigError):
    """A file of the configuration has no entry of the name that a command gives."""
