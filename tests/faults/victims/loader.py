"""dlopen and dlclose without pause: the dynamic loader's lock is nearly always taken.

dlclose lets go of the GIL so briefly that another thread waits seconds for it: the loop answers
the test itself, and a second thread is there only to be a second one."""

import _ctypes
import ctypes
import os
import shutil
import threading

import load
import mod
import probe

library = os.path.join(os.getcwd(), "other.so")
shutil.copy(os.environ["FAULTS_NATIVE"], library)
threading.Thread(target=threading.Event().wait, daemon=True).start()
probe.ready(serve=False)
while True:
    for _ in range(20):
        handle = ctypes.CDLL(library)
        load.check(handle.flood_seen() == 0, "not a fresh copy")
        _ctypes.dlclose(handle._handle)
    load.check(mod.step(1) == 2, "step")
    load.done()
    probe.poll()
