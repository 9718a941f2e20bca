"""pyhot inside gdb: scripts/pyhot-gdb.py in a real gdb, on real targets."""

import os
import shutil
import subprocess

import pytest

import harness

SCRIPT = harness.REPO / "scripts" / "pyhot-gdb.py"
MODULE = "def answer():\n    return 'old'\n"
NEW_MODULE = "def answer():\n    return 'new!'\n"
APP = """
import threading, time, mod, probe
def work():
    while True:
        mod.answer()
        bytearray(5000)
        time.sleep(0.01)
threading.Thread(target=work, daemon=True).start()
probe.ready()
while True:
    time.sleep(0.05)
"""
FILES = {"app.py": APP, "mod.py": MODULE}

pytestmark = pytest.mark.skipif(not shutil.which("gdb"), reason="no gdb")


def gdb(*commands, pid=None, before=(), arguments=(), script=SCRIPT):
    """A gdb in batch mode; its output, both streams in the order written."""
    line = ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off"]
    for command in before:
        line += ["-ex", command]
    if pid:
        line += ["-ex", "attach %d" % pid]
    for command in ("source %s" % script,) + commands:
        line += ["-ex", command]
    done = subprocess.run(line + list(arguments), stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                          timeout=harness.DEADLINE, env=dict(os.environ, PYHOT=harness.pyhot_path()))
    return done.stdout


def sysroot(python):
    return ("set sysroot " + python.root,) if python.root else ()


@pytest.fixture
def edited(start):
    """edited(python): a target whose source has been edited."""
    def edited(python):
        target = start(python, FILES)
        target.edit("mod.py", NEW_MODULE)
        return target
    return edited


def check_reloaded(target):
    assert target.eval("mod.answer()") == "new!"
    target.check_unharmed()


def test_attach_and_list_stale(python, edited):
    target = edited(python)
    output = gdb("pyhot list-stale", "pyhot attach mod", "printf \"exit %d\\n\", $pyhot_exit",
                 pid=target.pid, before=sysroot(python))
    assert "mod stale" in output and "changed  function  answer" in output, output
    assert "mod reloaded in %d" % target.pid in output, output
    assert "exit 0\n" in output, output
    check_reloaded(target)


@pytest.mark.parametrize("setting", ["scheduler-locking on", "scheduler-locking step"])
def test_scheduler_locking_is_kept(setting, any_python, edited):
    target = edited(any_python)
    output = gdb("set " + setting, "pyhot attach mod", "show scheduler-locking", pid=target.pid)
    assert "mod reloaded" in output, output
    assert 'execution is "%s"' % setting.split()[1] in output, output
    check_reloaded(target)


def test_json_goes_into_a_variable(any_python, edited):
    target = edited(any_python)
    output = gdb("pyhot attach -j mod", "set print elements 0",
                 "python import json; report = json.loads("
                 "gdb.convenience_variable('pyhot').string()); "
                 "print(report['pid'], report['exit'])", pid=target.pid)
    assert "%d 0\n" % target.pid in output, output
    check_reloaded(target)


def test_broken_source_is_an_error_of_gdb(any_python, start):
    target = start(any_python, FILES)
    target.edit("mod.py", "def answer(:\n")
    output = gdb("pyhot attach mod", "echo not reached\\n", pid=target.pid,
                 arguments=("-ex", "printf \"exit %d\\n\", $pyhot_exit"))
    assert "exit 1\n" in output and "SyntaxError" in output, output
    assert target.eval("mod.answer()") == "old"
    target.check_unharmed()


def test_gdb_reaps_the_pyhot_that_works_for_it(any_python, start):
    """It does when a wait for the target meets the end of pyhot; the status is not lost."""
    target = start(any_python, FILES)
    target.edit("mod.py", "def answer(:\n")
    output = gdb("python import os, threading; popen = subprocess.Popen.__init__; "
                 "subprocess.Popen.__init__ = lambda self, *a, **k: (popen(self, *a, **k), "
                 "threading.Thread(target=os.waitid, args=(os.P_PID, self.pid, os.WEXITED)).start())[0]",
                 "pyhot attach mod", pid=target.pid,
                 arguments=("-ex", "printf \"exit %d\\n\", $pyhot_exit"))
    assert "exit 1\n" in output and "SyntaxError" in output, output
    target.check_unharmed()


def test_options_are_those_of_the_command_line(any_python, edited):
    target = edited(any_python)
    output = gdb("pyhot attach --dry-run mod", "pyhot attach --bogus mod", pid=target.pid)
    assert "would be" in output, output
    assert "unrecognized option '--bogus'" in output, output
    assert target.eval("mod.answer()") == "old"
    target.check_unharmed()


def test_from_a_place_inside_malloc(any_python, edited):
    """The thread that stands in the allocator is not taken."""
    target = edited(any_python)
    output = gdb("tbreak malloc", "continue", "pyhot attach mod", pid=target.pid)
    assert "malloc (" in output and "mod reloaded" in output.split("malloc (")[1], output
    check_reloaded(target)


