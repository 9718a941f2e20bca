"""What the tests stand on: the interpreters of this machine, a running target, pyhot itself.

A target is a real process running a program that knows nothing of pyhot.  The only guest in it is
victims/probe.py, a thread that evaluates what a test asks.  Every wait here is for a condition,
with a deadline; every process started here is dead at the end of the test.
"""

import ast
import atexit
import concurrent.futures
import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
REPO = TESTS.parent
VICTIMS = TESTS / "victims"
DEADLINE = 60.0
LONG = "PYHOT_LONG" in os.environ  # make long

# A shell ignores it in what it runs in the background, and so would all that is started here.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SUPPORTED = [(3, minor) for minor in range(8, 16)]


# ---- Interpreters ----

_QUESTION = r"""
import json, os, sys
try:
    import sysconfig
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
except ImportError:
    free = False
with open("/proc/self/maps") as maps:
    shared = "/libpython" in maps.read()
print(json.dumps({
    "executable": os.path.realpath(sys.executable),
    "version": list(sys.version_info[:3]),
    "level": sys.version_info[3],
    "implementation": getattr(getattr(sys, "implementation", None), "name", "cpython"),
    "debug": hasattr(sys, "gettotalrefcount"),
    "free_threaded": free,
    "shared": shared,
}))
"""


class Interpreter:
    """One interpreter found on the machine.  `str()` of it is the path to start it by."""

    def __init__(self, start_by, answer, root=""):
        self.path = start_by
        self.root = root  # of its file system; "": ours
        self.executable = answer["executable"]
        self.version = tuple(answer["version"])
        self.level = answer["level"]
        self.implementation = answer["implementation"]
        self.debug = answer["debug"]
        self.free_threaded = answer["free_threaded"]
        self.shared = answer["shared"]

    def __str__(self):
        return self.path

    __fspath__ = __str__

    def __repr__(self):
        return "<%s %s>" % (self.id, self.path)

    @property
    def minor(self):
        return self.version[:2]

    @property
    def is_target(self):
        """Does pyhot promise to work on it?"""
        return (self.implementation == "cpython" and self.minor in SUPPORTED
                and not self.free_threaded)

    @property
    def id(self):
        kinds = [kind for kind, yes in (("debug", self.debug),
                                        ("free-threaded", self.free_threaded),
                                        ("static", not self.shared and not self.debug)) if yes]
        version = ".".join(map(str, self.version))
        if self.implementation != "cpython":
            version = self.implementation + version
        return "-".join([version] + kinds)


_NAME = re.compile(r"(python|pypy)(\d(\.\d+)?)?(d|t|td)?$")


def _candidates():
    home = os.path.expanduser("~")
    directories = os.environ.get("PATH", "").split(":") + [
        "/usr/bin", "/usr/local/bin",
        *glob.glob("/opt/*/bin"), *glob.glob("/opt/*/*/bin"), *glob.glob("/usr/local/*/bin"),
        *glob.glob(home + "/.pyenv/versions/*/bin"),
        *glob.glob(home + "/.local/share/uv/python/*/bin"),
    ]
    seen = set()
    for directory in directories:
        try:
            files = sorted(os.listdir(directory or "."))
        except OSError:
            continue
        for file in files:
            path = os.path.realpath(os.path.join(directory, file))
            if _NAME.match(file) and path not in seen and os.access(path, os.X_OK):
                seen.add(path)
                yield path


def other_root():
    """The root that scripts/pythons makes."""
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    return os.path.join(cache, "pyhot", "sid")


def _candidates_in_root():
    """Interpreters in that root: each gets a script that starts it there, so that everybody can
    start it by a path."""
    root = other_root()
    if os.geteuid() != 0 or not os.path.exists(os.path.join(root, ".complete")):
        return
    folders = [tempfile.gettempdir(), str(REPO), os.path.dirname(agent_path()),
               os.environ.get("PYHOT_ZOO") or str(REPO.parent / "shared")]
    folders = set(folders) | set(map(os.path.realpath, folders))
    folders = ":".join(sorted(filter(os.path.isdir, folders)))
    scripts = tempfile.mkdtemp(prefix="pyhot-root-")
    atexit.register(shutil.rmtree, scripts, ignore_errors=True)
    for path in sorted(glob.glob(root + "/usr/bin/python3.[0-9]*")):
        if _NAME.match(os.path.basename(path)):
            script = os.path.join(scripts, os.path.basename(path))
            with open(script, "w") as file:
                file.write("#!/bin/sh\nexec %s %s %s /usr/bin/%s \"$@\"\n"
                           % (TESTS / "enter-root", root, folders, os.path.basename(path)))
            os.chmod(script, 0o755)
            yield script


