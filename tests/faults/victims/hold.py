"""hold.py MILLISECONDS: a C call that keeps the GIL for so long, again and again.

Between two of them it answers all that the test asks, so that this costs one call."""

import ctypes
import sys
import threading
import time

import load
import mod
import probe

library = ctypes.PyDLL(None)
threading.Thread(target=threading.Event().wait, daemon=True).start()
probe.ready(serve=False)
while True:
    library.usleep(int(sys.argv[1]) * 1000)
    load.check(mod.step(1) == 2, "step")
    load.done()
    for _ in range(20):
        time.sleep(0.0005)
        probe.poll()
