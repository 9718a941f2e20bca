"""How pyhot gets in: what it leaves behind when it is killed there, what the target can notice.

Attaches under load and at every bad moment are in tests/faults; this is what each interpreter and
its build of the C library can get wrong for itself."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

import conftest
import harness

MOD = "def answer():\n    return %r\n"

# Where the only thread that can be borrowed is, each another way through the C library.
PLACES = {
    "sleep": "time.sleep(1000)",
    "lock": "LOCK.acquire()",
    "lock with a limit": "LOCK.acquire(timeout=1000)",
    "condition": "threading.Event().wait()",
    "select": "import select; select.select([], [], [], 1000)",
    "poll": "import select; select.poll().poll()",
    "epoll": "import select; select.epoll().poll()",
    "accept": "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(1); s.accept()",
    "pipe": "import os; os.read(os.pipe()[0], 1)",
    "pause": "import signal; signal.pause()",
    "sigwait": "import signal; signal.sigwait({signal.SIGUSR1})",
    "join": "t = threading.Thread(target=LOCK.acquire); t.start(); t.join()",
    "pure Python": "while True: pass",
    "allocating": "while True: [bytes(n) for n in range(600, 3000, 37)]",
}


def start_app(start, python, place, **options):
    # Without the thread of probe.py: it would be a second one to borrow.
    files = {"mod.py": MOD % 1,
             "app.py": "import os, threading, time\nimport mod\n"
                       "LOCK = threading.Lock()\nLOCK.acquire()\n"
                       "os.write(int(os.environ['PROBE_OUT']), b'READY\\n')\n" + PLACES[place]}
    return start(python, files, **options)


def anonymous_code(pid):
    """Pages that can be executed and come from no file."""
    return [entry for entry in harness.proc_maps(pid) if "x" in entry[1] and not entry[2]]


def condition_of(pid):
    """What a pyhot that was killed must not have changed."""
    status = harness.proc_status(pid)
    return {"state": status["State"][0], "tracer": status["TracerPid"], "mask": status["SigBlk"],
            "threads": harness.proc_threads(pid), "descriptors": harness.proc_descriptors(pid),
            "pages": anonymous_code(pid)}


@pytest.mark.parametrize("place", PLACES)
def test_only_one_thread_to_borrow(start, python, place):
    target = start_app(start, python, place)
    target.edit("mod.py", MOD % 2)
    before = anonymous_code(target.pid)
    listed = harness.run_pyhot("list-stale", target.pid, "mod", "--objects")
    assert listed.returncode == 0, listed.stderr
    assert [(module["name"], module["state"]) for module in listed.report["modules"]] == [
        ("mod", "stale")]
    for number in (2, 3):
        target.edit("mod.py", MOD % number)
        report = target.reload("mod")
        assert report["modules"][0]["result"] == "reloaded"
        assert report["time"]["stop_us"] > 0
    harness.wait_for(lambda: anonymous_code(target.pid) == before, "pyhot's pages are unmapped")
    assert harness.proc_status(target.pid)["TracerPid"] == "0"


def test_second_attach_uses_the_loaded_agent(start, python):
    target = start_app(start, python, "sleep")
    agents = []
    for number in (2, 3):
        target.edit("mod.py", MOD % number)
        target.reload("mod")
        agents.append([entry for entry in harness.proc_maps(target.pid)
                       if entry[2].startswith("/memfd:pyhot-agent")])
    assert agents[0] and agents[1] == agents[0]


# One in each state that a killed pyhot can leave the target in: before the pages, with the pages
# but no thread, with a thread that waits, with an agent that runs.
KILLED = ["stopped:1", "aimed:1", "masked:1", "syscall-stop:1", "syscall-stop:2", "code-written:1",
          "syscall-stop:4", "unmasked:1", "restored:1", "channel-taken:1", "go:1"]


@pytest.fixture(scope="session")
def faults_binary():
    path = os.environ.get("PYHOT_FAULTS_BINARY")
    if not path or not os.access(path, os.X_OK):
        pytest.skip("$PYHOT_FAULTS_BINARY is not a pyhot built with make FAULTS=1")
    return path


def test_killed_pyhot_leaves_nothing(start, python, faults_binary):
    target = start_app(start, python, "sleep")
    harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "S", "asleep")
    before = condition_of(target.pid)

    for number, place in enumerate(KILLED):
        target.edit("mod.py", MOD % (number + 2))
        done = subprocess.run([faults_binary, "attach", str(target.pid), "mod"],
                              env=dict(os.environ, PYHOT_FAULT="%s:9" % place),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=harness.DEADLINE)
        assert done.returncode == -signal.SIGKILL, (place, done)
        harness.wait_for(lambda: condition_of(target.pid) == before,
                         lambda: "after SIGKILL at %s: %s, as before: %s"
                         % (place, condition_of(target.pid), before))
    target.edit("mod.py", MOD % 1000)
    assert target.reload("mod")["modules"][0]["result"] == "reloaded"


def test_stopped_target_is_refused_and_stays_stopped(start, python):
    target = start_app(start, python, "sleep")
    os.kill(target.pid, signal.SIGSTOP)
    harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "T", "stopped")
    target.edit("mod.py", MOD % 2)
    done = target.attach("mod")
    assert done.returncode == 3, done.stdout
    assert "stopped" in done.report["error"]["message"], done.report
    assert harness.proc_status(target.pid)["State"][0] == "T"
    os.kill(target.pid, signal.SIGCONT)
    assert target.reload("mod")["modules"][0]["result"] == "reloaded"


# The main thread in one wait after the other, each of which a handler ends; another thread runs,
# mostly without the GIL, for which the main thread would wait as well.
SIGNALLED = """
import os, select, signal, threading, time, zlib
import mod

