"""pyhot inside gdb: scripts/pyhot-gdb.py in a real gdb, on real targets."""

import ast
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading

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


class Session:
    """A gdb that is talked to while it works, in its machine interface."""

    def __init__(self, *commands):
        self.process = subprocess.Popen(
            ["gdb", "-nx", "--interpreter=mi3"], stdin=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", bufsize=1,
            start_new_session=True, env=dict(os.environ, PYHOT=harness.pyhot_path()))
        self.lines, self.said, self.token = queue.Queue(), "", 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        for command in ("set debuginfod enabled off",) + commands:
            self.run(command)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)

    def begin(self, command):
        self.token += 1
        command = command.replace("\\", "\\\\").replace('"', '\\"')
        self.process.stdin.write('%d-interpreter-exec console "%s"\n' % (self.token, command))

    def until(self, text):
        """Waits until gdb says a line with `text`; returns all it has said since the last wait."""
        self.said = ""
        while text not in self.said.rpartition("\n")[2]:
            self.said += "\n" + self.lines.get(timeout=harness.DEADLINE).strip()
        return self.said

    def run(self, command):
        """Runs a command to its end."""
        self.begin(command)
        return self.until("%d^" % self.token)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()


@pytest.fixture
def session():
    """session(*commands): a Session, killed after the test."""
    with contextlib.ExitStack() as sessions:
        def session(*commands):
            new = Session(*commands)
            sessions.callback(new.end)
            return new
        yield session


# Its main thread keeps the GIL in a C function until something is written to the FIFO.
HOLD = """
import ctypes, os, threading, time, mod, probe
os.mkfifo("fifo")
fd, byte = os.open("fifo", os.O_RDWR), ctypes.create_string_buffer(1)
read = ctypes.PyDLL(None).read
probe.ready()
read(fd, byte, 1)
while True:
    time.sleep(0.05)
"""


class Held:
    """A target whose GIL is held, and whose source is edited."""

    def __init__(self, start, python, app=HOLD):
        self.target = start(python, {"app.py": app, "mod.py": MODULE})
        self.target.edit("mod.py", NEW_MODULE)
        self.wait_held()

    def wait_held(self):
        def in_read():
            with open("/proc/%d/syscall" % self.target.pid) as file:
                return file.read().startswith("0 ")
        harness.wait_for(in_read, "the GIL is held")

    def let_go(self):
        fifo = os.open(self.target.path("fifo"), os.O_WRONLY | os.O_NONBLOCK)
        os.write(fifo, b"x")
        os.close(fifo)

    def wait_for_agent(self):
        """Until our thread is in it and waits for the GIL.  Before, a gdb that is killed has left its
        breakpoints in the loader, which would kill any program."""
        def waits(tid):
            with open("/proc/%d/task/%d/syscall" % (self.target.pid, tid)) as file:
                return file.read().startswith("202 ")  # futex

        def is_there():
            with open("/proc/%d/maps" % self.target.pid) as maps:
                loaded = "pyhot-agent" in maps.read()
            ours = set(harness.proc_threads(self.target.pid)) - set(self.target.before.threads)
            return loaded and ours and all(map(waits, ours))

        harness.wait_for(is_there, "the agent is there")


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
    assert "mod  stale" in output and "changed  function  answer" in output, output
    assert "mod reloaded in %d" % target.pid in output, output
    assert "exit 0\n" in output, output
    check_reloaded(target)


def test_stripped_interpreter(any_python, start, tmp_path):
    """gdb knows no name of it but the exported ones."""
    program = shutil.copy(any_python.executable, tmp_path / "stripped")
    subprocess.run(["strip", "--strip-all", program], check=True)
    target = start(program, FILES)
    target.edit("mod.py", NEW_MODULE)
    output = gdb("info symbol Py_BytesMain", "info functions subtype_dealloc",
                 "pyhot list-stale", "pyhot attach mod", pid=target.pid)
    assert "Py_BytesMain in section" in output and "\tsubtype_dealloc" not in output, output
    assert "mod  stale" in output and "mod reloaded in %d" % target.pid in output, output
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
                 "threading.Thread(target=os.waitid, "
                 "args=(os.P_PID, self.pid, os.WEXITED)).start())[0]",
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


