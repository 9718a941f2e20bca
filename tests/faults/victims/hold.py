"""A C call that keeps the GIL for longer than pyhot may wait, again and again."""

import ctypes
import time

import load
import mod
import probe

library = ctypes.PyDLL(None)
probe.ready()
while True:
    library.usleep(700000)
    load.check(mod.step(1) == 2, "step")
    load.done()
    time.sleep(0.05)
