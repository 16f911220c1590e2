"""Which `Host` and `Origin` are answered: a page in a browser must not reach an agent that trusts its machine."""

import ipaddress

from flask import Flask, request

from agent.api import connection
from agent.config import Api, addresses
from agent.errors import Forbidden, MisdirectedRequest

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """The names that the agent listens to. A name that leads to it, but is not its own, is how DNS rebinding looks."""

    def __init__(self, hosts: tuple[str, ...], allowed: tuple[str, ...]) -> None:
        self._any_address = any(_is(host, "is_unspecified") for host in hosts)
        own = LOOPBACK if self._any_address or any(addresses.is_loopback(host) for host in hosts) else ()
        self._names = frozenset((*hosts, *own, *(name.strip("[]") for name in allowed)))

    def check(self) -> None:
        """Raises `MisdirectedRequest`, or `Forbidden` for what a page of another origin sends."""
        environ = request.environ
        if connection.is_unix(environ):
            return  # no browser opens one
        host = environ.get("HTTP_HOST", "")
        if not self.has(host):
            raise MisdirectedRequest("this Host is not the agent's: see the option api.allowed_hosts")
        origin = environ.get("HTTP_ORIGIN")
        # A form that a page of another origin submits needs no permission of ours, but says where it comes from.
        if origin is not None and origin.partition("://")[2] != host:
            raise Forbidden("pages of another origin may not call the agent")

    def has(self, host: str) -> bool:
        """Whether it is one of the names, with or without a port: a port forwarding changes the port."""
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


def _is(host: str, what: str) -> bool:
    """Whether it is an address, and one of which this is true."""
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False
