"""The lines of the table: each starts targets, attaches, and holds them against the oracle.

run(pythons, count, directory, strict) makes `count` attaches, with targets on the interpreters in
turn, and returns a Tally.  `strict`: also what a busy machine may falsify (sleeps end on time).
"""

import ctypes
import os
import random
import signal
import subprocess
import threading
import time
import traceback
from pathlib import Path

import harness
from loads import LOADS
from tally import Tally

VICTIMS = Path(__file__).resolve().parent / "victims"
LIBC = ctypes.CDLL(None)
MODULE = """
VERSION = %d

def answer():
    return VERSION

def step(n):
    return n + 1
"""


class Harmed(AssertionError):
    pass


class Subject:
    """A target running one of the programs of victims/, and the version it must be on."""

    def __init__(self, load, python, directory):
        self.load = load
        self.version = 0
        self.took = 0.1  # seconds, the last attach that was let alone
        self.stop_us = 0
        program, *arguments = load.command
        env = dict(load.env, FAULTS_NATIVE=os.environ["FAULTS_NATIVE"])
        files = {"mod.py": MODULE % 0, program: (VICTIMS / program).read_text()}
        self.target = harness.Target(python, directory, files, command=[program, *arguments],
                                     env=env, paths=[VICTIMS])

    def save(self):
        """Saves the next version of the module; its number."""
        self.target.edit("mod.py", MODULE % (self.version + 1))
        return self.version + 1

    def answer(self):
        return self.target.eval("__import__('sys').modules['mod'].answer()")

    def attach(self, tally, *options):
        """Saves and attaches; the target must be on the version that pyhot says it is."""
        version = self.save()
        start = time.monotonic()
        done = self.target.attach("mod", "--timeout=10", *self.load.options, *options)
        self.took = time.monotonic() - start
        if tally.count(done):
            self.version = version
            self.stop_us = tally.stop_us[-1]
        self.expect(self.version)

    def expect(self, *versions):
        answer = self.answer()
        if answer not in versions:
            raise Harmed("is on version %s, not on %s" % (answer, versions))
        self.version = answer

    def check(self, strict=False):
        """The oracle: as it was, its work right, and going on."""
        self.target.check_unharmed(threads=self.load.threads, descriptors=self.load.descriptors,
                                   signals=self.load.signals, deadline=20)
        rounds = self.target.eval("rounds", "load")
        mistakes = harness.wait_for(
            lambda: self.target.eval("(mistakes,) if rounds > %d else ()" % (rounds + 1), "load"),
            "two more rounds of its work")[0]
        if mistakes:
            raise Harmed("its self-check: %s" % mistakes)
        if strict and self.load.late_us:
            late = self.target.eval("take_latest()")
            if late > self.load.late_us + self.stop_us:
                raise Harmed("a wait ended %d us late, stopped for %d us" % (late, self.stop_us))

    def kill(self):
        self.target.kill()


class Scenario:
    """Targets are used for `per_target` attaches each.  A harmed one is replaced."""

    per_target = 20
    may_refuse_all = False  # a few attaches may all be refused, and that is no fault
    interrupted = threading.Event()  # set: no further attach is begun

    def missing(self):
        """Why it cannot be run here, or None."""
        return None

    def run(self, pythons, count, directory, strict):
        tally = Tally()
        number = 0
        while tally.tried < count and not self.interrupted.is_set():
            python = pythons[number % len(pythons)]
            self.one_target(tally, python, directory / ("target%d" % number),
                            min(self.per_target, count - tally.tried), strict)
            number += 1
        return tally

    def one_target(self, tally, python, directory, count, strict):
        tried = tally.tried
        subject = None
        try:
            subject = self.start(python, directory)
            for _ in range(count):
                if self.interrupted.is_set():
                    break
                self.attach(tally, subject, strict)
        except Exception as error:
            expected = isinstance(error, (AssertionError, subprocess.TimeoutExpired))
            tally.harmed.append("%s: %s" % (python.id, error if expected
                                            else traceback.format_exc()))
            tally.tried = max(tally.tried, tried + 1)
        finally:
            if subject is not None:
                subject.kill()

    def start(self, python, directory):
        raise NotImplementedError

    def attach(self, tally, subject, strict):
        raise NotImplementedError


class UnderLoad(Scenario):
    """One attach after the other to a program that does something difficult."""

    def __init__(self, load):
        self.load = load
        self.may_refuse_all = load.refusals

    def missing(self):
        return self.load.missing

    def start(self, python, directory):
        return Subject(self.load, python, directory)

    def attach(self, tally, subject, strict):
        time.sleep(random.uniform(0, self.load.late_start))  # the instant, not a wait
        subject.attach(tally)
        subject.check(strict)


