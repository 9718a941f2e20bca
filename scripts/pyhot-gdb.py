"""pyhot inside gdb: reload modules of the Python process that is being debugged.

Only one tracer can hold a process, so here gdb is pyhot's hands: the pyhot binary, run with
--debugger, does all that it does elsewhere and asks gdb for registers, for calls of functions and
for letting the process run (injector/debugger.h has the lines).  This file decides nothing but
how to ask gdb for that.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading

import gdb

REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags "
             "rsp ss fs_base gs_base ds es fs gs").split()  # struct user_regs_struct, x86_64
WORD = (1 << 64) - 1


def pyhot_path():
    """$PYHOT, else the pyhot that this file was installed or built with, else that of $PATH."""
    # gdb's "source" sets no __file__ before gdb 14.
    here = os.path.dirname(os.path.realpath(pyhot_path.__code__.co_filename))
    for path in (os.environ.get("PYHOT"), os.path.join(here, "../../bin/pyhot"),
                 os.path.join(here, "../build/pyhot"), shutil.which("pyhot")):
        if path and os.access(path, os.X_OK):
            return os.path.realpath(path)
    raise gdb.GdbError("pyhot: the program pyhot is not installed; name it in $PYHOT")


# ---- Asking gdb ----

@contextlib.contextmanager
def settings(**wanted):
    """Parameters of gdb set for a while; "_" in a name stands for "-", "__" for a space."""
    before = {}
    for key, value in wanted.items():
        name = key.replace("__", " ").replace("_", "-")
        old = gdb.parameter(name)
        before[name] = {True: "on", False: "off"}.get(old, old)
        gdb.execute("set %s %s" % (name, value), to_string=True)
    try:
        yield
    finally:
        for name, value in before.items():
            with contextlib.suppress(gdb.error):  # some cannot be set when the process has ended
                gdb.execute("set %s %s" % (name, value), to_string=True)


@contextlib.contextmanager
def user_breakpoints_off():
    """One that stopped a call of ours would leave the thread in the middle of it."""
    enabled = [breakpoint for breakpoint in gdb.breakpoints()
               if breakpoint.enabled and not isinstance(breakpoint, Place)]
    for breakpoint in enabled:
        breakpoint.enabled = False
    try:
        yield
    finally:
        for breakpoint in enabled:
            if breakpoint.is_valid():
                breakpoint.enabled = True


@contextlib.contextmanager
def selection():
    """Puts the selected thread back, and the frame if the thread has not run."""
    thread = gdb.selected_thread()
    frame = gdb.selected_frame()
    try:
        yield
    finally:
        if thread.is_valid():
            thread.switch()
            if frame.is_valid():
                frame.select()


@contextlib.contextmanager
def selected_thread():
    """Puts it back, and its frame only as gdb does: it may be running."""
    thread = gdb.selected_thread()
    try:
        yield
    finally:
        if thread and thread.is_valid():
            thread.switch()


def thread_of(tid):
    for thread in gdb.selected_inferior().threads():
        if thread.ptid[1] == tid:
            return thread
    return None


def newest_thread():
    return max(gdb.selected_inferior().threads(), key=lambda thread: thread.num)


class Place(gdb.Breakpoint):
    """A stop of ours: in the program's code by a debug register, so that no byte of it is changed;
    in our own code, which nobody else runs, by an instruction, as debug registers are few."""

    def __init__(self, address, thread=None):
        kind = gdb.BP_BREAKPOINT if thread is None else gdb.BP_HARDWARE_BREAKPOINT
        super().__init__("*%#x" % address, kind, internal=True)
        self.silent = True
        if thread is not None:
            self.thread = thread.num
        self.hit = False

    def stop(self):
        self.hit = True
        return True


class Stops:
    """What ended a run of the process."""

    def __enter__(self):
        self.interrupted = self.exited = False
        gdb.events.stop.connect(self._stopped)
        gdb.events.exited.connect(self._ended)
        return self

    def __exit__(self, *_):
        gdb.events.stop.disconnect(self._stopped)
        gdb.events.exited.disconnect(self._ended)

    def _stopped(self, event):
        self.interrupted = getattr(event, "stop_signal", None) == "SIGINT"

    def _ended(self, _):
        self.exited = True


def run_until(place, alone=None):
    """Lets all threads run, or one.  What stopped them, if it was not `place`, has been shown."""
    if alone:
        alone.switch()
    # A gdb that follows a child leaves the parent to itself.
    with Stops() as stops, settings(scheduler_locking="on" if alone else "off",
                                    follow_fork_mode="parent"):
        try:
            shown = resume("continue")
        finally:
            hit = place.hit
            place.delete()
    if not hit:
        gdb.write(shown)
    return hit, stops


LATE = []  # not empty: what runs was not asked for by a command that runs


def told_late(function):
    """For what happens when no command runs: gdb would show an error as a Python one."""
    LATE.append(function)
    try:
        function()
    except gdb.GdbError as error:
        gdb.write("%s\n" % error, gdb.STDERR)
    finally:
        LATE.pop()


def machine_interface():
    """The name of the one that gdb was started with; None: its user types."""
    with open("/proc/self/cmdline", errors="replace") as file:
        words = iter(file.read().split("\0"))
    for word in words:
        option, equals, value = word.partition("=")
        if option == "--args":
            break
        if option.startswith("-") and "interpreter".startswith(option.lstrip("-") or "-"):
            name = value if equals else next(words, "")
            return name if name.startswith("mi") else None
    return None


def resume(command):
    """Executes a command that lets threads run; what it printed.

    Where that is said in the machine interface stands the token of the command that runs.  When
    none does, gdb 14 to 16 take what was in their memory for it (mi_interp::current_token,
    gdb/mi/mi-interp.h) and crash; so one runs then."""
    name = machine_interface() if LATE else None
    if name:
        command = 'interpreter-exec %s "-interpreter-exec console \\"%s\\""' % (name, command)
    return gdb.execute(command, to_string=True)


# ---- The pyhot that we work for ----

class Job:
    """One run of the pyhot binary."""

    def __init__(self, arguments, tid, variable, here=False):
        requests, requests_end = os.pipe()
        answers_end, answers = os.pipe()
        self.variable = variable
        self.background = False
        self.alone = None  # (our thread that runs alone, the one that lends the GIL, its place)
        self.status = None  # told by pyhot: gdb waits for all its children, and may reap this one
        self.printed = None  # (stdout, stderr)
        self.users = set()  # numbers of threads that came to a stop of gdb's user while we asked
        self.served = threading.Event()
        self.lock = threading.Lock()
        option = "%d,%d,%d%s" % (requests_end, answers_end, tid, ",here" if here else "")
        self.process = subprocess.Popen(
            [pyhot_path(), "--debugger", option] + arguments, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
            pass_fds=(requests_end, answers_end), start_new_session=True)
        os.close(requests_end)
        os.close(answers_end)
        self.requests = os.fdopen(requests, "r")
        self.answers = os.fdopen(answers, "w")
        self.reader = threading.Thread(target=self._read, daemon=True)
        with signals_blocked():  # they are gdb's
            self.reader.start()

    def _read(self):
        printed = self.process.communicate()
        self.served.wait()
        self._answer_until("exit")
        self.requests.close()
        with self.lock:
            self.printed = printed
            if self.background:
                gdb.post_event(lambda: told_late(self.report))

    def cancel(self):
        self.process.send_signal(signal.SIGINT)

    def wait(self, seconds=None):
        """True when it has ended."""
        self.reader.join(seconds)
        return not self.reader.is_alive()

    def leave_to_background(self):
        """The report comes when gdb's user has continued and the job is done."""
        with self.lock:
            self.background = True
            if self.printed:
                gdb.post_event(lambda: told_late(self.report))

    def report(self):
        """Prints what pyhot printed.  Its failures are gdb errors."""
        output, errors = self.printed
        status = self.status
        if status is None:
            raise gdb.GdbError(errors + "pyhot: it was killed")
        gdb.set_convenience_variable("pyhot_exit", status)
        if self.variable:
            gdb.set_convenience_variable(self.variable, output)
        else:
            gdb.write(output)
        if status in (0, 5, 6):
            gdb.write(errors, gdb.STDERR)
        else:
            raise gdb.GdbError(errors.rstrip("\n") or "pyhot: exit status %d" % status)

    def end(self):
        self.served.set()
        with contextlib.suppress(BrokenPipeError):
            self.answers.close()

    # What it asks for.

    def serve(self):
        """Answers until it says that its thread runs, and returns where that will end; None if it
        ended before."""
        try:
            end = self._answer_until("run", "alone")
        finally:
            self.served.set()
        return end and int(end, 16)

    def _answer_until(self, *last):
        """What one of the requests `last` says; None: it ended."""
        for line in self.requests:
            kind, *words = line.rstrip("\n").split(" ")
            if kind == "exit":
                self.status = int(words[0])
            if kind == "alone":
                self.alone = (newest_thread(), thread_of(int(words[1])), int(words[2], 16))
            if kind in last:
                return words[0]
            if kind == "back":
                with user_breakpoints_off():
                    run_until(Place(int(words[1], 16), thread_of(int(words[0]))),
                              thread_of(int(words[0])))
            elif kind != "exit":
                print(getattr(self, "_" + kind)(*words), file=self.answers, flush=True)
        return None

    def _registers(self, tid):
        thread = thread_of(int(tid))
        if not thread:
            return "gone"
        if thread.is_running():
            return "running"
        with selection():
            thread.switch()
            frame = gdb.newest_frame()
            return " ".join("%x" % (int(frame.read_register(name)) & WORD) for name in REGISTERS)

    def _call(self, tid, function, *arguments):
        expression = "((unsigned long (*)()) %sUL)(%s)" % (
            function, ", ".join("%#xUL" % (int(text, 0) & WORD) for text in arguments))
        # In non-stop mode no other thread runs in a call anyway, but in gdb 16 the lock holds our
        # new thread too, for good.
        locking = "off" if gdb.parameter("non-stop") else "on"
        try:
            with selection(), user_breakpoints_off(), settings(
                    scheduler_locking=locking, unwindonsignal="on", language="c",
                    print__thread_events="off"):
                thread_of(int(tid)).switch()
                gdb.newest_frame().select()
                return "%#x" % (int(gdb.parse_and_eval(expression)) & WORD)
        except gdb.error as error:
            return "failed " + str(error).replace("\n", " ")

    def _enter(self, tid, function, sp, first, second, place):
        thread = thread_of(int(tid))
        with selection(), user_breakpoints_off(), settings(print__thread_events="off"):
            thread.switch()
            for register, value in (("rip", function), ("rdi", first), ("rsi", second), ("rsp", sp)):
                gdb.newest_frame().select()  # anew: another stack is that of other frames
                gdb.execute("set $%s = %s" % (register, value), to_string=True)
            hit, _ = run_until(Place(int(place, 16)), thread)
        return "there" if hit else "failed something else stopped it"

    def _advance(self, tid, address, *why):
        thread = thread_of(int(tid))
        gdb.write("pyhot: thread %d is in %s: it goes on until it is out of there\n"
                  % (thread.num, " ".join(why)))
        place = Place(int(address, 16), thread)
        if not gdb.parameter("non-stop"):
            hit, _ = run_until(place)
            return "there" if hit else "failed something else stopped it"
        # It runs alone, and may wait for what another has.
        with selected_thread(), alarm(ADVANCE_SECONDS, lambda: interrupt(thread)) as over:
            thread.switch()
            hit, _ = run_until(place)
        if hit:
            return "there"
        if over.is_set():
            return "failed it waits for another thread, which is stopped"
        self.users.add(thread.num)
        return "failed something else stopped it"


