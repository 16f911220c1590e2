"""Reads the listening sockets of a process from /proc: the real ones, independent of its settings."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LISTENS_TCP, ACCEPTS_UNIX = "0A", 0x10000


@dataclass(frozen=True)
class Listening:
    """Paths of unix sockets, and TCP ports on loopback or on all addresses."""

    sockets: tuple[str, ...]
    ports: tuple[int, ...]


def of(pid: int, proc: Path = Path("/proc")) -> Listening:
    """The sockets of a process. Raises `PermissionError` for another user's process, unless the caller is root."""
    inodes = set(_inodes(proc / str(pid) / "fd"))
    net = proc / str(pid) / "net"
    tcp = {port for table in ("tcp", "tcp6") for port in _ports(net / table, inodes)}
    return Listening(tuple(sorted(_paths(net / "unix", inodes))), tuple(sorted(tcp)))


def _inodes(folder: Path) -> Iterator[str]:
    for each in folder.iterdir():
        with suppress(FileNotFoundError):
            target = os.readlink(each)
            if target.startswith("socket:["):
                yield target[8:-1]


def _paths(table: Path, inodes: set[str]) -> Iterator[str]:
    for line in _lines(table):
        # Num RefCount Protocol Flags Type St Inode Path
        parts = line.split(maxsplit=7)
        if len(parts) == 8 and parts[6] in inodes and int(parts[3], 16) & ACCEPTS_UNIX and parts[7].startswith("/"):
            yield parts[7]


def _ports(table: Path, inodes: set[str]) -> Iterator[int]:
    for line in _lines(table):
        parts = line.split()
        if parts[3] == LISTENS_TCP and parts[9] in inodes and _is_local(parts[1].partition(":")[0]):
            yield int(parts[1].rpartition(":")[2], 16)


def _is_local(address: str) -> bool:
    """Whether 127.0.0.1 reaches the address: loopback, or all addresses of IPv4 or IPv6, in the kernel's format."""
    return address == "0100007F" or set(address) == {"0"}


def _lines(table: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return table.read_text().splitlines()[1:]
    return []