def _ask(path, root=""):
    try:
        done = subprocess.run([path, "-c", _QUESTION], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30,
                              env=clean_environment())
        answer = json.loads(done.stdout.decode())
        return Interpreter(path if root else answer["executable"], answer, root)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None  # a wrapper without an interpreter behind it, for instance pyenv's shims


def find_interpreters():
    """Every Python of this machine, each once, in the order of versions."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = {}
        answers = [pool.submit(_ask, path) for path in _candidates()]
        answers += [pool.submit(_ask, path, other_root()) for path in _candidates_in_root()]
        for answer in answers:
            interpreter = answer.result()
            if interpreter is not None:
                found.setdefault(interpreter.path, interpreter)
    return sorted(found.values(), key=lambda i: (i.version, i.debug, i.path))


def clean_environment(**more):
    """This environment without what would change an interpreter's behaviour."""
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(("PYTHON", "PYENV", "VIRTUAL_ENV", "LD_"))}
    environment.update(more)
    return environment


# ---- Waiting ----

def wait_for(condition, what, deadline=DEADLINE):
    """Calls `condition` until its result is true, and returns that.  `what` says what was
    waited for: a text, or a function that makes one when it is needed."""
    end = time.monotonic() + deadline
    pause = 0.0005
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain: %s"
                                 % (deadline, what() if callable(what) else what))
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


# ---- What the kernel says of a process ----

def proc_status(pid, tid=None):
    """/proc/PID/status (of one thread) as a dict."""
    path = "/proc/%d/status" % pid if tid is None else "/proc/%d/task/%d/status" % (pid, tid)
    fields = {}
    with open(path) as file:
        for line in file:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields


def proc_threads(pid):
    return sorted(map(int, os.listdir("/proc/%d/task" % pid)))


def proc_descriptors(pid):
    """{number: what it is}, of those that stay open while we look."""
    result = {}
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            result[int(fd)] = os.readlink("/proc/%d/fd/%s" % (pid, fd))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return result


def proc_maps(pid):
    """List of (bytes, permissions, name)."""
    result = []
    with open("/proc/%d/maps" % pid) as file:
        for line in file:
            fields = line.split(None, 5)
            low, high = (int(half, 16) for half in fields[0].split("-"))
            result.append((high - low, fields[1], fields[5].strip() if len(fields) > 5 else ""))
    return result


class Snapshot:
    """All that an attach must leave as it was."""

    SIGNALS = ("SigBlk", "SigIgn", "SigCgt")
    # 32 and 33 are glibc's own: it takes their handlers when a process makes its first thread.
    OF_GLIBC = 1 << 31 | 1 << 32

    def __init__(self, pid):
        self.threads = proc_threads(pid)
        self.signals = {}
        for tid in self.threads:
            try:
                status = proc_status(pid, tid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            self.signals[tid] = {key: "%016x" % (int(status[key], 16) & ~self.OF_GLIBC)
                                 for key in self.SIGNALS}
        self.descriptors = proc_descriptors(pid)
        self.maps = proc_maps(pid)

    def files_mapped(self):
        return {name for _, _, name in self.maps if name and not name.startswith("[")}


# ---- pyhot ----

refusals = []  # what pyhot said in the test at hand, for docs/support.md


def pyhot_path():
    return os.environ.get("PYHOT", str(REPO / "build" / "pyhot"))


def agent_path():
    return os.environ.get("PYHOT_AGENT", str(REPO / "build" / "pyhot.so"))


def may_trace_anything():
    if os.geteuid() == 0:
        return True
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            return file.read().strip() == "0"
    except OSError:
        return True


def pyhot_command():
    """pyhot as this user may use it on a process that is not its child."""
    return [pyhot_path()] if may_trace_anything() else ["sudo", "-n", pyhot_path()]


def run_pyhot(*arguments, json_report=True, timeout=DEADLINE, **options):
    """Runs pyhot to its end.  The result has `report`, the parsed JSON (None without --json)."""
    command = pyhot_command() + [str(argument) for argument in arguments]
    if json_report:
        command.append("--json")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout, text=True, **options)
    done.report = parse_report(done) if json_report else None
    if json_report and done.returncode in (3, 4) and "error" in done.report:
        refusals.append("%(code)s: %(message)s" % done.report["error"])
    return done


