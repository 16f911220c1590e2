"""agentctl: operate an agent, and look after the files of one, from the command line."""

import gc
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Without `argv` that of this process, which ends with it."""
    from agent.cli.running import run

    if argv is not None:
        return run(list(argv))
    status = run(sys.argv[1:])
    gc.freeze()  # the interpreter would look at every object once more before it ends: a fifth of the whole time
    return status
