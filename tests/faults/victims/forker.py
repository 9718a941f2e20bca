"""fork and wait without pause; the children run Python too."""

import os

import load
import mod
import probe

probe.ready()
n = 0
while True:
    n = (n + 1) % 100
    pid = os.fork()
    if pid == 0:
        os._exit(mod.step(n))
    _, status = os.waitpid(pid, 0)
    load.check(os.WIFEXITED(status) and os.WEXITSTATUS(status) == n + 1,
               "child ended with status %#x" % status)
    load.done()