class Arrived(Exception):
    pass

def handler(number, frame):
    raise Arrived

def busy():
    data = bytes(1 << 25)
    while True:
        zlib.crc32(data)

LOCK = threading.Lock()
LOCK.acquire()
WAITS = [LOCK.acquire, threading.Event().wait, lambda: time.sleep(1000),
         lambda: select.select([], [], [], 1000), lambda: select.epoll().poll(),
         lambda: os.read(os.pipe()[0], 1)]
signal.signal(signal.SIGUSR1, handler)
threading.Thread(target=busy, daemon=True).start()
os.write(int(os.environ['PROBE_OUT']), b'READY\\n')
for number, wait in enumerate(WAITS):
    try:
        os.mkdir("at%d" % number)
        wait()
    except Arrived:
        os.mkdir("arrived%d" % number)
threading.Event().wait()
"""


def test_a_signal_while_the_main_thread_is_stopped(start, python, faults_binary):
    """The kernel gives it to another thread then; Python sees it in the main thread only."""
    target = start(python, {"mod.py": MOD % 1, "app.py": SIGNALLED})
    for number in range(6):
        harness.wait_for(lambda: os.path.isdir(target.path("at%d" % number)), "the next wait")
        harness.wait_for(lambda: harness.proc_status(target.pid, target.pid)["State"][0] == "S",
                         "asleep")
        pyhot = subprocess.Popen([faults_binary, "attach", str(target.pid), "mod"],
                                 env=dict(os.environ, PYHOT_FAULT="unwound:1:%d" % signal.SIGSTOP),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
        harness.wait_for(lambda: harness.proc_status(pyhot.pid)["State"][0] == "T", "pyhot stopped")
        main = harness.proc_status(target.pid, target.pid)
        assert main["State"][0] == "t" and int(main["TracerPid"]) == pyhot.pid
        os.kill(target.pid, signal.SIGUSR1)
        harness.wait_for(lambda: int(harness.proc_status(target.pid)["ShdPnd"], 16) == 0, "taken")
        pyhot.send_signal(signal.SIGCONT)
        _, errors = pyhot.communicate(timeout=harness.DEADLINE)
        assert pyhot.returncode == 0, errors
        harness.wait_for(lambda: os.path.isdir(target.path("arrived%d" % number)),
                         "the handler has run", 10)


COLLECTING = """
import gc, threading
import mod, probe

class Cycle:
    def __del__(self):
        lasts.wait()

lasts, begun = threading.Event(), threading.Event()

def collect():
    cycle = Cycle()
    cycle.itself = cycle
    del cycle
    begun.set()
    gc.collect()