class Flood(UnderLoad):
    """Queued real-time signals during each attach, counted by the target."""

    SIGNALS = 400

    def start(self, python, directory):
        subject = super().start(python, directory)
        subject.sent = 0
        return subject

    def attach(self, tally, subject, strict):
        target = subject.target
        number = target.eval("load.native.flood_signal()")
        version = subject.save()
        pyhot = start_pyhot(target, "--timeout=10")
        for _ in range(self.SIGNALS):
            send_queued(target.pid, number, subject.sent)
            subject.sent += 1
        if tally.count(finish(pyhot)):
            subject.version = version
        subject.expect(subject.version)
        target.wait_eval("load.native.flood_seen() >= %d" % subject.sent)
        seen = target.eval("load.native.flood_seen(), load.native.flood_seen_twice()")
        if seen != (subject.sent, 0):
            raise Harmed("%d signals sent, %d seen, %d twice" % (subject.sent, *seen))
        subject.check(strict)


class Killed(UnderLoad):
    """pyhot gets a signal at a random instant: the target is on the old or on the new version,
    and the next attach works."""

    per_target = 10

    def __init__(self, load, number):
        super().__init__(load)
        self.may_refuse_all = True
        self.number = number
        self.chance = random.Random(number)

    def attach(self, tally, subject, strict):
        version = subject.save()
        before = subject.version
        pyhot = start_pyhot(subject.target, "--timeout=10")
        # Any instant of its life, more of them soon, when most happens; no wait for anything.
        time.sleep(self.chance.random() ** 2 * subject.took)
        pyhot.send_signal(self.number)
        done = finish(pyhot, report=False)
        tally.tried += 1
        allowed = [before, version]
        if done.returncode in (0, 5):
            tally.done += 1
            allowed = [version]
        elif done.returncode == -self.number or done.returncode == 128 + self.number:
            tally.refused["killed by signal %d" % self.number] += 1
        elif done.returncode in (3, 4):
            tally.refused["interrupted"] += 1
            allowed = [before]
        else:
            raise Harmed("pyhot ended with %d: %s" % (done.returncode, done.stderr))
        self.recover(tally, subject, allowed, strict)

    def recover(self, tally, subject, allowed, strict):
        subject.check(strict)
        subject.expect(*allowed)
        following = Tally()
        subject.attach(following)
        if following.refused:
            raise Harmed("the next attach: %s" % dict(following.refused))
        subject.check(strict)


