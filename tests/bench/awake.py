"""Keep every core running while nobody needs it.

A virtual core that idles is halted and given to others; when a packet wakes it, its caches are
cold, and 100 microseconds and more of that are charged to whoever runs first. A spinner of the
idle class (SCHED_IDLE: it runs only when nothing else wants to) keeps the core, as on a machine
that is one's own.
"""

import os
import subprocess
import sys

_SPIN = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: end with the parent
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while True:
    pass
"""


def keep_awake() -> list[subprocess.Popen[bytes]]:
    """One spinner for each core that we may use; the caller ends them."""
    return [
        subprocess.Popen([sys.executable, "-c", _SPIN, str(core)])
        for core in sorted(os.sched_getaffinity(0))
    ]
