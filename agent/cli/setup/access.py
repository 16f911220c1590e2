"""The first permissions: root of this host through the socket, and one token for calls from elsewhere."""

import hashlib
import sys
import tomllib
from pathlib import Path

from agent.auth.identities import Token
from agent.cli.exits import Usage
from agent.cli.setup import programs
from agent.cli.setup.change import Change, Note
from agent.cli.setup.configuration import FILE, TOKENS
from agent.util import atomic_files

TOKEN = Path("/etc/agent/admin.token")
LOCAL = '# Users of this host, on the unix socket.\n[unix."root"]\nkinds = ["*"]\npermissions = ["approve", "audit"]\n'


def tokens(email: str, owner: str) -> Change:
    """The tokens file, with root of this host and one identity."""
    return Change(
        f"write {TOKENS}: root of this host may do everything through the socket, and so may a token of {email}, "
        f"written to {TOKEN}",
        lambda: TOKENS.exists() and TOKEN.exists(),
        lambda: _make(email, owner),
        {"what": "tokens", "email": email, "owner": owner, "new": not _knows(email)},
    )


def undo(note: Note) -> str:
    """Revoke the token; remove the tokens file if nothing was added to it. Returns what was done."""
    kept = "it has more identities"
    if _knows(note["email"]):
        try:
            _revoke(note)
        except Usage as error:
            kept = str(error)
    if TOKENS.exists() and (_is_blank() or TOKENS.read_text().strip() == LOCAL.strip()):
        atomic_files.remove(TOKENS)
    atomic_files.remove(TOKEN)
    return f"kept {TOKENS}: {kept}" if TOKENS.exists() else f"removed {TOKENS} and {TOKEN}"


def _revoke(note: Note) -> None:
    """Revoke the identity, or only setup's token if the identity existed before; needs the file of that token."""
    which = [note["email"]]
    if not note.get("new", True):
        token = atomic_files.read(TOKEN)
        if token is None:
            raise Usage(f"{note['email']} was there before; run agentctl token list for its tokens")
        which.append(Token(hashlib.sha256(token.strip()).digest()).id)
    _agentctl(note["owner"], "token", "revoke", *which, "--file", str(TOKENS))


def _make(email: str, owner: str) -> None:
    if TOKENS.exists() and TOKEN.exists():
        return
    # An interrupted run may have left the file empty.
    if _is_blank():
        # As the folder's owner, who could redirect a write of root by a link.
        programs.run(["runuser", "-u", owner, "--", "tee", str(TOKENS)], input=LOCAL, umask=0o077)
    # An identity in the file (left by `apt purge`, or its token was moved) gets one more token.
    kinds = [] if _knows(email) else ["--kinds", "*"]
    created = _agentctl(owner, "token", "create", email, *kinds, "--file", str(TOKENS))
    atomic_files.replace(TOKEN, created.encode())


def _is_blank() -> bool:
    return not (atomic_files.read(TOKENS) or b"").strip()


def _knows(email: str) -> bool:
    try:
        return email in tomllib.loads(TOKENS.read_text())
    except (ValueError, OSError):  # `agentctl token create` reports the fault
        return False


def _agentctl(owner: str, *words: str) -> str:
    argv = ["runuser", "-u", owner, "--", sys.executable, "-I", "-m", "agent.cli", *words]
    return programs.run(argv, more={"AGENT_CONFIG": str(FILE)}, name=f"agentctl {' '.join(words)}")
