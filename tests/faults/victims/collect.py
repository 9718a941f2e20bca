"""The collector runs without pause, over cycles that die all the time."""

import gc

import load
import mod
import probe

finalized = 0


class Node:
    def __del__(self):
        global finalized
        finalized += 1


probe.ready()
made = 0
while True:
    for _ in range(100):
        node = Node()
        node.self = node
        node.function = mod.step
        made += 1
    del node
    gc.collect()
    load.check(finalized == made, "%d made, %d finalized" % (made, finalized))
    load.check(mod.step(made) == made + 1, "step")
    load.done()
