"""dlopen and dlclose without pause: the dynamic loader's lock is nearly always taken."""

import _ctypes
import ctypes
import os
import shutil

import load
import mod
import probe

library = os.path.join(os.getcwd(), "other.so")
shutil.copy(os.environ["FAULTS_NATIVE"], library)
probe.ready()
while True:
    for _ in range(20):
        handle = ctypes.CDLL(library)
        load.check(handle.flood_seen() == 0, "not a fresh copy")
        _ctypes.dlclose(handle._handle)
    load.check(mod.step(1) == 2, "step")
    load.done()
