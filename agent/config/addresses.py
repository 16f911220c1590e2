"""The checks of addresses in the configuration, and the host of an address."""

import ipaddress
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from agent.config.mistakes import UNSHOWN, Mistake, without_credentials
from agent.config.validators import Check, list_of, text, texts


def address(value: Any) -> str:
    """A unix socket, or a port on an address of this machine."""
    if isinstance(value, str) and (named := re.fullmatch(r"unix:(?://)?(/[^/\x00][^\x00]*)", value)):
        return f"unix:{named[1]}"
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\[\]\s]+):(\d{1,5})", value) if isinstance(value, str) else None
    if not found or int(found[2]) > 65535:
        raise Mistake("host:port or unix:/path", value)
    return str(value)


def one_or_more(value: Any) -> tuple[str, ...]:
    """One address, or a list of several that differ."""
    if not isinstance(value, list):
        return (address(value),)
    found: tuple[str, ...] = list_of(address, "a list of addresses")(value)
    if not found or len(set(found)) < len(found):
        raise Mistake("one or more different addresses", value)
    return found


def host_names(value: Any) -> tuple[str, ...]:
    """Names or addresses as in the `Host` header, without port; returned in lower case."""
    if not all(re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+", each) for each in texts(value)):
        raise Mistake("a list of host names without ports", value)
    return tuple(each.lower() for each in value)


def host_of(address: str) -> str | None:
    """The host of a checked address, without the brackets of IPv6; None for a unix socket."""
    return None if address.startswith("unix:") else address.rpartition(":")[0].strip("[]").lower()


def is_local(address: str) -> bool:
    """Whether only this machine can reach a checked address."""
    host = host_of(address)
    return host is None or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _receiver(value: Any) -> str:
    try:
        parts = urlsplit(text(value))
        written = re.fullmatch(r"https?://[!-~]+", value)
        usable = written and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.fragment:
        # The text before an @ may be a password: the message does not show it.
        raise Mistake("http:// or https://, a host and a path, without a user", UNSHOWN)
    return str(value)


receivers = list_of(_receiver, "a list of URLs")
"""The check of the URLs of callback receivers, which have no credentials."""


def server_url(*schemes: str) -> Check:
    """The check of a server's address, `scheme://host:port` or `unix:///path`, without database and password."""
    forms = " or ".join("unix:///path" if each == "unix" else f"{each}://host:port" for each in schemes)

    def check(value: Any) -> str:
        if not _names_only_a_server(text(value), schemes):
            raise Mistake(f"{forms}, without a database or password", without_credentials(value))
        return str(value)

    return check


def _names_only_a_server(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and parts.password is None and parts.port != 0
    except ValueError:
        return False
    if not usable or parts.fragment or any(not each.startswith("ssl_") for each, _ in parse_qsl(parts.query)):
        return False
    if parts.scheme == "unix":
        return url.startswith("unix://") and not parts.hostname and len(parts.path) > 1
    return bool(parts.hostname) and parts.path in ("", "/")
