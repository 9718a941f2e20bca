"""Signals that matter: signals.py flood|itimer|children|faults|faulthandler."""

import os
import signal
import sys
import threading
import time

import load
import mod
import probe


def flood():
    """Queued real-time signals, counted by a C handler; the test sends them."""
    load.check_call("flood_begin")
    probe.ready()
    while True:
        load.check(mod.step(1) == 2, "step")
        time.sleep(0.0005)
        load.done()


def itimer():
    """Timers that interrupt all the time, with Python handlers."""
    fired = {signal.SIGALRM: 0, signal.SIGPROF: 0}

    def handler(number, frame):
        fired[number] += 1

    for number in fired:
        signal.signal(number, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    signal.setitimer(signal.ITIMER_PROF, 0.003, 0.003)
    probe.ready()
    while True:
        before = fired[signal.SIGALRM]
        while fired[signal.SIGALRM] < before + 2:
            load.check(mod.step(1) == 2, "step")
        time.sleep(0.001)
        load.done()


def children():
    """SIGCHLD with a Python handler that reaps."""
    ended = []

    def handler(number, frame):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended.append(os.WEXITSTATUS(status))

    signal.signal(signal.SIGCHLD, handler)
    probe.ready()
    while True:
        del ended[:]
        pid = os.fork()
        if pid == 0:
            os._exit(9)
        while not ended:
            time.sleep(0.001)
        load.check(ended == [9], "children ended with %s" % ended)
        load.done()


def faults():
    """Handlers of its own for SIGSEGV and SIGTRAP, on an alternate stack, in use."""
    probe.ready(serve=False)
    while True:
        load.check_call("fault_and_recover", 20)
        load.check(mod.step(1) == 2, "step")
        load.done()
        probe.poll()


def faulthandler():
    import faulthandler
    out = open("tracebacks.txt", "w+")
    faulthandler.enable(out)
    faulthandler.register(signal.SIGUSR1, out, all_threads=True)
    probe.ready()
    while True:
        out.seek(0)
        out.truncate()
        os.kill(os.getpid(), signal.SIGUSR1)
        while os.path.getsize("tracebacks.txt") == 0:
            time.sleep(0.0005)
        load.done()


globals()[sys.argv[1]]()