probe.ready()
while True:
    threading.Event().wait(0.01)
"""


def test_a_collection_is_waited_for(start, any_python):
    target = start(any_python, {"mod.py": MOD % 1, "app.py": COLLECTING})
    target.exec("threading.Thread(target=collect).start(); begun.wait()")
    target.edit("mod.py", MOD % 2)
    for command in (["attach", target.pid, "mod"], ["list-stale", target.pid, "--objects"]):
        done = harness.run_pyhot(*command, "--timeout=0.5")
        assert done.returncode == 4, done.stdout
        assert done.report["error"]["code"] == "deadline", done.report
    assert target.eval("mod.answer()") == 1
    target.exec("lasts.set()")
    assert target.reload("mod")["modules"][0]["result"] == "reloaded"
    target.check_unharmed()


# pyhot takes the thread that sleeps, which the execve of the main thread ends.
EXECUTES = """
import os, threading, time
import mod
threading.Thread(target=os.read, args=(os.pipe()[0], 1), daemon=True).start()
os.write(int(os.environ['PROBE_OUT']), b'READY\\n')
while not os.path.exists("go"):
    pass
os.execv("/bin/sh", ["sh", "-c", "exit 6"])
"""


def test_execve_ends_the_traced_thread(start, any_python, faults_binary):
    """The kernel holds the execve until the tracer has taken the status of that thread, and with
    it all who would trace: they give up in time."""
    target = start(any_python, {"mod.py": MOD % 1, "app.py": EXECUTES})
    target.edit("mod.py", MOD % 2)
    (sleeper,) = set(harness.proc_threads(target.pid)) - {target.pid}
    # Not the wait for the GIL: a thread in that wakes all the time, and is not taken first.
    call = Path("/proc/%d/task/%d/syscall" % (target.pid, sleeper))
    harness.wait_for(lambda: call.read_text().split()[0] == "0", "asleep in read")
    pyhot = subprocess.Popen([faults_binary, "attach", str(target.pid), "mod", "--timeout=600"],
                             env=dict(os.environ, PYHOT_FAULT="detaching:1:%d" % signal.SIGSTOP),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    harness.wait_for(lambda: harness.proc_status(pyhot.pid)["State"][0] == "T", "pyhot stopped")
    traced = [tid for tid in harness.proc_threads(target.pid)
              if harness.proc_status(target.pid, tid)["TracerPid"] != "0"]
    if traced != [sleeper]:
        pyhot.kill()  # or the target could not be waited for
    assert traced == [sleeper]
    target.edit("go", "")
    harness.wait_for(lambda: harness.proc_status(target.pid, traced[0])["State"][0] == "Z", "ended")
    other = subprocess.run([faults_binary, "attach", str(target.pid), "mod", "--timeout=2"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True, timeout=harness.DEADLINE)
    assert other.returncode == 4 and "an execve of the process does not" in other.stderr, other
    pyhot.send_signal(signal.SIGCONT)
    try:
        assert target.process.wait(harness.DEADLINE) == 6
        _, errors = pyhot.communicate(timeout=harness.DEADLINE)
    finally:
        pyhot.kill()
    assert pyhot.returncode == 3, errors


def test_execve_before_the_agent_is_loaded(start, any_python, faults_binary):
    target = start(any_python, {"mod.py": MOD % 1, "app.py": EXECUTES.replace(
        '"sh", "-c", "exit 6"', '"sh", "-c", "sleep 1000; exit"')})
    target.edit("mod.py", MOD % 2)
    pyhot = subprocess.Popen([faults_binary, "attach", str(target.pid), "mod", "--timeout=600"],
                             env=dict(os.environ, PYHOT_FAULT="filled:1:%d" % signal.SIGSTOP),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    try:
        harness.wait_for(lambda: harness.proc_status(pyhot.pid)["State"][0] == "T", "pyhot stopped")
        target.edit("go", "")
        harness.wait_for(lambda: harness.proc_status(target.pid)["Name"] == "sh", "the execve")
        pyhot.send_signal(signal.SIGCONT)
        _, errors = pyhot.communicate(timeout=harness.DEADLINE)
    finally:
        pyhot.kill()
    assert pyhot.returncode == 3 and "ended before the agent could run" in errors, errors


def test_execve_while_it_is_changed(start, any_python):
    """The pipe tells nothing: a child of the target keeps it open."""
    target = start(any_python, {"mod.py": MOD % 1,
                                "app.py": EXECUTES.replace("pass", "time.sleep(0.01)")})
    target.edit("mod.py", MOD % 2 + """