ADVANCE_SECONDS = 1


def interrupt(thread):
    if thread.is_valid() and thread.is_running():
        thread.switch()
        gdb.execute("interrupt", to_string=True)


@contextlib.contextmanager
def alarm(seconds, function):
    """Calls it when gdb waits for so long.  Yields an event, set when the time is over."""
    over = threading.Event()

    def ring():
        over.set()
        gdb.post_event(function)

    timer = threading.Timer(seconds, ring)
    with signals_blocked():  # they are gdb's
        timer.start()
    try:
        yield over
    finally:
        timer.cancel()


@contextlib.contextmanager
def signals_blocked():
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_local(inferior):
    """Is the process of gdb, or of a gdbserver, the one that has this id here?  Stacks are at
    random addresses."""
    sp = int(gdb.newest_frame().read_register("sp")) & WORD
    try:
        with open("/proc/%d/mem" % inferior.pid, "rb") as memory:
            memory.seek(sp)
            return memory.read(256) == bytes(inferior.read_memory(sp, 256))
    except PermissionError:  # pyhot will say why
        return True
    except (OSError, ValueError):
        return False


def target_of_gdb():
    """The process, stopped; or one clear line."""
    inferior = gdb.selected_inferior()
    if inferior.connection and inferior.connection.type == "core":
        raise gdb.GdbError("pyhot: a core file cannot run a reload: attach to a process")
    if not inferior.pid or not gdb.selected_thread():
        raise gdb.GdbError("pyhot: no process is being debugged: start one, or attach to one")
    if not os.path.exists("/proc/%d/status" % inferior.pid):
        raise gdb.GdbError("pyhot: process %d is not on this machine: run gdb where it is"
                           % inferior.pid)
    if gdb.selected_thread().is_running():
        raise gdb.GdbError("pyhot: the selected thread is running: interrupt it first")
    if not is_local(inferior):
        raise gdb.GdbError("pyhot: process %d of this machine is another one: run gdb where the "
                           "process is" % inferior.pid)
    if not os.path.samefile("/proc/%d/root" % inferior.pid, "/") and \
            gdb.parameter("sysroot") in ("", "/", "target:"):
        # gdb would put its breakpoint in the loader where another loader has that function.
        raise gdb.GdbError("pyhot: process %d has another root directory than gdb: detach, "
                           "set sysroot /proc/%d/root, and attach again"
                           % (inferior.pid, inferior.pid))
    if gdb.current_recording():
        raise gdb.GdbError("pyhot: gdb records what the process does, which cannot be done while "
                           "it is reloaded: record stop")
    for breakpoint in gdb.breakpoints():
        if breakpoint.type == gdb.BP_WATCHPOINT and breakpoint.enabled:
            raise gdb.GdbError("pyhot: watchpoint %d has gdb step through every instruction of the "
                               "process: disable %d" % (breakpoint.number, breakpoint.number))
    return inferior


