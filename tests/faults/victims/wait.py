"""The main thread waits in one C call after the other, each of which fails on EINTR.

wait.py CALL MILLISECONDS; a call that does not end by itself is ended by a second thread."""

import ctypes
import os
import signal
import socket
import sys
import threading
import time

import load
import probe

import mod  # the module that is reloaded

name, ms = sys.argv[1], int(sys.argv[2])
latest_us = 0


def take_latest():
    """The latest end of a wait since the last question."""
    global latest_us
    latest, latest_us = latest_us, 0
    return latest


def timed():
    global latest_us
    late = ctypes.c_int64()
    load.check_call("wait_" + name, ms, ctypes.byref(late))
    latest_us = max(latest_us, late.value)


def woken(wait, wake):
    """The second thread waits as long as the first may need to begin its call, and some."""
    begin = threading.Semaphore(0)

    def waker():
        while True:
            begin.acquire()
            time.sleep(ms / 1000)
            wake()

    threading.Thread(target=waker, daemon=True).start()

    def one():
        begin.release()
        wait()
    return one


def child():
    pid = os.fork()
    if pid == 0:
        time.sleep(ms / 1000)
        os._exit(5)
    load.check_call("wait_child", pid)


def terminal():
    import tty
    master, slave = os.openpty()
    tty.setraw(slave)
    return woken(lambda: load.check_call("wait_read", slave), lambda: os.write(master, b"x"))


def pipe():
    reader, writer = os.pipe()
    return woken(lambda: load.check_call("wait_read", reader), lambda: os.write(writer, b"x"))


def accept():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    return woken(lambda: load.check_call("wait_accept", listener.fileno()),
                 lambda: socket.create_connection(listener.getsockname()).close())


def gate():
    load.check_call("gate_init")
    return woken(lambda: load.check_call("wait_gate"), lambda: load.check_call("gate_open"))


def lock():
    mutex = threading.Lock()
    mutex.acquire()
    return woken(mutex.acquire, mutex.release)


main = threading.main_thread().ident


def to_main(number):
    return lambda: signal.pthread_kill(main, number)


def sigwait():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    return woken(lambda: load.check_call("wait_signal"), to_main(signal.SIGUSR2))


def pause():
    return woken(lambda: load.check_call("wait_pause"), to_main(signal.SIGUSR1))


def python_sleep():
    """Unlike the calls of native.c, it goes on after EINTR (PEP 475)."""
    start = time.monotonic()
    time.sleep(ms / 1000)
    load.check(time.monotonic() >= start + ms / 1000, "the sleep ended early")


def check_mask():
    """The kernel shows another mask while sigwait waits; this is the thread's own."""
    expected = {signal.SIGUSR2} if name in ("sigwait", "sigtimedwait") else set()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    load.check(mask == expected, "the signal mask is %s" % mask)


WOKEN = {"terminal": terminal, "pipe": pipe, "accept": accept, "gate": gate, "lock": lock,
         "sigwait": sigwait, "pause": pause}
if name == "sigtimedwait":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
ALONE = {"child": child, "sleep": python_sleep}
one = WOKEN[name]() if name in WOKEN else ALONE.get(name, timed)
one()
probe.ready()
while True:
    one()
    check_mask()
    load.done()
