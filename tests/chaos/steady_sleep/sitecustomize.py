"""For processes under libfaketime, which breaks the call that `time.sleep` makes: sleep by another one."""

import threading
import time
from typing import Any


def sleep(seconds: Any) -> None:
    threading.Event().wait(seconds)


time.sleep = sleep
