"""Checks `Host` and `Origin`: a page in a browser must not reach an agent that trusts its machine."""

import ipaddress

from flask import Flask, request

from agent.api import connection
from agent.config import Api, addresses
from agent.errors import Forbidden, MisdirectedRequest

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """The accepted `Host` names. Others are refused: DNS rebinding uses foreign names that resolve to this address."""

    def __init__(self, hosts: tuple[str, ...], allowed: tuple[str, ...]) -> None:
        self._any_address = any(_is(host, "is_unspecified") for host in hosts)
        own = LOOPBACK if self._any_address or any(addresses.is_loopback(host) for host in hosts) else ()
        self._names = frozenset((*hosts, *own, *(name.strip("[]") for name in allowed)))

    def check(self) -> None:
        """Raises `MisdirectedRequest` for another `Host`, `Forbidden` for a request from a page of another origin."""
        environ = request.environ
        if connection.is_unix(environ):
            return  # browsers do not use unix sockets
        host = environ.get("HTTP_HOST", "")
        if not self.has(host):
            raise MisdirectedRequest("this Host is not the agent's: see the option api.allowed_hosts")
        origin = environ.get("HTTP_ORIGIN")
        # A browser sends a form of another origin without a preflight request, but with the header Origin.
        if origin is not None and origin.partition("://")[2] != host:
            raise Forbidden("pages of another origin may not call the agent")

    def has(self, host: str) -> bool:
        """Whether this `Host` is accepted, with any port or none: port forwarding changes the port."""
        name = name_of(host)
        return name in self._names or (self._any_address and _is(name, "version"))


def init_app(app: Flask, api: Api) -> None:
    """Check every request."""
    app.before_request(Hosts(api.hosts, api.allowed_hosts).check)


def name_of(host: str) -> str:
    """The name or address in a `Host`, without its port and the brackets of IPv6."""
    if host.startswith("["):
        name, closed, rest = host[1:].partition("]")
        return name.lower() if closed and (not rest or _is_port(rest)) else ""
    name, colon, port = host.partition(":")
    return name.lower().removesuffix(".") if not colon or _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit()


def _is(host: str, attribute: str) -> bool:
    """Whether the host is an IP address with this attribute."""
    try:
        return bool(getattr(ipaddress.ip_address(host), attribute))
    except ValueError:
        return False