@pytest.mark.parametrize("mode", ["off", "on"], ids=["all-stop", "non-stop"])
def test_no_thread_at_a_safe_place(mode, any_python, tmp_path, session):
    """The only one there is goes on until it is out of malloc, and gdb says so."""
    (tmp_path / "mod.py").write_text(MODULE)
    (tmp_path / "app.py").write_text("import mod, time\nprint(mod.answer(), flush=True)\n"
                                     "while mod.answer() == 'old':\n"
                                     "    bytearray(5000)\n    time.sleep(0.01)\n"
                                     "print(mod.answer(), flush=True)\n")
    program = subprocess.Popen([str(any_python), "app.py"], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE)
    try:
        assert program.stdout.readline() == "old\n"
        (tmp_path / "mod.py").write_text(NEW_MODULE)
        debugger = session("set non-stop " + mode, "attach %d" % program.pid, "source %s" % SCRIPT)
        debugger.run("tbreak malloc")
        debugger.begin("continue")
        debugger.until("*stopped")
        debugger.begin("pyhot attach mod")
        said = debugger.until("it goes on until it is out of there")
        assert "pyhot: thread 1 is in " in said, said
        if mode == "on":  # it holds the GIL
            debugger.until("%d^" % debugger.token)
            debugger.begin("continue &")
        debugger.until("mod reloaded")
        if mode == "off":
            debugger.begin("continue")
        assert program.communicate(timeout=harness.DEADLINE)[0] == "new!\n"
        assert program.returncode == 0
    finally:
        program.kill()
        program.wait()


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


def test_where(any_python, start):
    target = start(any_python, {"app.py": APP.replace("mod.answer()", "mod.work()", 1),
                                "mod.py": "import time\ndef work():\n    while True:\n"
                                          "        time.sleep(0.01)\n"})
    target.edit("mod.py", "import time\ndef work():\n    while True:\n        time.sleep(0.02)\n")
    output = gdb("pyhot where", "pyhot attach mod", "pyhot where", pid=target.pid)
    before, _, after = output.partition("mod reloaded")
    assert "MainThread (%d): <module> (%s:" % (target.pid, target.path("app.py")) in before, output
    assert "0 on old code" in before and "): old code: work (" in after, output
    assert "3 threads in %d (python" % target.pid in after and "1 on old code" in after, output
    target.check_unharmed()


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


def test_help_and_completion(python, start):
    """What is offered is what the process has loaded; a name that lies below its folder is not."""
    target = start(python, dict(FILES, **{"shop/__init__.py": "", "shop/cart.py": "",
                                          "shop/cash.py": "", "mod2.py": "",
                                          "app.py": "import shop.cart\n" + APP}))
    loaded = set(target.eval("[name for name, module in __import__('sys').modules.items() "
                             "if module and all(part.isidentifier() for part in name.split('.'))]"))
    output = gdb("help pyhot", "complete pyhot attach mo", "complete pyhot attach shop.c",
                 "python print(sorted(module_names()))", pid=target.pid, before=sysroot(python))
    assert "pyhot attach -- " in output and "pyhot list-stale -- " in output, output
    assert "\npyhot attach mod\npyhot attach shop.cart\n" in output, output
    offered = next(line for line in output.splitlines() if line.startswith("['__future__")
                   or line.startswith("['__main__"))
    assert set(ast.literal_eval(offered)) == loaded
    target.check_unharmed()


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


def test_interrupt_cancels_and_the_next_one_works(any_python, start, session):
    held = Held(start, any_python)
    debugger = session("attach %d" % held.target.pid, "source %s" % SCRIPT)
    debugger.begin("pyhot attach mod")
    held.wait_for_agent()
    debugger.process.send_signal(signal.SIGINT)
    said = debugger.until("%d^error" % debugger.token)
    assert "pyhot: interrupted; process %d is unchanged" % held.target.pid in said
    assert '"$1 = 4' in debugger.run("print $pyhot_exit")
    held.let_go()
    debugger.begin("pyhot attach mod")
    debugger.until("mod reloaded")
    debugger.run("detach")
    check_reloaded(held.target)


def test_gdb_is_killed_during_the_job(any_python, start, session):
    """Its breakpoint for the end of our thread is left in the process; nothing runs into it."""
    held = Held(start, any_python)
    debugger = session("attach %d" % held.target.pid, "source %s" % SCRIPT)
    debugger.begin("pyhot attach mod")
    held.wait_for_agent()
    debugger.end()
    held.let_go()
    held.target.wait_eval("mod.answer() == 'new!'")
    held.target.check_unharmed()


@pytest.mark.parametrize("connect", [("target remote | gdbserver --once --attach - PID",),
                                     ("target extended-remote | gdbserver --multi -",
                                      "attach PID")], ids=["attach", "multi"])
def test_gdbserver_on_this_machine(connect, any_python, edited):
    if not shutil.which("gdbserver"):
        pytest.skip("no gdbserver")
    target = edited(any_python)
    # Files are read here, not through the connection.
    connect = [command.replace("PID", str(target.pid)) for command in connect]
    output = gdb("pyhot attach mod", "detach", "monitor exit", before=("set sysroot /", *connect))
    assert "mod reloaded" in output, output
    check_reloaded(target)


def test_process_of_another_machine(any_python, edited):
    """Its id is that of a process here."""
    target, other = edited(any_python), edited(any_python)
    output = gdb("python real = gdb.selected_inferior()",
                 "python gdb.selected_inferior = lambda: type('Inferior', (), dict(pid=%d, "
                 "connection=None, read_memory=real.read_memory))" % other.pid,
                 "pyhot attach mod", pid=target.pid)
    assert "pyhot: process %d of this machine is another one" % other.pid in output, output


