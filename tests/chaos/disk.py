"""A recorder of an agent's writes and syncs, and the disk contents that a power cut could leave."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
CALLS = "openat,pwrite64,ftruncate,fsync,fdatasync,unlink,rename,sendto,sendmsg"
STRACE = (
    "strace",
    "-D",
    "-f",
    "-y",
    "-xx",
    "-s",
    "2000000",
    "--seccomp-bpf",
    "-e",
    f"trace={CALLS}",
    "-e",
    "signal=none",
)
CALL = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<args>.*?)(?: <unfinished \.\.\.>|\) += (?P<result>\S+).*)$")
RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. (?P<name>\w+) resumed>.*\) += (?P<result>\S+)")
ON_FILE = re.compile(
    r'\d+<(?P<path>[^>]*)>(?:\(deleted\))?(?:, "(?P<data>[^"]*)"(?:, \d+, (?P<offset>\d+))?|, (?P<size>\d+))?'
)
QUOTED = re.compile(r'"([^"]*)"')
ANSWER = re.compile(rb'\{"id": ?"([0-9a-f-]{36})"\}')


@dataclass(frozen=True)
class Write:
    """Bytes at an offset, or a truncation to `size`."""

    offset: int = 0
    data: bytes = b""
    size: int | None = None

    def on(self, content: bytearray) -> None:
        if self.size is not None:
            del content[self.size :]
            content.extend(bytes(self.size - len(content)))
            return
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset : self.offset + len(self.data)] = self.data

    def torn(self, chance: random.Random) -> "Write":
        """The write of which only the first sectors arrive."""
        return Write(self.offset, self.data[: SECTOR * chance.randint(0, len(self.data) // SECTOR)], self.size)


@dataclass
class File:
    """The synced content, and the writes since."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)

    def sync(self, count: int) -> None:
        for write in self.pending[:count]:
            write.on(self.content)
        del self.pending[:count]

    def cut(self, chance: random.Random) -> bytearray:
        """A possible content after a power cut: any of the later writes, in any order, some of them torn."""
        content = bytearray(self.content)
        kept = [write for write in self.pending if chance.random() < 0.5]
        chance.shuffle(kept)
        for write in kept:
            (write.torn(chance) if chance.random() < 0.3 else write).on(content)
        return content


@dataclass
class Disk:
    """The files of one directory. A name is on disk once the directory was synced after its creation."""

    directory: str
    files: dict[str, File] = field(default_factory=dict)
    names: dict[str, File] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)

    def synced_only(self) -> dict[str, bytes]:
        return {name: bytes(file.content) for name, file in self.names.items()}

    def cut(self, chance: random.Random) -> dict[str, bytes]:
        """One of the possible states after a power cut."""
        names = chance.choice([self.names, self.files])
        return {name: bytes(file.cut(chance)) for name, file in names.items()}

    def moments(self, trace: Path) -> Iterator[str]:
        """Replay the calls; yields before each sync takes effect, and once at the end."""
        begun: dict[str, tuple[str, int]] = {}
        with trace.open(encoding="ascii") as lines:
            for line in lines:
                if (sync := self._next_sync(line, begun)) is not None:
                    yield sync[0]
                    self._sync(*sync)
        yield "the end"

    def _next_sync(self, line: str, begun: dict[str, tuple[str, int]]) -> tuple[str, int] | None:
        """Apply a line of the trace, except a sync that it ends; return this sync."""
        if found := RESUMED.match(line):
            call = begun.pop(found["pid"], None)
            return call if found["result"] == "0" else None
        if found := CALL.match(line):
            call = self._call(found["name"], found["args"])
            if found["result"] is not None:
                return call
            if call is not None:
                begun[found["pid"]] = call
        return None

    def _call(self, name: str, args: str) -> tuple[str, int] | None:
        """Apply a call, except a sync: return its path and the number of its writes."""
        on = ON_FILE.match(args)
        path = plain(on["path"]).decode() if on else ""
        if name in ("sendto", "sendmsg") and (found := ANSWER.search(plain("".join(QUOTED.findall(args))))):
            self.answered.append(found[1].decode())
        elif name == "openat" and "O_CREAT" in args and self._ours(path := quoted(args)[0]):
            self.files.setdefault(self._name(path), File())
        elif name == "unlink" and self._ours(path := quoted(args)[0]):
            self.files.pop(self._name(path), None)
        elif name == "rename" and self._ours(quoted(args)[0]):
            raise AssertionError("a rename, which is not reckoned with here")
        elif name in ("fsync", "fdatasync") and path == self.directory:
            return path, 0
        elif on and self._ours(path) and self._name(path) in self.files:
            file = self.files[self._name(path)]
            if name in ("fsync", "fdatasync"):
                return path, len(file.pending)
            if name == "pwrite64":
                file.pending.append(Write(int(on["offset"]), plain(on["data"])))
            elif name == "ftruncate":
                file.pending.append(Write(size=int(on["size"])))
        return None

    def _sync(self, path: str, count: int) -> None:
        if path == self.directory:
            self.names = dict(self.files)
        elif self._name(path) in self.files:
            self.files[self._name(path)].sync(count)

    def _ours(self, path: str) -> bool:
        return path.startswith(f"{self.directory}/agent.db") and not path.endswith(("-shm", ".lock"))

    def _name(self, path: str) -> str:
        return path.rpartition("/")[2]


def quoted(args: str) -> list[str]:
    return [plain(text).decode() for text in QUOTED.findall(args)]


def plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()