def test_breakpoint_of_the_user_is_hit_meanwhile(any_python, edited):
    """It is shown, the job goes on with the program, and its report comes."""
    target = edited(any_python)
    output = gdb("break PyImport_ImportModuleLevelObject", "break pthread_create",
                 "tbreak PyGILState_Ensure",
                 "pyhot attach mod", "echo at the breakpoint\\n", "delete",
                 # The next one is there until the report has come.
                 "python import threading; threading.Timer(3, lambda: gdb.post_event("
                 "lambda: gdb.execute('interrupt'))).start()",
                 "continue", "echo continued\\n", pid=target.pid)
    assert "PyGILState_Ensure" in output.split("at the breakpoint")[0], output
    assert "goes on when you continue" in output, output
    assert "mod reloaded" in output.split("at the breakpoint")[1], output
    check_reloaded(target)


def test_root_directory_that_gdb_does_not_know(python, edited):
    """gdb would take the loader's functions from another file."""
    if not python.root:
        pytest.skip("has our root directory")
    target = edited(python)
    output = gdb("pyhot attach mod", pid=target.pid)
    assert "set sysroot /proc/%d/root" % target.pid in output, output
    assert target.eval("mod.answer()") == "old"


def test_without_a_process():
    assert "pyhot: no process is being debugged" in gdb("pyhot attach mod")


def test_core_file(any_python, start, tmp_path):
    target = start(any_python, FILES)
    core = tmp_path / "core"
    gdb("generate-core-file %s" % core, pid=target.pid)
    output = gdb("pyhot attach mod", before=("core-file %s" % core,))
    assert "pyhot: a core file cannot run a reload" in output, output


def test_process_that_is_no_python():
    process = subprocess.Popen(["sleep", "1000"])
    try:
        output = gdb("pyhot attach mod", pid=process.pid)
        assert "pyhot: " in output and "Python" in output.split("pyhot: ")[1], output
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_help_and_completion(any_python, start):
    target = start(any_python, dict(FILES, **{"shop/__init__.py": "", "shop/cart.py": ""}))
    output = gdb("help pyhot", "complete pyhot attach mo", "complete pyhot attach shop.c",
                 pid=target.pid)
    assert "pyhot attach -- " in output and "pyhot list-stale -- " in output, output
    assert "\npyhot attach mod\n" in output, output
    assert "\npyhot attach shop.cart\n" in output, output


def test_program_started_under_gdb(any_python, tmp_path):
    (tmp_path / "mod.py").write_text(MODULE)
    (tmp_path / "app.py").write_text(
        "import mod, os, time\n"
        "print(mod.answer(), flush=True)\n"
        "os.kill(os.getpid(), 10)\n"
        "while mod.answer() == 'old':\n"
        "    time.sleep(0.01)\n"
        "print(mod.answer(), flush=True)\n"
        "time.sleep(1000)\n")
    (tmp_path / "new.py").write_text(NEW_MODULE)
    output = gdb("run", "shell cp %s %s" % (tmp_path / "new.py", tmp_path / "mod.py"),
                 "pyhot attach mod", "kill",
                 before=("handle SIGUSR1 nopass", "set cwd %s" % tmp_path,
                             "file %s" % any_python, "set args app.py"))
    assert "mod reloaded" in output, output


def test_pyhot_outside_names_the_gdb_and_the_command(any_python, edited):
    target = edited(any_python)
    output = gdb("shell %s attach %d mod other; echo exit $?" % (harness.pyhot_path(), target.pid),
                 "python print('I am', __import__('os').getpid())", pid=target.pid)
    gdb_pid = output.split("I am ")[1].split()[0]
    assert "traced by %s (gdb)" % gdb_pid in output and "exit 3\n" in output, output
    assert "type in that gdb: pyhot attach mod other (once before: source /" in output, output
    target.check_unharmed()


def test_python_extension_of_gdb(pythons, edited):
    """py-bt, which Debian's packages bring, works before and after."""
    for python in pythons:
        if python.debug and python.path.startswith("/usr/bin/"):
            break
    else:
        pytest.skip("no Debian debug build")
    target = edited(python)
    output = gdb("py-bt", "pyhot attach mod", "py-bt", pid=target.pid)
    before, _, after = output.partition("mod reloaded")
    assert "app.py" in before and "app.py" in after, output
    check_reloaded(target)


def test_machine_interface(any_python, edited):
    target = edited(any_python)
    lines = ["-target-attach %d" % target.pid,
             '-interpreter-exec console "source %s"' % SCRIPT,
             '1-interpreter-exec console "pyhot attach mod"',
             '2-interpreter-exec console "pyhot attach nothing.of.this.name"',
             "-target-detach", "-gdb-exit"]
    done = subprocess.run(["gdb", "-nx", "--interpreter=mi3"], input="\n".join(lines) + "\n",
                          text=True, stdout=subprocess.PIPE, timeout=harness.DEADLINE,
                          env=dict(os.environ, PYHOT=harness.pyhot_path()))
    assert '~"mod reloaded in %d' % target.pid in done.stdout, done.stdout
    assert '&"pyhot: module nothing.of.this.name is not loaded' in done.stdout, done.stdout
    check_reloaded(target)
