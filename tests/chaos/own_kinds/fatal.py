"""No kind: kills the process that imports it once, right before one of its own calls.

$FATAL says which: `2 agent.processes.process:Process.signal SIGSTOP` is the second call of this function
whose arguments name SIGSTOP. The file `fatal` in the working directory exists from then on.
"""

import os
import signal
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

NUMBER, PLACE, WORD = os.environ["FATAL"].split(" ", 2)
HAPPENED = Path("fatal")


def fatal(function: Callable[..., Any]) -> Callable[..., Any]:
    numbers = count(1)

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if WORD in repr((args, options)) and next(numbers) == int(NUMBER) and not HAPPENED.exists():
            HAPPENED.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)

    return call


def owner_and_name() -> tuple[Any, str]:
    module, _, path = PLACE.partition(":")
    owner: Any = import_module(module)
    *within, name = path.split(".")
    for each in within:
        owner = getattr(owner, each)
    return owner, name


OWNER, NAME = owner_and_name()
setattr(OWNER, NAME, fatal(getattr(OWNER, NAME)))
