"""Traces the process given, says so, and goes on tracing until it is killed.  With --calls, as
strace does: it stops the main thread before and after each system call."""

import ctypes
import os
import signal
import sys

PTRACE_SYSCALL = 24
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, number=None):
    if libc.ptrace(request, pid, None, number) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))


pid = int(sys.argv[1])
ptrace(PTRACE_SEIZE, pid)
print("TRACING", flush=True)
if sys.argv[2:] != ["--calls"]:
    signal.pause()
ptrace(PTRACE_INTERRUPT, pid)
while True:
    status = os.waitpid(pid, WALL)[1]
    received = os.WSTOPSIG(status)
    ptrace(PTRACE_SYSCALL, pid, None if received == signal.SIGTRAP else received)
