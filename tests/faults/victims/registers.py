"""Every vector register and errno hold a pattern in the only thread there is."""

import load
import mod
import probe

probe.ready(serve=False)
while True:
    if load.native.has_wide_registers():
        load.check_call("registers_survive", 20)
    load.check(mod.step(1) == 2, "step")
    load.done()
    probe.poll()
