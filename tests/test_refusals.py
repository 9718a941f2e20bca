"""What pyhot refuses: one line of its own for each reason, exit 3, the target untouched."""

import os
import signal
import subprocess
import sys

import pytest

import conftest
import harness

MODULE = "def answer():\n    return 1\n"
IDLE = "import probe\nprobe.ready()\nimport time\nwhile True:\n    time.sleep(1000)\n"
FILES = {"mod.py": MODULE, "shop/__init__.py": "", "shop/cart.py": MODULE,
         "app.py": "import mod, shop.cart, json, math, zlib\n" + IDLE}
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def refused(pid, *modules, expect, status=3, **options):
    """Both forms of the refusal; `expect`: words that the line or its hint must have.  Returns
    the word for scripts."""
    done = harness.run_pyhot("attach", pid, *modules, **options)
    assert done.returncode == status, done.stdout + done.stderr
    assert done.report.keys() == {"pid", "error", "exit"}
    assert (done.report["pid"], done.report["exit"]) == (int(pid), status)
    error = done.report["error"]
    assert error.keys() == {"code", "message", "hint"}
    assert "\n" not in error["message"]
    said = (error["message"] + " " + (error["hint"] or "")).lower()
    for word in expect:
        assert word.lower() in said, (word, error)

    text = harness.run_pyhot("attach", pid, *modules, json_report=False, **options)
    assert text.returncode == status
    assert text.stdout == ""
    assert error["message"] in text.stderr
    lines = text.stderr.splitlines()
    assert len(lines) == (2 if error["hint"] else 1), text.stderr
    return error["code"]


@pytest.fixture
def child():
    """child(*command): a process that is killed after the test."""
    children = []

    def run(*command, **options):
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE, **options))
        return children[-1]

    yield run
    for process in children:
        process.kill()
        process.wait()
        process.stdin.close()


# ---- The process

def test_no_such_process(pyhot):
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert refused(gone.pid, "mod", expect=["no", str(gone.pid)]) == "no-such-process"


def test_not_a_python(pyhot, child):
    process = child("cat")
    harness.wait_for(lambda: os.readlink("/proc/%d/exe" % process.pid).endswith("/cat"), "exec")
    refused(process.pid, "mod", expect=["CPython", "cat"])
    assert process.poll() is None


def test_not_a_dynamic_program_of_any_kind(pyhot):
    """Process 1 of a machine is seldom a Python; whatever it is, the answer is a refusal."""
    if "python" in open("/proc/1/comm").read():
        pytest.skip("process 1 is a Python here")
    done = harness.run_pyhot("attach", 1, "mod")
    assert done.returncode == 3


def test_kernel_thread(pyhot):
    if not os.path.exists("/proc/2") or harness.proc_status(2)["Name"] != "kthreadd":
        pytest.skip("no kernel thread to be seen in this PID namespace")
    refused(2, "mod", expect=["kernel thread"])


def test_zombie(pyhot):
    process = subprocess.Popen(["true"])
    harness.wait_for(lambda: harness.proc_status(process.pid)["State"][0] == "Z", "a zombie")
    refused(process.pid, "mod", expect=["zombie"])
    process.wait()


def test_main_thread_has_ended(any_python, start):
    target = start(any_python, dict(FILES, **{"app.py": """
import ctypes, os, threading, time
import mod
threading.Thread(target=lambda: time.sleep(1000)).start()
os.write(int(os.environ['PROBE_OUT']), b'READY\\n')
ctypes.CDLL(None).pthread_exit(None)
"""}))
    harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "Z", "its end")
    refused(target.pid, "mod", expect=["main thread", "has ended, other threads have not"])


def test_already_traced(python, start, child):
    target = start(python, FILES)
    tracer = child(sys.executable, str(harness.VICTIMS / "tracer.py"), str(target.pid),
                   stdout=subprocess.PIPE)
    assert tracer.stdout.readline() == b"TRACING\n"
    # From 3.14 on there is another way, which this target's main thread sleeps through.
    status, more = (4, ["--timeout=0.3"]) if python.minor >= (3, 14) else (3, [])
    refused(target.pid, "mod", *more, expect=["traced", str(tracer.pid)], status=status)
    tracer.stdout.close()
    tracer.kill()
    tracer.wait()
    target.check_unharmed()
    target.edit("mod.py", MODULE.replace("1", "2"))
    target.reload("mod")
    assert target.eval("mod.answer()") == 2


def test_stopped_target_stays_stopped(python, start):
    target = start(python, FILES)
    target.edit("mod.py", MODULE.replace("1", "2"))
    os.kill(target.pid, signal.SIGSTOP)
    harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "T", "stopped")
    refused(target.pid, "mod", expect=["stopped"])
    assert harness.proc_status(target.pid)["State"][0] == "T"
    os.kill(target.pid, signal.SIGCONT)
    target.check_unharmed()
    target.reload("mod")
    assert target.eval("mod.answer()") == 2


# ---- Permission

def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.fixture
def pyhot_for_everybody(pyhot, monkeypatch):
    """pyhot opened as root, so that another user can run it wherever it lies."""
    descriptor = os.open(pyhot, os.O_RDONLY)
    monkeypatch.setenv("PYHOT", "/proc/self/fd/%d" % descriptor)
    yield {"preexec_fn": as_nobody, "pass_fds": [descriptor]}
    os.close(descriptor)


