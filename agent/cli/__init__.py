"""agentctl: operate an agent and maintain its host from the command line."""

import gc
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Without `argv`, runs the command of this process, which then ends."""
    from agent.cli.running import run

    if argv is not None:
        return run(list(argv))
    status = run(sys.argv[1:])
    gc.freeze()  # skip the interpreter's last garbage collection, which takes a fifth of the whole time
    return status
