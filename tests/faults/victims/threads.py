"""Threads come and go without pause: Python's, and C's without the GIL."""

import threading

import load
import mod
import probe

said = []
first = threading.Thread(target=int)  # the end of a thread loads libgcc_s up to CPython 3.8
first.start()
first.join()
probe.ready()
while True:
    del said[:]
    threads = [threading.Thread(target=lambda n=n: said.append(mod.step(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.check(sorted(said) == [1, 2, 3, 4], "threads said %s" % said)
    load.check_call("create_and_join", 20)
    load.done()