import os, time
def __pyhot_after__(old):
    if os.fork() == 0:
        time.sleep(1000)
    os.execv("/bin/sleep", ["sleep", "1000"])
""")
    done = target.attach("mod", "--timeout=1", json_report=False)
    assert done.returncode == 3, done
    assert "executed another program (execve) while it was being changed" in done.stderr, done


@pytest.mark.parametrize("place", ["stopped", "unwound", "detaching"])
def test_ctrl_z(start, any_python, faults_binary, place):
    """pyhot stops when it has let go of the thread that it had stopped."""
    target = start(any_python, {"mod.py": MOD % 1, "app.py": EXECUTES})
    target.edit("mod.py", MOD % 2)
    # Who is alone in its session is not stopped by the terminal: see setpgid(2), "orphaned".
    pyhot = subprocess.Popen([faults_binary, "attach", str(target.pid), "mod", "--timeout=600"],
                             env=dict(os.environ, PYHOT_FAULT="%s:1:%d" % (place, signal.SIGTSTP)),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True,
                             preexec_fn=lambda: os.setpgid(0, 0))
    try:
        harness.wait_for(lambda: harness.proc_status(pyhot.pid)["State"][0] == "T", "pyhot stopped")
        for tid in harness.proc_threads(target.pid):
            assert harness.proc_status(target.pid, tid)["TracerPid"] == "0"
        pyhot.send_signal(signal.SIGCONT)
        _, errors = pyhot.communicate(timeout=harness.DEADLINE)
    finally:
        pyhot.kill()
    assert pyhot.returncode == 0, errors
    target.check_unharmed()


def test_a_hook_that_does_not_end(start, any_python):
    target = start(any_python, {"mod.py": MOD % 1,
                                "app.py": "import time\nimport mod, probe\nprobe.ready()\n"
                                          "while True:\n    time.sleep(0.1)\n"})
    target.edit("mod.py", MOD % 2 + """
import os, time
def __pyhot_after__(old):
    while not os.path.exists("go"):
        time.sleep(0.01)