def parse_report(done):
    """The one JSON object that a finished pyhot wrote."""
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise AssertionError("%s: stdout is not one JSON object (%s)\nexit %d\n%s\n%s"
                             % (done.args, error, done.returncode, done.stdout, done.stderr))


# ---- Targets ----

class Died(AssertionError):
    """The target ended while somebody expected it to live."""


class Target:
    """A process under test.

    files     {relative path: text}, written to a directory of its own, which is the working
              directory and in sys.path; `probe` can be imported there.
    command   what follows the interpreter, e.g. ["app.py"] or ["-m", "shop"].
    paths     more directories for sys.path.
    ready     wait for the program's `probe.ready()` (or its own b"READY\\n" on the descriptor
              number in $PROBE_OUT).
    """

    def __init__(self, python, directory, files, command=("app.py",), env=None, ready=True,
                 paths=()):
        self.python = python
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._mtime = int(time.time()) - 3600
        for name, text in files.items():
            self.edit(name, text)
        ask_read, self._ask = os.pipe()
        self._answer, answer_write = os.pipe()
        self._buffer = b""
        environment = clean_environment(
            PYTHONPATH=":".join(map(str, [self.directory, VICTIMS, *paths])), PYTHONHASHSEED="0",
            PROBE_IN=str(ask_read), PROBE_OUT=str(answer_write), **(env or {}))
        self.stderr_path = self.directory / "stderr.txt"
        self.stdout_path = self.directory / "stdout.txt"
        with open(self.stderr_path, "wb") as stderr, open(self.stdout_path, "wb") as stdout:
            self.process = subprocess.Popen(
                [str(python), *command], cwd=self.directory, env=environment,
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                pass_fds=(ask_read, answer_write), start_new_session=True)
        os.close(ask_read)
        os.close(answer_write)
        self.pid = self.process.pid
        self.before = None
        if ready:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()
                raise

    # Talking to it.

    def wait_ready(self):
        """Waits for one READY; what the target is then is what check_unharmed compares with."""
        line = self._read_line()
        assert line == b"READY", line
        self.snapshot()
        os.write(self._ask, b"\n")

    def _read_line(self, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([self._answer], [], [],
                                           max(0, end - time.monotonic()))
            if not readable:
                raise AssertionError("target %d said nothing for %g s\n%s"
                                     % (self.pid, deadline, self.describe()))
            chunk = os.read(self._answer, 65536)
            if not chunk:
                self.process.wait(DEADLINE)
                raise Died("target %d ended\n%s" % (self.pid, self.describe()))
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def post(self, statements, module="__main__"):
        """As exec, for the last words to a target that may end before it answers."""
        self._ask_for("exec", statements, module)

    def _ask_for(self, kind, text, module):
        line = json.dumps({"kind": kind, "text": text, "module": module}) + "\n"
        os.write(self._ask, line.encode())

    def _request(self, kind, text, module, deadline=DEADLINE):
        try:
            self._ask_for(kind, text, module)
        except BrokenPipeError:
            self.process.wait(DEADLINE)
            raise Died("target %d ended\n%s" % (self.pid, self.describe()))
        answer = json.loads(self._read_line(deadline).decode())
        if "error" in answer:
            raise AssertionError("in the target: %s\n%s" % (text, answer["error"]))
        return answer["value"]

    def eval(self, expression, module="__main__", deadline=DEADLINE):
        """The value of an expression in the target, which must be made of literals."""
        value = self._request("eval", expression, module, deadline)
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise AssertionError("%s is no literal: %s" % (expression, value))

    def exec(self, statements, module="__main__", deadline=DEADLINE):
        self._request("exec", statements, module, deadline)

    def wait_eval(self, expression, module="__main__"):
        """Waits until an expression in the target is true."""
        return wait_for(lambda: self.eval(expression, module), expression)

    # Its source.

    def edit(self, name, text):
        """Writes a source file so that no cache of byte code takes it for the earlier one."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size == len(text.encode()):
            text += "\n"
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(text)
        self._mtime += 60
        os.utime(temporary, (self._mtime, self._mtime))
        temporary.replace(path)

    def path(self, name):
        return str(self.directory / name)

    # pyhot on it.

    def attach(self, *arguments, **options):
        return run_pyhot("attach", self.pid, *arguments, **options)

    def reload(self, *arguments, **options):
        """An attach that must succeed; its report."""
        done = self.attach(*arguments, **options)
        assert done.returncode == 0, "exit %d\n%s\n%s\n%s" % (
            done.returncode, done.stdout, done.stderr, self.describe())
        return done.report

    # The oracle: is it as it was?

    def snapshot(self):
        """What check_unharmed compares with; taken at READY, to be taken anew by tests whose
        program opens files or starts threads of its own afterwards."""
        self.before = Snapshot(self.pid)
        return self.before

    def alive(self):
        return self.process.poll() is None

    def check_unharmed(self, threads=True, descriptors=True, signals=True, deadline=DEADLINE):
        """Asserts that nothing is left of an attach but the agent's own mapping.  False for
        `threads`, `descriptors` or `signals`: the program itself changes those all the time."""
        assert self.alive(), "the target died: %s" % self.describe()
        status = proc_status(self.pid)
        assert status["State"][0] not in "Tt", status["State"]
        assert status["TracerPid"] == "0", status["TracerPid"]
        before = self.before
        if threads:
            wait_for(lambda: proc_threads(self.pid) == before.threads,
                     lambda: "threads %s as before, now %s"
                     % (before.threads, proc_threads(self.pid)), deadline)
        if descriptors:
            wait_for(lambda: proc_descriptors(self.pid) == before.descriptors,
                     lambda: "descriptors %s as before, now %s"
                     % (before.descriptors, proc_descriptors(self.pid)), deadline)
        # A program may change its masks at any time; only a lasting difference is ours.
        if signals:
            wait_for(lambda: self._signals_differ() is None,
                     lambda: "signal masks and handlers as before: %s" % self._signals_differ(),
                     deadline)
        wait_for(lambda: not self._mappings_left(),
                 lambda: "mappings left: %s" % self._mappings_left(), deadline)

    def _mappings_left(self):
        after = Snapshot(self.pid)
        added = after.files_mapped() - self.before.files_mapped()
        left = {name for name in added if not name.startswith("/memfd:pyhot")
                and str(self.directory) not in name}
        for _, permissions, name in set(after.maps) - set(self.before.maps):
            if permissions.startswith("rwx") or name.startswith("/memfd:pyhot") \
                    and permissions.endswith("s"):
                left.add("%s %s" % (permissions, name))
        return left

    def _signals_differ(self):
        now = Snapshot(self.pid).signals
        for tid, fields in self.before.signals.items():
            if tid in now and now[tid] != fields:
                return "thread %d: %s, was %s" % (tid, now[tid], fields)
        return None

    # Its end.

    def describe(self):
        parts = ["returncode %s" % self.process.poll()]
        for path in (self.stdout_path, self.stderr_path):
            parts.append("--- %s\n%s" % (path.name, path.read_text(errors="replace")[-4000:]))
        return "\n".join(parts)

    def finish(self, signal_number=signal.SIGTERM, deadline=DEADLINE):
        """Ends it and returns its status."""
        self.process.send_signal(signal_number)
        return self.process.wait(deadline)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(DEADLINE)
        for fd in (self._ask, self._answer):
            try:
                os.close(fd)
            except OSError:
                pass
        self._ask = self._answer = -1


# ---- In-process tests ----

def run_script(python, text, directory, *arguments, env=None, timeout=60, status=0):
    """Runs a script that may `import pyhot`; returns its output.  Fails unless it ends with
    `status`, and then shows what it said and, if it crashed, where."""
    script = Path(directory) / "script.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text)
    environment = clean_environment(
        PYTHONPATH="%s:%s" % (os.path.dirname(agent_path()), directory), **(env or {}))
    done = subprocess.run([str(python), "-X", "faulthandler", str(script), *arguments],
                          cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", timeout=timeout)
    assert done.returncode == status, "%s: exit %d\n--- stdout\n%s\n--- stderr\n%s" % (
        getattr(python, "id", python), done.returncode, done.stdout[-8000:], done.stderr[-8000:])
    return done.stdout
