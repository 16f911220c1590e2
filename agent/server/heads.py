"""Splits the head of a request off the received bytes."""

from http import HTTPStatus

from agent.server.connection import ClientConnection

END = b"\r\n\r\n"
LARGEST = 64 * 1024
"""Maximum bytes of a request line and headers."""


class TooLarge(Exception):
    """The request line or the headers exceed their limit; `status` is 414 or 431."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def take(connection: ClientConnection, longest_line: int) -> bytes | None:
    """Remove the head from the received bytes and return it; None while it is incomplete. Raises `TooLarge`.

    No byte is searched twice, so a head that arrives byte by byte costs no more than any other.
    """
    received = connection.received
    end = received.find(END, max(0, connection.searched - len(END) + 1))
    connection.searched = len(received)
    if len(received) > longest_line + 2 and received.find(b"\r\n", 0, longest_line + 2) < 0:
        raise TooLarge(HTTPStatus.REQUEST_URI_TOO_LONG)
    if (len(received) if end < 0 else end) > LARGEST:
        raise TooLarge(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    return None if end < 0 else rest(connection, end + len(END))


def rest(connection: ClientConnection, size: int | None = None) -> bytes:
    """Remove the first `size` received bytes, or all, and return them."""
    taken = bytes(connection.received[:size])
    del connection.received[:size]
    connection.searched = 0
    return taken
