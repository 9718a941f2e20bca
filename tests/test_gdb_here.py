"""pyhot attach --here in gdb: the stopped thread lends its GIL, and no other thread runs."""

import shutil
import subprocess

import pytest

import harness
from test_gdb import HOLD, SCRIPT, Held, gdb, session, sysroot  # noqa: F401, session is a fixture

# Stands for an extension: ctypes.PyDLL calls it with the GIL held.  The thread is stopped with
# something in its vector registers and below its stack pointer.
EXTENSION = """
#include <string.h>
void stop_there(void) {}
int in_use(void)
{
    unsigned char before[32], after[32];
    for (int i = 0; i < 32; i++)
        before[i] = (unsigned char)(i * 7 + 1);
    memcpy(after, before, 32);
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vmovdqu %1, %%ymm7\\n movq $77, -64(%%rsp)\\n"
                         ".globl stop_here\\n stop_here: nop\\n"
                         "vmovdqu %%ymm7, %0\\n cmpq $77, -64(%%rsp)\\n je 1f\\n movb $0, %0\\n 1:"
                         : "=m"(after) : "m"(before) : "xmm7", "cc", "memory");
    return memcmp(before, after, 32) != 0;
}
"""
MODULE = "TABLE = [1]\ndef answer():\n    return 'old'\n"
NEW_MODULE = "TABLE = [1, 2]\ndef answer():\n    return 'new'\n"

# The main thread is in the extension over and over; the other one sleeps, with a lock.
APP = """
import ctypes, threading, time, mod, probe
extension = ctypes.PyDLL(%r)
lock, ready = threading.Lock(), threading.Event()
def other():
    with lock:
        ready.set()
        time.sleep(1000)
threading.Thread(target=other, daemon=True).start()
ready.wait()
calls = broken = 0
probe.ready()
while True:
    broken += extension.in_use()
    calls += 1
    time.sleep(0.005)
"""

pytestmark = pytest.mark.skipif(not shutil.which("gdb"), reason="no gdb")


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    with open("/proc/cpuinfo") as cpuinfo:
        if " avx " not in cpuinfo.read():
            pytest.skip("no AVX, which the extension has in use")
    folder = tmp_path_factory.mktemp("extension")
    (folder / "extension.c").write_text(EXTENSION)
    subprocess.run(["cc", "-shared", "-fPIC", "-g", "-o", folder / "extension.so",
                    folder / "extension.c"], check=True)
    return str(folder / "extension.so")


@pytest.fixture
def edited(start, extension):
    """edited(python, new_module, before): a target whose source has been edited."""
    def edited(python, new_module=NEW_MODULE, before=""):
        app = APP.replace("probe.ready()", before + "\nprobe.ready()") % extension
        target = start(python, {"mod.py": MODULE, "app.py": app})
        target.edit("mod.py", new_module)
        return target
    return edited


def at_the_extension(target):
    """Its address, as gdb has no symbols of a file that is in another root than the program."""
    address = target.eval("ctypes.cast(extension.stop_here, ctypes.c_void_p).value")
    return "break *%d" % address, "continue", "set $before = $pc"


def check_goes_on(target, answer):
    """No thread is stopped or lost, and what the main one counts goes on."""
    assert target.eval("mod.answer()") == answer
    calls = target.eval("calls")
    harness.wait_for(lambda: target.eval("calls") > calls, "it works on")
    assert target.eval("broken") == 0, "registers or the red zone"
    target.check_unharmed()


