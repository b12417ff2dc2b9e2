"""A program that is uvicorn, but ends with the process that started it, however that one ends.

Its standard input is a pipe, and nothing is ever written to it: the system closes the other end when its holder dies,
also by SIGKILL. It is run as a file, not as a module: its package takes seconds to import, and until then nobody would
watch.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time

# What uvicorn may take to end what it is doing.
_GRACE_SECONDS = 5.0


def _end_with_parent() -> None:
    """Wait for the end of standard input, then end this process, in order if that is possible."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)