def run_job(command, argument):
    arguments = shlex.split(argument)
    variable = None
    here = "--here" in arguments
    if here:
        arguments.remove("--here")
        if gdb.parameter("non-stop"):
            raise gdb.GdbError("pyhot: --here is not for non-stop mode, where no thread that you "
                               "stopped is let run")
    if "-j" in arguments:
        arguments = ["--json" if word == "-j" else word for word in arguments]
        variable = "pyhot"
    pid = target_of_gdb().pid

    def start():
        return Job([command, "--color=never", str(pid)] + arguments, gdb.selected_thread().ptid[1],
                   variable, here)

    if gdb.parameter("non-stop"):
        NonStop(start)
        return
    job = start()
    try:
        drive(job)
    except BaseException:
        job.cancel()
        raise
    finally:
        job.end()


def kernel_state(thread):
    """Its letter in ps(1), which gdb may not have seen yet; "X": it has ended."""
    try:
        with open("/proc/%d/task/%d/stat" % thread.ptid[:2]) as file:
            return file.read().rpartition(") ")[2][0].replace("Z", "X")
    except OSError:
        return "X"


class NonStop:
    """A job where each thread runs and stops by itself.

    gdb abandons the call of a function when another thread stops meanwhile.  So the threads that
    run are stopped for the time of the calls; gdb must see that first, and does so only when this
    command has ended.  No thread that its user stopped is let run."""

    LOOK_SECONDS = 0.005
    waiting = None  # the one that has not begun: one at a time

    def __init__(self, start):
        if NonStop.waiting:
            raise gdb.GdbError("pyhot: a job before this one has not begun yet")
        self.start = start  # makes the Job
        self.stopped = {}  # what we stop: thread number -> thread
        self.thread = gdb.selected_thread()
        self.inferior = gdb.selected_inferior()
        NonStop.waiting = self
        gdb.events.stop.connect(self._see_stop)
        self._look()

    def _see_stop(self, event):
        """One that came to a breakpoint or a signal is its user's."""
        if isinstance(event, (gdb.BreakpointEvent, gdb.SignalEvent)) and event.inferior_thread:
            self.stopped.pop(event.inferior_thread.num, None)

    def _look(self):
        """Begins when no thread runs.  gdb has no event for the end of one, so we look again."""
        listed = {thread: kernel_state(thread) for thread in self.inferior.threads()
                  if thread.is_running()}
        if all(state == "X" for state in listed.values()):
            NonStop.waiting = None
            gdb.events.stop.disconnect(self._see_stop)
            self._begin()
            return
        with selected_thread():
            for thread, state in listed.items():
                if state not in "tX":
                    self.stopped[thread.num] = thread
                    thread.switch()
                    gdb.execute("interrupt", to_string=True)
        timer = threading.Timer(self.LOOK_SECONDS, gdb.post_event,
                                [lambda: told_late(self._look)])
        with signals_blocked():  # they are gdb's
            timer.start()

    def _begin(self):
        if not self.thread.is_valid():
            self._continue()
            raise gdb.GdbError("pyhot: the thread that was selected has ended; nothing was changed")
        job = None
        try:
            with selected_thread():
                self.thread.switch()
                job = self.start()
                with settings(pagination="off", confirm="off"):
                    end = job.serve()
        except BaseException:
            if job:
                job.cancel()
            raise
        finally:
            if job:
                job.end()
                for number in job.users:
                    self.stopped.pop(number, None)
            self._continue()
        if end is None:
            job.wait()
            job.report()
        else:
            job.leave_to_background()

    def _continue(self):
        with selected_thread():
            for thread in self.stopped.values():
                if thread.is_valid() and thread.is_stopped():
                    thread.switch()
                    resume("continue &")


