"""The exit statuses of agentctl, and their mapping from errors."""

from agent.client import ClientError, Refused, TimedOut, Unreachable
from agent.errors import NO_MEMBER, NotInFile

DONE, FAILED, USAGE, CANCELLED, NOT_ALLOWED, UNREACHABLE, WAIT_ENDED, NOT_FOUND, CONFLICT = range(9)
INTERRUPTED = 130
MEANINGS = {
    DONE: "done",
    FAILED: "failed",
    USAGE: "wrong usage, or refused arguments",
    CANCELLED: "cancelled or expired",
    NOT_ALLOWED: "not allowed",
    UNREACHABLE: "the agent does not answer, or answers 503",
    WAIT_ENDED: "the wait ended; the action continues",
    NOT_FOUND: "not found",
    CONFLICT: "conflict, or the queue is full",
    INTERRUPTED: "interrupted by Ctrl-C before the id of an action was known",
}
OF_OUTCOME = {"done": DONE, "cancelled": CANCELLED, "expired": CANCELLED}
OF_STATUS = {400: USAGE, 401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 409: CONFLICT, 413: USAGE, 429: CONFLICT}


class Usage(Exception):
    """The command is invalid, or cannot be carried out in this situation."""


class Missing(Exception):
    """An object that the command names does not exist."""


def readable(file: str, what: str) -> str:
    """The text of a file that the caller named as `what`. Raises `Usage`."""
    try:
        with open(file, encoding="utf-8") as opened:
            return opened.read()
    except OSError as error:
        raise Usage(f"{what} {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Usage(f"{what} {file} is not text in UTF-8") from None


def of(error: Exception) -> int:
    """The exit status for an error."""
    if isinstance(error, Refused):
        return OF_STATUS.get(error.status, FAILED)
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, TimedOut):
        return WAIT_ENDED
    if isinstance(error, Missing | NotInFile):
        return NOT_FOUND
    return USAGE if isinstance(error, ClientError | Usage) else FAILED


def sentence(error: Exception) -> str:
    """The message for an error, with its details or a remedy."""
    details = error.details if isinstance(error, Refused) else {}
    messages = {name: _texts(texts) for name, texts in details.items()}
    found = "; ".join(text if name == NO_MEMBER else f"{name}: {text}" for name, text in messages.items())
    return f"{error}: {found}" if found else f"{error}{_remedy(error)}"


def _remedy(error: Exception) -> str:
    """What to do about the error with agentctl; the client's own message does not know agentctl."""
    if isinstance(error, Refused) and error.status == 401:
        return "; name a file with a token: --token-file FILE, $AGENT_TOKEN_FILE, or a context (agentctl context add)"
    if isinstance(error, Unreachable):
        if error.__cause__ is None:
            return "; the agent answers 503: try again"
        return "; start the agent there, or name another one: --url or -c"
    return ""


def _texts(found: object) -> str:
    """The messages of one argument; messages of its elements have their index."""
    if isinstance(found, dict):
        return " ".join(f"{place}: {_texts(each)}" for place, each in found.items())
    return " ".join(map(str, found)) if isinstance(found, list) else str(found)