def test_here(python, edited):
    """The stopped thread is where it was and holds the GIL again; the breakpoint is hit anew."""
    target = edited(python)
    output = gdb(*at_the_extension(target), "pyhot list-stale --here mod",
                 "pyhot attach --here mod",
                 "printf \"exit %d, moved %d\\n\", $pyhot_exit, $pc - $before",
                 "pyhot where --here", "continue", "info breakpoints", "delete",
                 pid=target.pid, before=sysroot(python))
    assert "mod  stale" in output and "mod reloaded in %d" % target.pid in output, output
    assert "exit 0, moved 0\n" in output, output
    assert "MainThread (%d)" % target.pid in output, output
    assert "breakpoint already hit 2 times" in output, output
    check_goes_on(target, "new")
    target.edit("mod.py", MODULE)
    target.reload("mod")
    check_goes_on(target, "old")


def test_what_c_code_has_borrowed_lives_on(any_python, edited):
    """Who holds the GIL need not count what a dict that it knows of holds."""
    target = edited(any_python, before="""
gone = []
class Table(list):
    def __del__(self):
        gone.append(list(self))
mod.TABLE = Table([1])
""")
    output = gdb(*at_the_extension(target), "pyhot attach --here --data=new mod", "delete", pid=target.pid)
    assert "mod reloaded" in output, output
    assert target.eval("mod.TABLE, gone") == ([1, 2], [])
    check_goes_on(target, "new")


def test_a_thread_without_the_gil_is_refused(any_python, edited):
    target = edited(any_python)
    output = gdb(*at_the_extension(target), "thread 2", "pyhot attach --here mod", pid=target.pid)
    assert "cannot run in process %d as it is stopped" % target.pid in output, output
    assert "nothing was changed" in output, output
    check_goes_on(target, "old")


def test_inside_cpython_is_refused(any_python, edited):
    """It may be in the middle of a change of what the job looks at."""
    target = edited(any_python)
    address = target.eval("ctypes.cast(ctypes.pythonapi.PyLong_FromLong, ctypes.c_void_p).value")
    output = gdb("tbreak *%d" % address, "continue", "pyhot attach --here mod", pid=target.pid)
    assert "is in CPython itself, perhaps in the middle of a change" in output, output
    check_goes_on(target, "old")


def test_beside_one_that_waits_for_the_gil_is_refused(any_python, start):
    """Who lets the GIL go then waits until that one has taken it."""
    held = Held(start, any_python, HOLD.replace("probe.ready()", """
spinner = threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True)
spinner.start()
probe.ready()"""))

    def waits(tid):
        with open("/proc/%d/task/%d/syscall" % (held.target.pid, tid)) as file:
            return file.read().startswith("202 ")  # futex
    others = set(harness.proc_threads(held.target.pid)) - {held.target.pid}
    harness.wait_for(lambda: all(map(waits, others)), "the other one waits for the GIL")
    output = gdb("pyhot attach --here mod", pid=held.target.pid)
    assert "waits for the GIL, and would be given it first" in output, output
    held.let_go()
    held.target.check_unharmed()


def test_a_job_that_waits_for_another_thread_is_given_up(any_python, edited):
    """It ends when all go on, and the stopped thread has its GIL back."""
    target = edited(any_python, NEW_MODULE + "import __main__\n__main__.lock.acquire()\n")
    output = gdb("tbreak stop_here", "continue", "pyhot attach --here --timeout=3 mod",
                 pid=target.pid)
    assert "unchanged" in output or "nothing was changed" in output, output
    target.eval("lock.release()")
    check_goes_on(target, "old")


def test_breakpoint_in_the_job(any_python, edited, session):  # noqa: F811
    """gdb shows it; the job goes on when its user continues, and so does the stopped thread."""
    target = edited(any_python, NEW_MODULE + "import __main__\n__main__.extension.stop_there()\n")
    debugger = session("attach %d" % target.pid, "source %s" % SCRIPT, "tbreak stop_here")
    debugger.begin("continue")
    debugger.until("hit Temporary breakpoint")
    debugger.run("tbreak stop_there")
    debugger.begin("pyhot attach --here mod")
    debugger.until("the job goes on when you continue")
    debugger.begin("continue")
    debugger.until("mod reloaded")
    debugger.end()
    check_goes_on(target, "new")