@contextlib.contextmanager
def impatience(job):
    """Our thread runs alone: when its job was given up it may still wait for a thread that does
    not run.  Then it is stopped as by Ctrl-C."""
    ended = threading.Event()

    def watch():
        job.reader.join()
        if not ended.wait(1) and job.status == 4:
            os.kill(os.getpid(), signal.SIGINT)

    if job.alone:
        with signals_blocked():  # they are gdb's
            threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def take_gil_back(ours, lender, place):
    """Our thread is at its end: the other one takes the GIL and goes to where it was.  Then ours
    ends, and gdb says that nothing is left that runs."""
    with user_breakpoints_off():
        hit, _ = run_until(Place(place, lender), lender)
        if hit:
            with settings(scheduler_locking="on"):
                ours.switch()
                gdb.execute("continue", to_string=True)


def drive(job):
    """From the first question to the report, or to a stop that was not ours."""
    with settings(pagination="off", confirm="off"):
        end = job.serve()
        if end is not None:
            thread = gdb.selected_thread()
            frame = gdb.selected_frame()
            ours = job.alone and job.alone[0]
            with settings(print__thread_events="off"), impatience(job):
                hit, stops = run_until(Place(end), ours)
                if hit and ours:
                    take_gil_back(*job.alone)
            if hit and thread.is_valid():
                thread.switch()
                if frame.is_valid():
                    frame.select()
            if stops.interrupted and not hit:
                job.cancel()
            if not hit and not stops.exited and not job.wait(2 if stops.interrupted else 0):
                gdb.write("pyhot: the job goes on when you continue, and reports when it is done\n")
                job.leave_to_background()
                return
        job.wait()
    job.report()


