"""Targets under seccomp filters that kill, or refuse, what an attach calls there."""

import os
import shutil
import sys

import pytest

import harness

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "victims"))
import seccomp  # noqa: E402

MODULE = "def answer():\n    return %d\n"
PROBED = """
import mod, probe, seccomp
seccomp.%s
probe.ready()
probe.threading.Event().wait()
"""
# Only one thread, and that is under the filter.
ALONE = """
import os, signal
import mod, seccomp
seccomp.%s
os.write(int(os.environ["PROBE_OUT"]), b"READY\\n")
while True:
    signal.pause()
"""

# What injector/seccomp.c lists; x86-64 numbers.
CALLS = {
    "mmap": 9, "munmap": 11, "rt_sigreturn": 15, "mprotect": 10, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "clone3": 435, "clone": 56, "futex": 202, "set_robust_list": 273,
    "rseq": 334, "gettid": 186, "memfd_create": 319, "ftruncate": 77, "pipe2": 293, "poll": 7, "kill": 62,
    "close": 3, "brk": 12, "mremap": 25, "getrandom": 318, "madvise": 28, "exit": 60,
    "openat": 257, "read": 0, "newfstatat": 262, "fstat": 5, "getcwd": 79, "prctl": 157,
    "write": 1, "clock_nanosleep": 230, "clock_gettime": 228, "getpid": 39, "lseek": 8,
    "pread64": 17, "stat": 4, "lstat": 6, "ioctl": 16, "fcntl": 72, "getdents64": 217, "sched_getaffinity": 204, "access": 21, "readlink": 89,
}
OWN = {"pause": 34, "restart_syscall": 219}


def refused(done, *words):
    assert done.returncode == 3, done.stdout + done.stderr
    error = done.report["error"]
    assert error["code"] == "seccomp", error
    for word in words:
        assert word in error["message"] + error["hint"], error


def test_no_call_is_made_that_the_table_has_not(start, python):
    """All others kill.  Were the table longer than this list, pyhot would refuse."""
    allowed = sorted([*CALLS.values(), *OWN.values()])
    app = ALONE % ("answer(%r, seccomp.ALLOW, seccomp.KILL)" % allowed)
    target = start(python, {"mod.py": MODULE % 0, "app.py": app})
    for number in (1, 2):
        target.edit("mod.py", MODULE % number)
        assert target.reload("mod")["modules"][0]["result"] == "reloaded"
        assert target.alive(), target.describe()
    target.edit("mod.py", "1 +")
    assert target.attach("mod").returncode == 1
    target.edit("mod.py", "while True: pass")
    assert target.attach("mod", "--timeout=0.3").returncode in (1, 4)
    target.edit("mod.py", MODULE % 3)
    assert harness.run_pyhot("list-stale", target.pid, "--objects").returncode == 0
    assert target.reload("mod")["modules"][0]["result"] == "reloaded"
    assert target.alive(), target.describe()


FORBIDDEN = {
    "answer([seccomp.MEMFD_CREATE], seccomp.KILL)": "kills it at memfd_create",
    "answer([seccomp.CLONE3], seccomp.KILL)": "kills it at clone3",
    "answer([seccomp.CLONE3], seccomp.EPERM)": 'answers clone3 with "Operation not permitted"',
    "answer([seccomp.PIPE2], seccomp.ENOSYS)": 'answers pipe2 with "Function not implemented"',
    "answer([seccomp.PIPE2], seccomp.TRAP)": "signals it at pipe2",
    "answer([seccomp.MEMFD_CREATE], seccomp.NOTIFY)": "hands memfd_create to another process",
    "answer_executable_mmap(seccomp.KILL)": "kills it at mmap",
    "confine(); seccomp.answer([seccomp.PIPE2], seccomp.KILL)": "kills it at pipe2",
}


def test_what_a_filter_would_not_allow_is_refused(start, any_python):
    for number, (filter, message) in enumerate(FORBIDDEN.items()):
        target = start(any_python, {"mod.py": MODULE % 0, "app.py": ALONE % filter})
        target.edit("mod.py", MODULE % 1)
        refused(target.attach("mod"), message, "start the process again")
        target.check_unharmed()


def test_strict_mode(start, any_python):
    app = ALONE % "prctl(seccomp.PR_SET_NO_NEW_PRIVS, 1); read, _ = os.pipe()"
    app += "    seccomp.prctl(seccomp.PR_SET_SECCOMP, seccomp.MODE_STRICT); os.read(read, 1)\n"
    app = app.replace("    signal.pause()\n", "")
    target = start(any_python, {"mod.py": MODULE % 0, "app.py": app})
    harness.wait_for(lambda: harness.proc_status(target.pid)["Seccomp"] == "1", "strict")
    target.edit("mod.py", MODULE % 1)
    refused(target.attach("mod"), "strict mode")
    assert target.alive()


def test_a_thread_without_the_filter_is_taken(start, any_python):
    app = ALONE % "answer([seccomp.MEMFD_CREATE], seccomp.KILL)"
    app = app.replace("import mod", "import probe, mod, threading, time\n"
                      "threading.Thread(target=time.sleep, args=(1000,)).start()\nimport mod")
    target = start(any_python, {"mod.py": MODULE % 0, "app.py": app})
    target.edit("mod.py", MODULE % 1)
    assert target.reload("mod")["modules"][0]["result"] == "reloaded"
    assert target.alive()


def test_filters_that_may_not_be_read(start, any_python):
    """As in a container: pyhot is under a filter itself, or has not CAP_SYS_ADMIN."""
    if os.geteuid():
        pytest.skip("only root can be without CAP_SYS_ADMIN alone")

    def under(filter):
        def install():
            exec("seccomp." + filter, {"seccomp": seccomp})
        return {"preexec_fn": install}

    harmless = "answer([seccomp.ADD_KEY], seccomp.EPERM)"
    target = start(any_python, {"mod.py": MODULE % 0, "app.py": PROBED % harmless})
    target.edit("mod.py", MODULE % 1)
    if shutil.which("setpriv"):
        command = ["setpriv", "--bounding-set=-sys_admin", harness.pyhot_path()]
        original = harness.pyhot_command
        harness.pyhot_command = lambda: command
        try:
            refused(target.attach("mod"), "may not read", "as root outside")
        finally:
            harness.pyhot_command = original
    assert target.attach("mod", **under(harmless)).returncode == 0
    target.edit("mod.py", MODULE % 2)
    refused(target.attach("mod", **under(harmless + "; seccomp." + harmless)), "may not read")
    target.check_unharmed()

    deadly = "answer([seccomp.FTRUNCATE], seccomp.KILL)"  # pyhot itself lives under it
    target = start(any_python, {"mod.py": MODULE % 0, "app.py": PROBED % deadly})
    target.edit("mod.py", MODULE % 1)
    refused(target.attach("mod", **under(deadly)), "kills at a call")
    target.check_unharmed()
