"""N threads of pure Python that compete for the GIL."""

import sys
import threading

import load
import mod
import probe


def work(n):
    count = 0
    while True:
        for i in range(1000):
            count = mod.step(count)
        load.check(count % 1000 == 0, "thread %d counted %d" % (n, count))
        load.done()


for n in range(int(sys.argv[1])):
    threading.Thread(target=work, args=(n,), daemon=True).start()
probe.ready()
work(-1)