# ---- The commands ----

def module_names():
    """The modules that are loaded.  pyhot reads them from outside: completion must run nothing in
    the process, and a line that is being typed is no place for an error."""
    pid = gdb.selected_inferior().pid
    if not pid:
        return []
    try:
        done = subprocess.run([pyhot_path(), "loaded-modules", str(pid)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              universal_newlines=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired, gdb.GdbError):
        return []
    return sorted(done.stdout.split())


def complete_module(text, word):
    """gdb takes "." for the end of a word: what stands before it is not typed again.  Asked where
    words end, with None for the word, there is nothing to tell."""
    if word is None:
        return None
    typed = text.split(" ")[-1]
    fixed = len(typed) - len(word)
    return [name[fixed:] for name in module_names() if name.startswith(typed)]


class Pyhot(gdb.Command):
    """Hot-reload Python modules in the process that is being debugged, see docs/gdb.md of pyhot.

    Exit status of the last command: $pyhot_exit, with the meaning of pyhot(1)."""

    def __init__(self):
        super().__init__("pyhot", gdb.COMMAND_RUNNING, prefix=True)


class Attach(gdb.Command):
    """Reload modules: pyhot attach [OPTION...] MODULE...

    MODULE as in sys.modules, __main__ too; all or none.  Options are those of the command
    line (pyhot(1)): --dry-run, --force, --stale, --data=POLICY, --new=NAME, --keep=NAME, -v.
    -j puts the report as JSON into $pyhot instead of printing it.

    Threads run until the reload is done.  A breakpoint of yours that is hit meanwhile is shown,
    and the reload goes on when you continue; Ctrl-C cancels it."""

    def __init__(self):
        super().__init__("pyhot attach", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        run_job("attach", argument)

    def complete(self, text, word):
        return complete_module(text, word)


class ListStale(gdb.Command):
    """Tell what no longer matches its source: pyhot list-stale [--objects] [MODULE...]

    --objects also lists objects of old generations and who holds them.  -j puts the report as
    JSON into $pyhot instead of printing it."""

    def __init__(self):
        super().__init__("pyhot list-stale", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        run_job("list-stale", argument)

    def complete(self, text, word):
        return complete_module(text, word)


class Where(gdb.Command):
    """Tell where each Python thread is, and which still run code that was replaced: pyhot where [-v]

    The number behind a thread's name is that of its LWP in "info threads".  -v shows whole stacks.
    -j puts the report as JSON into $pyhot."""

    def __init__(self):
        super().__init__("pyhot where", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        run_job("where", argument)


Pyhot()
Attach()
ListStale()
Where()