""")
    done = target.attach("mod", "--timeout=0.5")
    assert done.returncode == 7, done
    assert done.report["error"]["code"] == "not-finished", done.report
    done = target.attach("mod", "--timeout=0.5")
    assert done.returncode == 4 and "unchanged" in done.report["error"]["message"], done.report
    target.edit("go", "")
    target.wait_eval("mod.answer() == 2")
    target.check_unharmed()


VFORK = r"""
#include <unistd.h>
void vfork_and_wait(const char *path)
{
    if (vfork() == 0) {
        while (access(path, F_OK))
            usleep(10000);
        _exit(0);
    }
}
"""


def test_vfork(start, any_python, tmp_path):
    """The parent cannot be stopped; the child is in the memory of the parent."""
    (tmp_path / "vfork.c").write_text(VFORK)
    library = tmp_path / "vfork.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "vfork.c"], check=True)
    target = start(any_python, {
        "mod.py": MOD % 1,
        "app.py": "import ctypes, os, time\nimport mod\n"
                  "library = ctypes.CDLL(%r)\n"
                  "os.write(int(os.environ['PROBE_OUT']), b'READY\\n')\n"
                  "library.vfork_and_wait(b'go')\nos.mkdir('woke')\ntime.sleep(1000)\n"
                  % str(library)})
    harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "D", "the vfork")
    child = int(Path("/proc/%d/task/%d/children" % (target.pid, target.pid)).read_text())
    target.edit("mod.py", MOD % 2)
    done = harness.run_pyhot("attach", child, "mod")
    assert done.returncode == 3 and done.report["error"]["code"] == "shares-memory", done.report
    done = target.attach("mod", "--tree", "--timeout=0.5", json_report=False)
    assert done.returncode == 4 and "uninterruptible wait" in done.stderr, done
    assert str(child) not in done.stderr, done
    target.edit("go", "")
    harness.wait_for(lambda: os.path.isdir(target.path("woke")), "the vfork has ended")
    assert target.reload("mod")["modules"][0]["result"] == "reloaded"


def test_watch_lets_a_thread_go_late(start, any_python, tmp_path, faults_binary):
    """It has been seized when it begins to wait uninterruptibly, and pyhot lives on."""
    (tmp_path / "vfork.c").write_text(VFORK)
    library = tmp_path / "vfork.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "vfork.c"], check=True)
    target = start(any_python, {
        "mod.py": MOD % 1,
        "app.py": "import ctypes, os\nimport mod\nlibrary = ctypes.CDLL(%r)\n"
                  "os.write(int(os.environ['PROBE_OUT']), b'READY\\n')\n"
                  "for step in 'first', 'second':\n"  # the first answers wait_ready
                  "    assert os.read(int(os.environ['PROBE_IN']), 1)\n"
                  "library.vfork_and_wait(b'go')\nos.mkdir('woke')\n"
                  "os.read(int(os.environ['PROBE_IN']), 1)\n" % str(library)})
    watcher = subprocess.Popen([faults_binary, "watch", str(target.pid), "mod", "--timeout=0.5"],
                               preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK,
                                                                         {signal.SIGCHLD}),
                               env=dict(os.environ, PYHOT_FAULT="seized:2:%d" % signal.SIGSTOP),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        assert watcher.stdout.readline().startswith("watching 1 module")
        target.edit("mod.py", MOD % 2)
        harness.wait_for(lambda: harness.proc_status(watcher.pid)["State"][0] == "T", "seized")
        os.write(target._ask, b"!")
        harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "D", "the vfork")
        watcher.send_signal(signal.SIGCONT)
        assert "did not stop in time" in watcher.stderr.readline()
        target.edit("go", "")
        harness.wait_for(lambda: os.path.isdir(target.path("woke")), "it goes on")
        harness.wait_for(lambda: harness.proc_status(target.pid)["TracerPid"] == "0", "let go")
        assert watcher.poll() is None
        target.edit("mod.py", MOD % 3)
        assert watcher.stdout.readline().startswith("mod reloaded")
    finally:
        watcher.kill()
        watcher.communicate()
    target.check_unharmed()


def test_a_signal_that_waits_for_pyhot_itself(start, any_python):
    """SIGRTMIN, of which it makes use, came between fork and exec."""
    target = start(any_python, {"mod.py": MOD % 1, "app.py": "import mod, probe, time\n"
                                "probe.ready()\ntime.sleep(1000)\n"})

    def block_and_send():
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for number in signal.SIGRTMIN, signal.SIGRTMIN, signal.SIGCHLD:
            os.kill(os.getpid(), number)

    target.edit("mod.py", MOD % 2)
    target.reload("mod", preexec_fn=block_and_send)
    assert target.eval("mod.answer()") == 2


# `depth` bytes of 16 KB are in use; below a stack of the program's own choice is data of its.
SMALL_STACKS = r"""
#include <alloca.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
enum { SIZE = 16384, BELOW = 65536 };
static char *below;
static volatile int started;
static void *wait_deep(void *depth)
{
    char *room = alloca((size_t)depth);
    __asm__ volatile("" : : "r"(room) : "memory");
    started = 1;
    for (;;)
        pause();
}
int start(size_t depth, int own)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (own) {
        char *memory = mmap(0, BELOW + SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
        memset(memory, 0x5a, BELOW);
        pthread_attr_setstack(&attributes, memory + BELOW, SIZE);
        below = below ? below : memory;
    } else {
        pthread_attr_setstacksize(&attributes, SIZE);
    }
    started = 0;
    if (pthread_create(&thread, &attributes, wait_deep, (void *)depth))
        return -1;
    while (!started)
        usleep(1000);
    return 0;
}
int is_intact(void)
{
    for (int i = 0; i < BELOW; i++)
        if (below[i] != 0x5a)
            return 0;
    return 1;
}
"""


@pytest.mark.parametrize("own", [0, 1])
def test_stacks_without_room(start, any_python, tmp_path, own):
    """The threads that sleep have stacks too small for a call."""
    (tmp_path / "stacks.c").write_text(SMALL_STACKS)
    library = tmp_path / "stacks.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "stacks.c"], check=True)
    target = start(any_python, {
        "mod.py": MOD % 1,
        "app.py": "import ctypes\nimport mod, probe\nlibrary = ctypes.CDLL(%r)\n"
                  "for depth in [8800] * 16:\n"
                  "    assert library.start(depth, %d) == 0\n"
                  "probe.ready(serve=False)\nwhile True:\n    probe.poll()\n" % (str(library), own)})
    for answer in range(2, 6):
        target.edit("mod.py", MOD % answer)
        assert target.reload("mod")["modules"][0]["result"] == "reloaded"
        assert target.eval("mod.answer()") == answer
    assert not own or target.eval("library.is_intact()")
    target.check_unharmed()


def test_default_stack_is_too_small(start, any_python):
    """On the stack that a new thread gets not even the agent could be loaded."""
    target = start(any_python, {
        "mod.py": MOD % 1,
        "app.py": "import ctypes, time\nimport mod, probe\nlibc = ctypes.CDLL(None)\n"
                  "attributes = ctypes.create_string_buffer(64)\nprobe.ready()\n"
                  "while True:\n    time.sleep(0.01)\n"})
    target.exec("libc.pthread_attr_init(attributes)\n"
                "libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(16384))\n"
                "assert libc.pthread_setattr_default_np(attributes) == 0")
    target.edit("mod.py", MOD % 2)
    for _ in range(2):
        done = target.attach("mod")
        assert done.returncode == 3 and done.report["error"]["code"] == "small-stack", done.report
    target.exec("libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 20))\n"
                "assert libc.pthread_setattr_default_np(attributes) == 0")
    target.reload("mod")
    target.check_unharmed()


def test_deep_in_the_main_stack(start, any_python):
    """The kernel has made the stack just as large as the program needs it, and it is idle."""
    target = start(any_python, {
        "mod.py": MOD % 1,
        "app.py": "import os, time\nimport mod\n\ndef down(n):\n"
                  "    if n:\n        return list(map(down, [n - 1]))\n"
                  "    os.write(int(os.environ['PROBE_OUT']), b'READY\\n')\n"
                  "    time.sleep(1000)\n\ndown(300)\n"})
    target.edit("mod.py", MOD % 2)
    assert target.reload("mod")["modules"][0]["result"] == "reloaded"
    target.check_unharmed()


# All of one heap is taken, in pieces down to 16 bytes, and of the address space a few pages are left.
FILLS_MEMORY = """
import ctypes, os, resource, threading, time
import mod, probe
thread = threading.Thread(target=int)
thread.start()
thread.join()  # the C library keeps its stack
while len(os.listdir("/proc/self/task")) > 1:  # the kernel's part of it ends later
    time.sleep(0.001)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = libc.free.argtypes = [ctypes.c_size_t]