class AtPlaces:
    """For a Scenario: at each place that pyhot built with FAULTS=1 names, on one target each.  Fewer
    attaches than places: as `share` (which, of how many) says, this and its like share them out."""

    per_target = 1
    share = (0, 1)

    def missing(self):
        binary = os.environ.get("PYHOT_FAULTS_BINARY")
        if not binary or not os.access(binary, os.X_OK):
            return "$PYHOT_FAULTS_BINARY is not a pyhot built with make FAULTS=1"
        return super().missing()

    def run(self, pythons, count, directory, strict):
        places = self.places(pythons[0], directory / "places")
        first, step = self.share if count < len(places) else (0, 1)
        tally = Tally()
        for number, place in list(enumerate(places))[first::step]:
            self.place = place
            tally += super().run([pythons[number % len(pythons)]],
                                 max(1, count // len(places)), directory / place, strict)
        return tally

    @staticmethod
    def places(python, directory):
        """All places that one attach passes, each with how often: "name:n"."""
        subject = Subject(IDLE, python, directory)
        try:
            subject.save()
            done = finish(start_pyhot(subject.target, fault="list"), report=False)
        finally:
            subject.kill()
        passed = [line.split()[1] for line in done.stderr.splitlines()
                  if line.startswith("fault-point ")]
        assert passed, "no fault points: %s" % done.stderr
        seen = {}
        places = []
        for name in passed:
            seen[name] = seen.get(name, 0) + 1
            places.append("%s:%d" % (name, seen[name]))
        return places


class KilledAtPlaces(AtPlaces, Killed):
    """As Killed, at each named place."""

    def __init__(self, load, number, share):
        super().__init__(load, number)
        self.share = share

    def attach(self, tally, subject, strict):
        version = subject.save()
        before = subject.version
        pyhot = start_pyhot(subject.target, "--timeout=10",
                            fault="%s:%d" % (self.place, self.number))
        done = finish(pyhot, report=False)
        tally.tried += 1
        allowed = [before, version]
        if done.returncode in (0, 5):  # the place was not passed this time
            tally.done += 1
            allowed = [version]
        elif done.returncode in (-self.number, 128 + self.number, 3, 4):
            tally.refused["ended by signal %d at a named place" % self.number] += 1
        else:
            raise Harmed("pyhot ended with %d at %s: %s"
                         % (done.returncode, self.place, done.stderr))
        try:
            self.recover(tally, subject, allowed, strict)
        except AssertionError as error:
            raise Harmed("at %s: %s" % (self.place, error))


class StoppedMeanwhile(UnderLoad):
    """SIGSTOP arrives at a random instant: the target ends stopped, and goes on with SIGCONT."""

    def __init__(self, load):
        super().__init__(load)
        self.may_refuse_all = True

    def attach(self, tally, subject, strict):
        target = subject.target
        version = subject.save()
        before = subject.version
        pyhot = start_pyhot(target, "--timeout=2")
        time.sleep(random.uniform(0, 0.1))  # the instant, not a wait for anything
        os.kill(target.pid, signal.SIGSTOP)
        done = finish(pyhot)
        reloaded = tally.count(done)
        error = done.report.get("error")
        will_be = error is not None and error["code"] == "stopped-meanwhile"
        harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "T", "stopped")
        os.kill(target.pid, signal.SIGCONT)
        subject.expect(version if reloaded or will_be else before)
        subject.check(strict)


class TwoAtOnce(UnderLoad):
    """Two pyhots at once: each does its work or is told; the version is the new one if any did."""

    def attach(self, tally, subject, strict):
        version = subject.save()
        before = subject.version
        pyhots = [start_pyhot(subject.target, "--timeout=10") for _ in range(2)]
        done = [tally.count(finish(pyhot)) for pyhot in pyhots]
        subject.expect(version if any(done) else before)
        if not any(done):
            raise Harmed("neither of two attaches succeeded")
        subject.check(strict)


class InARow(UnderLoad):
    """Many attaches to one process: nothing grows but what the report explains."""

    per_target = 200

    def start(self, python, directory):
        subject = super().start(python, directory)
        subject.attaches = 0
        return subject

    def attach(self, tally, subject, strict):
        subject.attach(tally)
        subject.check(strict)
        maps = len(harness.proc_maps(subject.target.pid))
        subject.attaches += 1
        if subject.attaches == 10:
            subject.settled = maps
        elif subject.attaches > 10 and maps > subject.settled + 4:
            raise Harmed("%d mappings after 10 attaches, %d after %d"
                         % (subject.settled, maps, subject.attaches))


class Ends(Scenario):
    """The target ends, executes another program, forks, or is killed, at a random instant during
    the attach.  It must end as it would have."""

    may_refuse_all = True
    per_target = 1
    IDLE = "import probe\nprobe.ready()\nprobe.threading.Event().wait()\n"

    def __init__(self, statement, status):
        self.statement = statement
        self.status = status

    def start(self, python, directory):
        target = harness.Target(python, directory, {"mod.py": MODULE % 0, "app.py":
                                                    "import mod\n" + self.IDLE})
        target.exec("import os, threading, time")
        return target

    def attach(self, tally, target, strict):
        target.edit("mod.py", MODULE % 1)
        delay = random.uniform(0, 0.15)
        try:
            target.exec("threading.Timer(%f, lambda: %s).start()" % (delay, self.statement))
        except harness.Died:
            pass  # it was faster than its own answer; pyhot comes to a process that has ended
        pyhot = start_pyhot(target, "--timeout=5")
        tally.count(finish(pyhot))
        self.check_end(target)

    def check_end(self, target):
        status = target.process.wait(harness.DEADLINE)
        if status != self.status:
            raise Harmed("ended with %d, not with %d\n%s"
                         % (status, self.status, target.describe()))


class EndsAtPlaces(AtPlaces, Ends):
    """As Ends, while pyhot is at each named place: it is stopped there until the target is at it.
    pyhot takes the main thread, not the one that is asked to end."""

    IDLE = "import os, probe\nprobe.ready()\nos.read(os.pipe()[0], 1)\n"

    def __init__(self, statement, status, share):
        super().__init__(statement, status)
        self.share = share

    def attach(self, tally, target, strict):
        target.edit("mod.py", MODULE % 1)
        pyhot = start_pyhot(target, "--timeout=5", fault="%s:%d" % (self.place, signal.SIGSTOP))
        harness.wait_for(lambda: pyhot.poll() is not None or self.state(pyhot.pid) == "T",
                         "pyhot at %s" % self.place)
        before = self.look(target)
        target.post("threading.Timer(0, lambda: %s).start()" % self.statement)
        end = time.monotonic() + 0.2  # some of it cannot be seen from outside
        while self.look(target) == before and time.monotonic() < end:
            time.sleep(0.001)
        pyhot.send_signal(signal.SIGCONT)
        tally.count(finish(pyhot))
        self.check_end(target)

    @staticmethod
    def state(pid):
        return harness.proc_status(pid)["State"][0]

    def look(self, target):
        """What an end, a fork or an execve changes."""
        try:
            with open("/proc/%d/task/%d/children" % (target.pid, target.pid)) as children:
                return (children.read(), self.state(target.pid),
                        os.readlink("/proc/%d/exe" % target.pid))
        except OSError:
            return None


class Starts(Scenario):
    """The attach comes while the interpreter starts: it is refused, or it works."""

    may_refuse_all = True
    per_target = 1

    def start(self, python, directory):
        text = "import mod, probe\nprobe.ready()\nprobe.threading.Event().wait()\n"
        return harness.Target(python, directory, {"mod.py": MODULE % 0, "app.py": text},
                              ready=False)

    def attach(self, tally, target, strict):
        time.sleep(random.uniform(0, 0.05))  # the instant, not a wait for anything
        reloaded = tally.count(finish(start_pyhot(target, "--force", "--timeout=5")))
        target.wait_ready()
        harness.wait_for(lambda: len(harness.proc_threads(target.pid)) == 2, "our thread's end")
        target.snapshot()
        answer = target.eval("mod.answer()")
        if answer != 0:
            raise Harmed("answers %s, %s" % (answer, "reloaded" if reloaded else "refused"))
        target.check_unharmed()


# ---- pyhot running beside what the test does

def start_pyhot(target, *options, fault=None):
    command = harness.pyhot_command()
    env = dict(os.environ)
    if fault:
        command = [os.environ["PYHOT_FAULTS_BINARY"]]
        env["PYHOT_FAULT"] = fault
    return subprocess.Popen([*command, "attach", str(target.pid), "mod", "--json", *options],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=env)


def finish(pyhot, report=True):
    """Waits for its end; what harness.run_pyhot returns."""
    try:
        out, err = pyhot.communicate(timeout=harness.DEADLINE)
    except subprocess.TimeoutExpired:
        pyhot.kill()
        pyhot.communicate()
        raise Harmed("pyhot did not end within %g s" % harness.DEADLINE)
    done = subprocess.CompletedProcess(pyhot.args, pyhot.returncode, out, err)
    done.report = harness.parse_report(done) if report else None
    return done


def send_queued(pid, number, value):
    """sigqueue; waits while the queue is full."""
    def sent():
        return LIBC.sigqueue(pid, number, ctypes.c_void_p(value)) == 0
    harness.wait_for(sent, "room in the signal queue")


# A relative sleep in C may end with EINTR when pyhot is killed while it borrows that very thread:
# the kernel forgets what is left of it.  Python's own sleep goes on.
IDLE = LOADS["idle in Python's sleep"]
BUSY = LOADS["4 threads want the GIL"]
ALLOCATING = LOADS["allocating, four threads"]

SCENARIOS = {name: UnderLoad(load) for name, load in LOADS.items()}
SCENARIOS["flood of signals"] = Flood(LOADS["flood of signals"])
SCENARIOS.update({
    "SIGKILL of pyhot, idle target": Killed(IDLE, signal.SIGKILL),
    "SIGKILL of pyhot, busy target": Killed(BUSY, signal.SIGKILL),
    "SIGKILL of pyhot, allocating target": Killed(ALLOCATING, signal.SIGKILL),
    "SIGINT of pyhot": Killed(IDLE, signal.SIGINT),
    "SIGTERM of pyhot": Killed(BUSY, signal.SIGTERM),
    "SIGSTOP meanwhile": StoppedMeanwhile(LOADS["allocating, four threads"]),
    "two attaches at once": TwoAtOnce(BUSY),
    "attaches in a row": InARow(LOADS["idle in select"]),
    "target starts": Starts(),
})
KILLS = {"SIGKILL": signal.SIGKILL, "SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
ENDS = {
    "exits": ("os._exit(7)", 7),
    "forks, waits, exits": ("os._exit(os.waitpid(os.fork() or os._exit(0), 0)[1] or 7)", 7),
    "is killed": ("os.kill(os.getpid(), 9)", -9),
    "finalizes": ("os.kill(os.getpid(), __import__('signal').SIGINT)", -2),
    "executes another program": ("os.execv('/bin/sh', ['sh', '-c', 'exit 6'])", 6),
}
for n, (name, number) in enumerate(KILLS.items()):
    SCENARIOS["%s at each named place" % name] = KilledAtPlaces(IDLE, number, (n, len(KILLS)))
for n, (name, (statement, status)) in enumerate(ENDS.items()):
    SCENARIOS["target %s" % name] = Ends(statement, status)
    SCENARIOS["target %s at each named place" % name] = EndsAtPlaces(statement, status,
                                                                     (n, len(ENDS)))
