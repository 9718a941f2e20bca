"""pyhot watch: what is saved is reloaded.  --tree: in a process and in its descendants."""

import os
import signal
import subprocess

import pytest

import harness

PROGRAM = "import probe, mod, other\nprobe.ready()\nimport time\nwhile True:\n    time.sleep(1000)\n"


def module(answer):
    return "def f():\n    return %r\n" % answer


@pytest.fixture
def watch():
    """watch(target, *arguments): a running `pyhot watch`, ended after the test."""
    running = []

    def start(target, *arguments, env=None, preexec_fn=None):
        process = subprocess.Popen(
            harness.pyhot_command() + ["watch", str(target.pid), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, **(env or {})), preexec_fn=preexec_fn)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def start_target(start, python, files=None):
    return start(python, files or {"mod.py": module(1), "other.py": module(10),
                                   "app.py": PROGRAM})


def test_what_is_saved_is_reloaded(any_python, start, watch):
    target = start_target(start, any_python)
    watcher = watch(target, "mod", "other")
    assert watcher.stdout.readline() == "watching 2 modules of process %d\n" % target.pid
    target.edit("mod.py", module(2))
    target.wait_eval("__import__('mod').f() == 2")
    target.edit("mod.py", "def f(:\n")
    while not watcher.stdout.readline().startswith("mod failed"):
        assert watcher.poll() is None
    assert target.eval("__import__('mod').f()") == 2
    target.edit("mod.py", module(3))
    target.edit("other.py", module(30))
    target.wait_eval("__import__('mod').f() == 3 and __import__('other').f() == 30")
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(harness.DEADLINE) == 0
    target.check_unharmed()


def test_in_the_background_of_a_shell_an_interrupt_is_not_for_it(any_python, start, watch):
    target = start_target(start, any_python)
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        watcher = watch(target, "mod")
    finally:
        signal.signal(signal.SIGINT, ours)
    assert watcher.stdout.readline().startswith("watching 1 module")
    watcher.send_signal(signal.SIGINT)
    target.edit("mod.py", module(2))
    target.wait_eval("__import__('mod').f() == 2")
    watcher.send_signal(signal.SIGTERM)
    assert watcher.wait(harness.DEADLINE) == 0


def test_without_names_all_modules_are_watched(any_python, start, watch):
    target = start_target(start, any_python)
    watcher = watch(target)
    assert watcher.stdout.readline().startswith("watching ")
    target.edit("other.py", module(11))
    target.wait_eval("__import__('other').f() == 11")


def test_it_says_what_was_changed_before_and_ends_with_the_process(any_python, start, watch):
    target = start_target(start, any_python)
    target.edit("mod.py", module(2))
    watcher = watch(target, "mod")
    assert watcher.stdout.readline().endswith(
        "; changed already (pyhot attach --stale): mod\n")
    target.finish()
    assert watcher.wait(harness.DEADLINE) == 3
    assert "process %d has ended" % target.pid in watcher.stderr.read()


def test_an_alarm_of_who_started_it_is_left_alone(any_python, start, watch, tmp_path):
    """alarm(2) stays over an execve: perl -e 'alarm 5; exec @ARGV' is an old timeout(1)."""
    target = start_target(start, any_python)
    ours = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    watcher = watch(target, "mod", preexec_fn=lambda: signal.alarm(2))
    signal.signal(signal.SIGALRM, ours)
    assert watcher.wait(harness.DEADLINE) == -signal.SIGALRM
    target.reload("mod", "--force")


# As a kernel before 5.3, or the filter of an old container, answers.
NO_PIDFD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (number != SYS_pidfd_open)
        return real(number, a, b, c, d, e, f);
    errno = ENOSYS;
    return -1;
}
"""


def test_it_ends_with_the_process_without_a_pidfd(any_python, start, watch, tmp_path):
    (tmp_path / "no_pidfd.c").write_text(NO_PIDFD)
    library = tmp_path / "no_pidfd.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "no_pidfd.c"], check=True)
    target = start_target(start, any_python)
    watcher = watch(target, "mod", env={"LD_PRELOAD": str(library)})
    assert watcher.stdout.readline().startswith("watching 1 module")
    target.kill()
    assert watcher.wait(harness.DEADLINE) == 3
    assert "has ended" in watcher.stderr.read()


FORKING = """
import os, signal, time
import mod
answer, question = os.pipe(), os.pipe()
if os.fork() == 0:
    while os.read(question[0], 1):
        os.write(answer[1], b"%d" % mod.f())
    os._exit(0)
helper = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")

def in_child():
    os.write(question[1], b"?")
    return int(os.read(answer[0], 16))

in_child()
import probe
probe.ready()
while True:
    time.sleep(1000)
"""


def test_tree(any_python, start):
    target = start(any_python, {"mod.py": module(1), "app.py": FORKING})
    target.edit("mod.py", module(2))

    done = harness.run_pyhot("list-stale", target.pid, "mod", "--tree", "--exit-code")
    assert done.returncode == done.report["exit"] == 6
    assert [process["modules"][0]["state"] for process in done.report["processes"]] == ["stale"] * 2

    done = target.attach("mod", "--tree")
    assert done.returncode == done.report["exit"] == 0, done.stdout
    results = done.report["processes"]
    assert [result["modules"][0]["result"] for result in results] == ["reloaded"] * 2
    assert results[0]["pid"] == target.pid
    assert target.eval("(mod.f(), in_child())") == (2, 2)

    target.edit("mod.py", "def f(:\n")
    done = target.attach("mod", "--tree", json_report=False)
    assert done.returncode == 1
    assert done.stdout.count("nothing was changed") == 2
    assert target.eval("(mod.f(), in_child())") == (2, 2)

    done = target.attach("no_such_module", "--tree")
    assert done.returncode == 3
    assert done.report["error"]["code"] == "not-loaded"
    target.check_unharmed()