pointer = ctypes.POINTER(ctypes.c_size_t)
size = os.open("/proc/self/statm", os.O_RDONLY)
chain = 0

def limit(pages):
    used = int(os.pread(size, 100, 0).split()[0])
    resource.setrlimit(resource.RLIMIT_AS, ((used + pages) * 4096, -1))

def fill(left):
    global chain
    limit(300)
    piece = 1 << 20
    while piece >= 16:
        address = libc.malloc(piece)
        if address:
            ctypes.cast(address, pointer)[0] = chain
            chain = address
        else:
            piece //= 2
    limit(left)

def empty():
    global chain
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    while chain:
        address, chain = chain, ctypes.cast(chain, pointer)[0]
        libc.free(address)

def wait_for(path):
    while True:
        try:
            os.stat(path)
            return
        except (OSError, MemoryError):
            time.sleep(0.01)

fill(8)
empty()
for left in 4, 8, 16, 32:
    os.mkdir("full%d" % left)
probe.ready(serve=False)
for left in 4, 8, 16, 32:
    while not os.path.exists("fill%d" % left):
        probe.poll()
    full, done = "full%d" % left, "empty%d" % left
    fill(left)
    os.rmdir(full)
    wait_for(done)
    empty()
    os.mkdir("emptied%d" % left)