def test_what_the_user_watches_and_records(any_python, edited):
    """All debug registers taken is no obstacle; what steps through the process is one."""
    target = edited(any_python)
    output = gdb("record", "pyhot list-stale", "record stop",
                 "set can-use-hw-watchpoints 0", "watch *(long *) $sp", "pyhot list-stale",
                 "delete", "set can-use-hw-watchpoints 1",
                 "watch *(long *) &_PyRuntime", "hbreak Py_FinalizeEx", "hbreak Py_Main",
                 "hbreak Py_BytesMain", "pyhot attach mod", "info breakpoints", pid=target.pid)
    assert "pyhot: gdb records what the process does" in output, output
    assert "pyhot: watchpoint 1 has gdb step through every instruction" in output, output
    assert "mod reloaded" in output and "Py_BytesMain" in output.split("mod reloaded")[1], output
    check_reloaded(target)


def test_process_ends_during_the_job(any_python, start, session):
    held = Held(start, any_python)
    debugger = session("attach %d" % held.target.pid, "source %s" % SCRIPT)
    debugger.begin("pyhot attach mod")
    held.wait_for_agent()
    held.target.process.kill()
    said = debugger.until("%d^error" % debugger.token)
    assert "pyhot: process %d" % held.target.pid in said, said
    assert '"$1 = 3' in debugger.run("print $pyhot_exit")


def test_child_that_gdb_would_follow(any_python, start):
    """gdb stays with the process that is reloaded."""
    target = start(any_python, {"app.py": APP.replace("mod.answer()", "os._exit(0) if os.fork() == 0 "
                                                      "else os.wait()", 1).replace("import ",
                                                                                   "import os, ", 1),
                                "mod.py": MODULE})
    target.edit("mod.py", NEW_MODULE)
    output = gdb("set follow-fork-mode child", "pyhot attach mod", "show follow-fork-mode",
                 pid=target.pid)
    assert "mod reloaded in %d" % target.pid in output and 'is "child"' in output, output
    assert target.eval("mod.answer()") == "new!"
    target.check_unharmed(descriptors=False)


def threads(debugger, target):
    """What gdb says of the program's own threads."""
    own = {"(LWP %d)" % tid for tid in target.before.threads}
    return [line for line in debugger.run("info threads").splitlines()
            if any(lwp in line for lwp in own)]


def wait_for_running(debugger, target, n):
    """Until gdb has seen that so many of them run."""
    harness.wait_for(lambda: sum("(running)" in line for line in threads(debugger, target)) == n,
                     "%d threads run" % n)


def test_non_stop(any_python, start, session):
    """Threads that were stopped stay stopped, at the same place; those that ran run on."""
    # Its main thread, the one that will be stopped alone, never holds the GIL.
    target = start(any_python, dict(FILES, **{"app.py": APP.replace("sleep(0.05)", "sleep(1000)")}))
    target.edit("mod.py", NEW_MODULE)
    debugger = session("set non-stop on", "attach %d" % target.pid)
    debugger.run("source %s" % SCRIPT)
    debugger.begin("pyhot attach mod")  # at once: not all stops have been seen
    debugger.until("mod reloaded")
    wait_for_running(debugger, target, 0)
    places = threads(debugger, target)
    debugger.begin("pyhot list-stale mod")
    debugger.until("mod  fresh")
    assert threads(debugger, target) == places
    debugger.run("continue -a &")
    debugger.run("interrupt")
    wait_for_running(debugger, target, len(places) - 1)
    for value in range(20):  # at once after each other: gdb still lists threads that have ended
        target.edit("mod.py", "def answer():\n    return %d\n" % value)
        debugger.begin("pyhot attach mod")
        debugger.until("mod reloaded")
    wait_for_running(debugger, target, len(places) - 1)
    debugger.run("interrupt -a")
    wait_for_running(debugger, target, 0)
    debugger.run("detach")
    assert target.eval("mod.answer()") == value
    target.check_unharmed()


def test_non_stop_where_a_stopped_thread_holds_the_gil(any_python, start, session):
    """The job waits: no thread of the user's is let run."""
    held = Held(start, any_python)
    debugger = session("set non-stop on", "attach %d" % held.target.pid)
    debugger.run("source %s" % SCRIPT)
    debugger.begin("pyhot attach mod")
    held.wait_for_agent()
    held.let_go()
    assert "reloaded" not in debugger.run("info threads")
    debugger.begin("continue -a &")
    debugger.until("mod reloaded")
    debugger.run("interrupt -a")
    wait_for_running(debugger, held.target, 0)
    debugger.run("detach")
    check_reloaded(held.target)
