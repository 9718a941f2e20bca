"""N threads that do nothing but allocate: Python's blocks, and malloc's without the GIL."""

import random
import sys
import threading

import load
import mod
import probe


def work(seed, between=lambda: None):
    chance = random.Random(seed)
    kept = {}
    while True:
        for _ in range(50):
            key = chance.randrange(40)
            old = kept.get(key)
            load.check(old is None or old == bytes([key]) * len(old), "block %d changed" % key)
            kept[key] = bytes([key]) * chance.randrange(600, 60000)
        load.check_call("allocation_storm", 300, seed)
        load.check(mod.step(seed) == seed + 1, "step")
        load.done()
        between()


threads = int(sys.argv[1])
if threads == 1:
    # Nothing but the main thread: malloc takes no locks then, and nobody else can be borrowed.
    probe.ready(serve=False)
    work(1, probe.poll)
for n in range(threads):
    threading.Thread(target=work, args=(n,), daemon=True).start()
probe.ready()
threading.Event().wait()