@needs_root
def test_process_of_another_user(any_python, start, pyhot_for_everybody):
    target = start(any_python, FILES)
    refused(target.pid, "mod", expect=["root", "permi"], **pyhot_for_everybody)
    target.check_unharmed()


# ---- The interpreter

def test_unknown_version(other_python, start):
    """Found by itself on this machine: versions that pyhot does not know."""
    if other_python.implementation != "cpython" or other_python.minor in harness.SUPPORTED:
        pytest.skip("not a CPython of an unknown version")
    target = start(other_python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    refused(target.pid, "mod", expect=["%d.%d" % other_python.minor, "3.8"])
    target.check_unharmed()


def test_free_threaded(start):
    found = [python for python in conftest.OTHERS if python.free_threaded]
    if not found:
        pytest.skip("no free-threaded CPython on this machine")
    target = start(found[0], FILES)
    refused(target.pid, "mod", expect=["free-threaded"])
    target.check_unharmed()


def test_other_implementation(start):
    found = [python for python in conftest.OTHERS if python.implementation != "cpython"]
    if not found:
        pytest.skip("no PyPy or the like on this machine")
    target = start(found[0], FILES)
    refused(target.pid, "mod", expect=["CPython"])
    target.check_unharmed()


def test_finalizing(python, start):
    """The interpreter is being torn down: nothing can be reloaded any more."""
    text = ("import os, time, mod\n"
            "class Last:\n"
            "    def __del__(self, write=os.write, sleep=time.sleep,\n"
            "                out=int(os.environ['PROBE_OUT'])):\n"
            "        write(out, b'READY\\n')\n"
            "        sleep(1000)\n"
            "last = Last()\n")
    target = start(python, {"mod.py": MODULE, "app.py": text})
    refused(target.pid, "mod", expect=["finaliz"])
    target.check_unharmed()


# ---- The module

def test_module_not_loaded(python, start):
    target = start(python, FILES)
    code = refused(target.pid, "shop.crat", expect=["shop.crat", "not loaded", "shop.cart"])
    assert code == "not-loaded"
    target.check_unharmed()


def test_module_not_loaded_and_nothing_near(any_python, start):
    target = start(any_python, FILES)
    refused(target.pid, "xyzzyqwfp", expect=["xyzzyqwfp", "not loaded"])


@pytest.mark.parametrize("module", ["sys", "builtins", "_thread"])
def test_built_in_module(python, start, module):
    target = start(python, FILES)
    refused(target.pid, module, expect=[module, "built into the interpreter"])
    target.check_unharmed()


def test_extension_module(python, start):
    """Some modules are built in on one machine and an extension on another."""
    target = start(python, FILES)
    target.exec("import sys")
    extensions = target.eval("[name for name, module in list(sys.modules.items())"
                             " if (getattr(module, '__file__', None) or '').endswith('.so')]")
    if not extensions:
        target.exec("import _ctypes")
        target.snapshot()
        extensions = ["_ctypes"]
    refused(target.pid, extensions[0], expect=[extensions[0], "extension"])
    target.check_unharmed()


def test_one_refused_module_refuses_all(any_python, start):
    target = start(any_python, FILES)
    target.edit("mod.py", MODULE.replace("1", "2"))
    refused(target.pid, "mod", "shop.crat", expect=["shop.crat"])
    assert target.eval("mod.answer()") == 1


def test_source_file_is_gone(any_python, start):
    target = start(any_python, FILES)
    os.unlink(target.path("mod.py"))
    refused(target.pid, "mod", expect=["mod", "source"])
    assert target.eval("mod.answer()") == 1


# ---- The command line

@pytest.mark.parametrize("arguments", [
    [], ["attach"], ["attach", "1"], ["attach", "x", "mod"], ["attach", "-1", "mod"],
    ["attach", "1", "mod", "--no-such-option"], ["attach", "1", "mod", "--data=some"],
    ["attach", "1", "mod", "--timeout=soon"], ["no-such-command"],
], ids=" ".join)
def test_usage(pyhot, arguments):
    done = harness.run_pyhot(*arguments, json_report=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("pyhot") or "Usage:" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["attach", "--help"], ["--version"]],
                         ids=" ".join)
def test_help(pyhot, arguments):
    done = harness.run_pyhot(*arguments, json_report=False)
    assert done.returncode == 0
    assert "pyhot" in done.stdout
    assert done.stderr == ""


def test_an_audit_hook_that_refuses_our_code(any_python, start):
    """Up to 3.13 a line of it is run to see how frames are laid out."""
    target = start(any_python, {"mod.py": "def f():\n    return 1\n", "app.py":
                                "import probe, sys, time\nimport mod\n"
                                "def hook(event, arguments):\n"
                                "    if refuses and event == 'compile' and '<pyhot>' in arguments:\n"
                                "        raise RuntimeError('no')\n"
                                "refuses = True\nsys.addaudithook(hook)\nprobe.ready()\n"
                                "while True:\n    time.sleep(1000)\n"})
    target.edit("mod.py", "def f():\n    return 2\n")
    if any_python.minor <= (3, 13):
        done = target.attach("mod")
        assert done.returncode == 3, done
        assert "an audit hook refuses code" in done.report["error"]["message"]
        assert target.eval("mod.f()") == 1
        target.check_unharmed()
    target.eval("globals().update(refuses=False)")
    target.reload("mod")
    assert target.eval("mod.f()") == 2
