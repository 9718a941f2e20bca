"""pyhot --via=remote-exec: CPython 3.14 and later load the agent themselves, nothing is traced."""

import glob
import os
import shutil
import signal
import subprocess
import sys

import pytest

import conftest
import harness

MODULE = "def answer():\n    return 1\n"
AT_WORK = "probe.ready()\nwhile True:\n    time.sleep(0.01)\n"
FILES = {"mod.py": MODULE, "app.py": "import mod, probe, time\n" + AT_WORK}
VIA = "--via=remote-exec"
ABLE = [python for python in conftest.TARGETS if python.minor >= (3, 14)]


def pytest_generate_tests(metafunc):
    if "able" in metafunc.fixturenames:
        metafunc.parametrize("able", ABLE, ids=conftest._unique_ids(ABLE))


@pytest.fixture
def newest():
    if not ABLE:
        pytest.skip("no CPython 3.14 or later on this machine")
    return next(python for python in ABLE if not python.debug)


@pytest.fixture
def tracer():
    """tracer(target, *options): a process that traces it and lets it run."""
    children = []

    def run(target, *options):
        child = subprocess.Popen(
            [sys.executable, str(harness.VICTIMS / "tracer.py"), str(target.pid), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"TRACING\n"
        return child

    yield run
    for child in children:
        child.kill()
        child.communicate()


def folders(target):
    """What pyhot has made in its /tmp."""
    return glob.glob("/proc/%d/root/tmp/pyhot-%d-*" % (target.pid, target.pid))


def nothing_said(target):
    """No error of the interpreter about our script, and no file of ours."""
    assert target.stderr_path.read_text() == ""
    assert folders(target) == []


def refused(target, code, status, *arguments):
    done = target.attach("mod", *arguments)
    assert (done.returncode, done.report["error"]["code"]) == (status, code), done.stdout
    return done.report["error"]


# ---- It works

def test_reload_and_list_stale(able, start):
    target = start(able, FILES)
    target.edit("mod.py", MODULE.replace("1", "2"))
    done = harness.run_pyhot("list-stale", target.pid, "mod", VIA)
    assert [module["state"] for module in done.report["modules"]] == ["stale"]
    for value in range(2, 5):
        target.edit("mod.py", MODULE.replace("1", str(value)))
        target.reload("mod", VIA)
        assert target.eval("mod.answer()") == value
    target.check_unharmed()
    nothing_said(target)
    modules = target.eval("[name for name in __import__('sys').modules if 'pyhot' in name]")
    assert modules == []


def test_a_ptrace_attach_follows(newest, start):
    """Both ways share the loaded agent's turn; the second finds what the first has left."""
    target = start(newest, FILES)
    for value, way in ((2, VIA), (3, "--via=ptrace"), (4, VIA)):
        target.edit("mod.py", MODULE.replace("1", str(value)))
        target.reload("mod", way)
        assert target.eval("mod.answer()") == value
    target.check_unharmed()
    nothing_said(target)


LOAD = """
import mod, probe, signal, threading
ticks = turns = 0
def tick(*arguments):
    global ticks
    ticks += 1
def spin():
    while True:
        sum(range(100))
for _ in range(2):
    threading.Thread(target=spin, daemon=True).start()
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
probe.ready()
while True:
    turns += 1
    [object() for _ in range(50)]
"""


def test_signals_and_a_contended_gil(able, start):
    """The event bits that are written at the same time by others."""
    target = start(able, {"mod.py": MODULE, "app.py": LOAD})
    for value in range(2, 8):
        target.edit("mod.py", MODULE.replace("1", str(value)))
        target.reload("mod", VIA)
    assert target.eval("mod.answer()") == 7
    for counter in ("ticks", "turns"):
        before = target.eval(counter)
        target.wait_eval("%s > %d + 5" % (counter, before))
    nothing_said(target)


def test_signal_mask_is_as_before(newest, start):
    target = start(newest, {"mod.py": MODULE, "app.py": "import mod, probe, signal, time\n"
                            "signal.pthread_sigmask(signal.SIG_BLOCK, [10, 40])\n" + AT_WORK})
    target.reload("mod", "--force", VIA)
    target.check_unharmed()


def test_interpreters_made_later(newest, start):
    """They come first in the list of interpreters; the script is for the main one."""
    app = ("import mod, probe, time\nfrom concurrent import interpreters\n"
           "other = interpreters.create()\n" + AT_WORK)
    target = start(newest, {"mod.py": MODULE, "app.py": app})
    target.edit("mod.py", MODULE.replace("1", "2"))
    target.reload("mod", VIA)
    assert target.eval("mod.answer()") == 2
    nothing_said(target)


def test_a_child_that_was_forked(newest, start):
    app = ("import mod, os, probe, time\nif os.fork():\n    os.wait()\n" + AT_WORK)
    target = start(newest, {"mod.py": MODULE, "app.py": app})
    with open("/proc/%d/task/%d/children" % (target.pid, target.pid)) as children:
        (target.pid,) = map(int, children.read().split())
    target.snapshot()
    target.edit("mod.py", MODULE.replace("1", "2"))
    target.reload("mod", VIA)
    assert target.eval("mod.answer()") == 2
    target.check_unharmed()


# ---- Where its files are

@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to shut a target in")
def test_no_folder_can_be_written(newest, start, tmp_path):
    """Then the target reads from memory of pyhot's, if it may; in another pid namespace it cannot."""
    readonly = ("import ctypes, os\n"
                "libc = ctypes.CDLL(None, use_errno=True)\n"
                "if libc.unshare(0x20000): raise OSError(ctypes.get_errno())\n"
                "for folder in b'/tmp', b'/var/tmp', b'/dev/shm':\n"
                "    libc.mount(None, b'/', None, 1 << 14 | 1 << 18, None)\n"
                "    libc.mount(b'none', folder, b'tmpfs', 1, None)\n")
    app = "import mod, probe, time\n" + readonly + AT_WORK
    target = start(newest, {"mod.py": MODULE, "app.py": app}, directory="/var/lib/pyhot-test-%d"
                   % os.getpid())
    try:
        target.edit("mod.py", MODULE.replace("1", "2"))
        target.reload("mod", VIA)
        assert target.eval("mod.answer()") == 2
        assert target.stderr_path.read_text() == ""
        target.check_unharmed()
    finally:
        subprocess.run(["rm", "-r", str(target.directory)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to shut a target in")
def test_process_of_another_user(newest, start, tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != directory.parent:
            directory.chmod(directory.stat().st_mode | 0o055)
    app = "import mod, os, probe, time\nos.setgid(65534)\nos.setuid(65534)\n" + AT_WORK
    target = start(newest, {"mod.py": MODULE, "app.py": app})
    target.edit("mod.py", MODULE.replace("1", "2"))
    target.reload("mod", VIA)
    assert target.eval("mod.answer()") == 2
    target.check_unharmed()
    nothing_said(target)


# ---- Chosen by itself

def test_chosen_where_another_traces(able, start, tracer):
    target = start(able, FILES)
    process = tracer(target)
    target.edit("mod.py", MODULE.replace("1", "2"))
    error = refused(target, "traced", 3, "--via=ptrace")
    assert VIA in error["hint"] and str(process.pid) in error["message"]
    target.reload("mod")
    assert target.eval("mod.answer()") == 2
    nothing_said(target)


def test_stopped_again_and_again(able, start, tracer):
    """By strace, or by another pyhot: that is no debugger at whose prompt it waits."""
    target = start(able, {"mod.py": MODULE, "app.py": "import mod, os, probe\nprobe.ready()\n"
                          "while True:\n    os.getppid()\n"})
    tracer(target, "--calls")
    for value in range(2, 7):
        target.edit("mod.py", MODULE.replace("1", str(value)))
        target.reload("mod", VIA)
    assert target.eval("mod.answer()") == 6
    nothing_said(target)


def test_not_chosen_without_need(newest, start):
    target = start(newest, FILES)
    assert target.reload("mod", "--force")["time"]["stop_us"] > 0
    assert target.reload("mod", "--force", VIA)["time"]["stop_us"] == 0


def test_offered_where_gdb_has_stopped_it(newest, start):
    target = start(newest, FILES)
    gdb = subprocess.Popen(["gdb", "-nx", "-q", "-p", str(target.pid)], stdin=subprocess.PIPE,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "t", "stopped")
        error = refused(target, "in-gdb", 3)
        assert "pyhot attach mod" in error["hint"] and VIA in error["hint"]
        assert "stopped by its tracer" in refused(target, "stopped-by-tracer", 3, VIA)["message"]
    finally:
        gdb.communicate(b"detach\nquit\n")
    target.check_unharmed()
    nothing_said(target)


@pytest.mark.skipif(not any(python.root for python in ABLE), reason="none in another root")
def test_gdb_with_another_root(start):
    target = start(next(python for python in ABLE if python.root), FILES)
    gdb = subprocess.Popen(["gdb", "-nx", "-q", "-p", str(target.pid), "-ex", "set confirm off"],
                           stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    try:
        harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "t", "stopped")
        gdb.stdin.write(b"continue\n")
        gdb.stdin.flush()
        harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] in "SR", "running")
        assert "root" in refused(target, "gdb-root", 3, VIA)["message"]
        refused(target, "in-gdb", 3)
    finally:
        gdb.send_signal(signal.SIGINT)
        gdb.communicate(b"detach\nquit\n")
    target.check_unharmed()
    nothing_said(target)


# ---- Refused, nothing left

def test_older_versions(python, start):
    if python.minor >= (3, 14):
        pytest.skip("remote-exec serves it")
    target = start(python, FILES)
    assert python_version(python) in refused(target, "no-remote-exec", 3, VIA)["message"]
    target.check_unharmed()


def python_version(python):
    return "%d.%d.%d" % python.version


def test_switched_off(newest, start):
    target = start(newest, FILES, env={"PYTHON_DISABLE_REMOTE_DEBUG": "1"})
    assert "-X disable-remote-debug" in refused(target, "no-remote-exec", 3, VIA)["message"]
    target.check_unharmed()
    target.reload("mod", "--force")


def test_main_thread_is_blocked(able, start):
    app = ("import mod, probe, signal, time\nsignal.signal(signal.SIGUSR1, lambda *a: None)\n"
           "probe.ready()\nawake = 0\nwhile True:\n    signal.pause()\n    awake += 1\n")
    target = start(able, {"mod.py": MODULE, "app.py": app})
    target.edit("mod.py", MODULE.replace("1", "2"))
    error = refused(target, "main-thread-blocked", 4, VIA, "--timeout=0.5")
    assert "withdrawn" in error["message"]
    os.kill(target.pid, signal.SIGUSR1)
    target.wait_eval("awake")
    assert target.eval("mod.answer()") == 1
    target.check_unharmed()
    nothing_said(target)


def test_interrupted(newest, start):
    app = "import mod, probe, signal\nprobe.ready()\nwhile True:\n    signal.pause()\n"
    target = start(newest, {"mod.py": MODULE, "app.py": app})
    process = subprocess.Popen([*harness.pyhot_command(), "attach", str(target.pid), "mod", VIA],
                               stderr=subprocess.PIPE, text=True)
    harness.wait_for(lambda: folders(target), "the request")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=harness.DEADLINE)
    assert process.returncode == 4 and "interrupted" in said
    target.check_unharmed()
    nothing_said(target)


def test_audit_hook_forbids_it(newest, start):
    app = ("import mod, probe, sys, time\n"
           "def hook(event, arguments):\n"
           "    if event == 'cpython.remote_debugger_script':\n"
           "        raise RuntimeError('not here')\n"
           "sys.addaudithook(hook)\n" + AT_WORK)
    target = start(newest, {"mod.py": MODULE, "app.py": app})
    assert "audit hook" in refused(target, "script-not-run", 4, VIA, "--timeout=0.5")["hint"]
    target.check_unharmed()
    assert "not here" in target.stderr_path.read_text()


def test_agent_cannot_be_loaded(newest, start):
    app = ("import mod, posix, probe, time\nposix.memfd_create = None\n" + AT_WORK)
    target = start(newest, {"mod.py": MODULE, "app.py": app})
    assert "not callable" in refused(target, "agent-not-loaded", 3, VIA)["message"]
    target.check_unharmed()
    nothing_said(target)


def test_failing_source(newest, start):
    target = start(newest, FILES)
    target.edit("mod.py", "1 / 0\n")
    assert target.attach("mod", VIA).returncode == 1
    assert target.eval("mod.answer()") == 1
    target.check_unharmed()
    nothing_said(target)


# ---- pyhot may die at any instant

@pytest.mark.parametrize("place", ["files-made", "asked", "entered"])
def test_pyhot_is_killed(newest, start, monkeypatch, place):
    faults = os.environ.get("PYHOT_FAULTS_BINARY", "")
    if not os.path.exists(faults):
        pytest.skip("no pyhot with fault points; make FAULTS=1 B=build/faults")
    target = start(newest, FILES)
    monkeypatch.setenv("PYHOT", faults)
    target.edit("mod.py", MODULE.replace("1", "2"))
    done = subprocess.run([faults, "attach", str(target.pid), "mod", VIA],
                          env={**os.environ, "PYHOT_FAULT": "%s:1:9" % place})
    assert done.returncode == -9
    if place == "files-made":  # nobody but the target was to remove them, and it was not asked
        for folder in folders(target):
            shutil.rmtree(folder)
    harness.wait_for(lambda: not folders(target), "no files left")
    target.check_unharmed()
    monkeypatch.delenv("PYHOT")
    target.edit("mod.py", MODULE.replace("1", "3"))
    target.reload("mod", VIA)
    assert target.eval("mod.answer()") == 3
    nothing_said(target)


def test_a_filter_that_cannot_be_read_is_a_refusal(start, newest):
    """It may kill at a call of ours; by ptrace it is read."""
    app = ("import mod, probe, seccomp, time\n"
           "seccomp.answer([seccomp.MEMFD_CREATE], seccomp.KILL)\n" + AT_WORK)
    target = start(newest, {"mod.py": MODULE, "app.py": app})
    target.edit("mod.py", MODULE.replace("1", "2"))
    done = target.attach("mod", VIA)
    assert done.returncode == 3, done.stdout
    assert done.report["error"]["code"] == "seccomp", done.report
    assert "--via=ptrace" in done.report["error"]["hint"]
    target.check_unharmed()