while True:
    probe.poll()
"""


def test_no_memory_left(start, any_python):
    """Not even for a thread state, without which PyGILState_Ensure ends the process."""
    target = start(any_python, {"mod.py": MOD % 1, "app.py": FILLS_MEMORY},
                   env={"MALLOC_ARENA_MAX": "1"})
    target.edit("mod.py", MOD % 2)
    target.reload("mod")  # the agent is loaded while there is memory
    for answer, left in enumerate((4, 8, 16, 32), 3):
        target.edit("mod.py", MOD % answer)
        target.edit("fill%d" % left, "")
        harness.wait_for(lambda: not os.path.isdir(target.path("full%d" % left)), "it is full")
        done = target.attach("mod")
        assert target.alive(), (left, done, target.describe())
        assert done.returncode in (0, 3, 5), (left, done)  # 5: it says what was left
        target.edit("empty%d" % left, "")
        harness.wait_for(lambda: os.path.isdir(target.path("emptied%d" % left)), "it is empty")
        target.reload("mod", "--force")
        assert target.eval("mod.answer()") == answer
    target.check_unharmed()


SCRIBBLES = """
import os, threading, time
import mod, probe

def scribble():
    begun.set()
    while True:
        for fd in range(3):
            try:
                os.write(fd, b"scribbled over" * 20)
            except OSError:
                pass

for fd in range(3):
    os.close(fd)
begun = threading.Event()
threading.Thread(target=scribble, daemon=True).start()
begun.wait()
probe.ready()
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("via", ["ptrace", "remote-exec"])
def test_a_daemon_writes_to_descriptors_that_it_closed(start, any_python, via):
    """What pyhot opens in it must not become its standard output."""
    able = [python for python in conftest.TARGETS if python.minor >= (3, 14) and not python.debug]
    if via == "remote-exec" and not able:
        pytest.skip("no CPython 3.14 or later on this machine")
    target = start(able[0] if via == "remote-exec" else any_python,
                   {"mod.py": MOD % 1, "app.py": SCRIBBLES})
    for answer in range(2, 8):
        target.edit("mod.py", MOD % answer)
        assert target.reload("mod", "--via=" + via)["modules"][0]["result"] == "reloaded"
        assert target.eval("mod.answer()") == answer
    target.check_unharmed()


# In a pid namespace of its own, where the next number can be chosen.
REUSED = """
import os, signal, subprocess, sys, time
pyhot, python, app, place = sys.argv[1:]

def state(pid):
    with open("/proc/%d/stat" % pid) as stat:
        return stat.read().rpartition(")")[2].split()[0]

def start_target():
    target = subprocess.Popen([python, app], stdout=subprocess.PIPE)
    assert target.stdout.readline() == b"ready\\n"
    return target

first = start_target()
attach = subprocess.Popen([pyhot, "attach", str(first.pid), "mod", "--force"],
                          stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYHOT_FAULT="%s:1:%d" % (place, signal.SIGSTOP)))
while state(attach.pid) != "T":
    time.sleep(0.001)
first.kill()
first.wait()
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(first.pid - 1))
second = start_target()
assert second.pid == first.pid
attach.send_signal(signal.SIGCONT)
said = attach.communicate()[1]
with open("/proc/%d/maps" % second.pid) as maps:
    assert "pyhot" not in maps.read()
assert attach.returncode == 3 and "has ended" in said, (attach.returncode, said)
assert second.poll() is None and state(second.pid) in "SR"
second.kill()
"""


@pytest.mark.parametrize("place", ["looked-at", "seizing"])
def test_number_of_the_process_is_reused(any_python, faults_binary, tmp_path, place):
    """The target ends after pyhot has looked at it, and another Python process gets its number."""
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*namespace, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("may not make a pid namespace")
    (tmp_path / "mod.py").write_text(MOD % 1)
    (tmp_path / "app.py").write_text("import mod, time\nprint('ready', flush=True)\n"
                                     "time.sleep(1000)\n")
    done = subprocess.run([*namespace, "/usr/bin/python3", "-c", REUSED, faults_binary,
                           str(any_python), str(tmp_path / "app.py"), place],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=harness.DEADLINE)
    assert done.returncode == 0, done.stdout
