"""What targets do while pyhot attaches to them: one entry for each line of the table."""

import ctypes.util
import glob


class Load:
    """A program of victims/ and how it is run.

    command      the program and its arguments
    threads, descriptors   False: the program changes those itself, all the time
    refusals     True: not every attach can succeed; a refusal is no fault
    options      what pyhot is given beside the module
    late_start   each attach begins at a random instant of so many seconds
    late_us      for waits that end by time: how much too late is a fault, in the long form
    slow         one attach takes half a minute: not for the short form
    """

    def __init__(self, *command, env=None, threads=True, descriptors=True, refusals=False,
                 options=(), preload=None, late_start=0, late_us=None, signals=True, slow=False):
        self.command = list(command)
        self.env = dict(env or {})
        self.threads = threads
        self.descriptors = descriptors
        self.refusals = refusals
        self.options = options
        self.late_start = late_start
        self.late_us = late_us
        self.slow = slow
        self.signals = signals
        self.missing = None
        if preload:
            found = _library(preload)
            if found:
                self.env["LD_PRELOAD"] = found
            else:
                self.missing = "no lib%s on this machine" % preload


def _library(name):
    found = glob.glob("/usr/lib/*/lib%s.so*" % name) + glob.glob("/usr/lib/lib%s.so*" % name)
    return sorted(found)[0] if found else None


MALLOC = {"PYTHONMALLOC": "malloc"}
TIMED = ["nanosleep", "clock_nanosleep", "select", "poll", "epoll", "sigtimedwait", "semaphore"]
WOKEN = ["accept", "pipe", "terminal", "gate", "lock", "child", "sigwait", "pause"]

LOADS = {
    "allocating, one thread": Load("allocate.py", "1"),
    "allocating, four threads": Load("allocate.py", "4"),
    "allocating by malloc, one thread": Load("allocate.py", "1", env=MALLOC),
    "allocating by malloc, four threads": Load("allocate.py", "4", env=MALLOC),
    "allocating by jemalloc": Load("allocate.py", "4", env=MALLOC, preload="jemalloc"),
    "allocating by mimalloc": Load("allocate.py", "4", env=MALLOC, preload="mimalloc"),
    "4 threads want the GIL": Load("compete.py", "4"),
    "16 threads want the GIL": Load("compete.py", "16"),
    "dlopen, dlclose": Load("loader.py", descriptors=False),
    "fork, wait": Load("forker.py", descriptors=False),
    "threads come and go": Load("threads.py", threads=False),
    "collecting": Load("collect.py"),
    "asyncio": Load("loop.py"),
    "C calls keep the GIL, 0.4 s": Load("hold.py", "400", refusals=True,
                                        options=["--timeout=0.2"], late_start=0.4),
    "C calls keep the GIL, 10 s": Load("hold.py", "10000", refusals=True,
                                       options=["--timeout=0.5"], late_start=10, slow=True),
}
LOADS.update({"idle in " + name: Load("wait.py", name, "100", late_us=20000)
              for name in TIMED})
LOADS.update({"idle in " + name: Load("wait.py", name, "100") for name in WOKEN})
LOADS["idle in Python's sleep"] = Load("wait.py", "sleep", "100")
LOADS["idle in child"].descriptors = False
for name in ("sigtimedwait", "sigwait"):
    LOADS["idle in " + name].signals = False  # it looks at its mask itself
LOADS.update({
    "flood of signals": Load("signals.py", "flood"),
    "interval timers": Load("signals.py", "itimer"),
    "SIGCHLD": Load("signals.py", "children"),
    "own SIGSEGV, SIGTRAP handlers": Load("signals.py", "faults", signals=False),
    "faulthandler": Load("signals.py", "faulthandler", descriptors=False),
    "vector registers, errno": Load("registers.py"),
})
