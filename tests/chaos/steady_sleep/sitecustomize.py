"""Replaces `time.sleep` in processes under libfaketime, which breaks the system call of the original."""

import threading
import time
from typing import Any


def sleep(seconds: Any) -> None:
    threading.Event().wait(seconds)


time.sleep = sleep
