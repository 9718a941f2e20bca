"""The reload as a transaction: all of it or nothing, several modules, hooks, forms of source."""

import os
import re
import signal
import subprocess
import threading
import time
import zipfile

import pytest

import harness

IDLE = "import probe\nprobe.ready()\nimport time\nwhile True:\n    time.sleep(0.01)\n"
BLOCKED = "import probe, threading\nlock = threading.Lock()\nprobe.ready()\n" \
          "lock.acquire()\nlock.acquire()\n"


# ---- A source that fails changes nothing ----

TABLES = '''
import atexit, collections

ROUTES, INDEX, QUEUE = [], {}, collections.deque(["first"], 9)

class Route:
    def __init__(self, path, function):
        self.path, self.target = path, (function, {"methods": [function]})

def route(path):
    def register(function):
        ROUTES.append(Route(path, function))
        ROUTES.append((path, function))
        INDEX.setdefault(path, Route(path, function))
        QUEUE.extend([function, Route(path, function), "plain " + path][:2])
        return function
    return register

HANDLERS = {"foreign": lambda: "of tables"}
CHAIN = []
KINDS = set()

class Command:
    def __init__(self, name, function):
        self.name, self.function = name, function
        COMMANDS[name] = self

COMMANDS = {}

def command(name):
    return lambda function: Command(name, function)

class Hub:
    def __init__(self):
        self.late = {}
        self.topics = {"a": [], "b": {None: []}}
        self.callback = {"done": None}
        self.on_error = len
        self.on_start = lambda: "start"

    def greet(self):
        return "greeted"

HUB = Hub()

def handles(name):
    def register(function):
        atexit.register(function)
        HANDLERS[name] = function
        CHAIN.append(function)
        KINDS.add(function)
        return function
    return register
'''
SERVICE = '''
import tables

LIMIT = 10
STATE = {"calls": 0}

@tables.handles("get")
def get():
    STATE["calls"] += 1
    return "old get", LIMIT

class Session:
    def name(self):
        return "old session"

def plain():
    return "old plain"

@tables.route("get")
def routed():
    return "routed"

@tables.command("run")
def run():
    return "old run"

tables.HANDLERS["session"] = Session()
'''
NEW_SERVICE = '''
import tables
import fresh.part

LIMIT = 20
STATE = {"calls": 0, "new": True}

@tables.handles("get")
def get():
    return "new get", LIMIT

@tables.handles("put")
def put():
    return "new put"

class Session:
    def name(self):
        return "new session"

class Extra:
    pass

def plain():
    return "new plain"

@tables.route("get")
def routed():
    return "routed"

@tables.command("run")
def run():
    return "new run"

@tables.route("put")
def added():
    return "added"

@tables.route("put again")
@tables.command("walk")
def walk():
    return "new walk"

tables.HANDLERS["extra"] = Extra
tables.HANDLERS["session"] = Session()
tables.HANDLERS["foreign"] = get
tables.HANDLERS["by another key"] = get
tables.CHAIN.append(Session())
tables.CHAIN.append(plain)
tables.KINDS.add(plain)
tables.HUB.late[plain] = plain
tables.HUB.topics["a"] += [plain, plain]
tables.HUB.topics["b"][None].append(Session)
tables.HUB.topics["b"]["c"] = Session
tables.HUB.topics["b"]["anonymous"] = lambda: plain
tables.HUB.topics["a"].append(lambda: plain)
tables.HUB.callback["done"] = lambda: plain
tables.Hub.greet = lambda self: "not greeted"
tables.Hub.other = plain
tables.Hub.__len__ = lambda self: 0
tables.plain = plain
tables.HUB.on_error = tables.HUB.on_start = plain
tables.HUB.on_end = tables.HUB.on_exit = plain
tables.HUB.on_exit = lambda: plain
tables.HUB.greet(), len(tables.HUB)
'''
FAILURES = {
    "syntax error": ("def broken(:\n    pass\n", "SyntaxError"),
    "tabs and spaces": ("if True:\n        x = 1\n\ty = 2\n", "TabError"),
    "null byte": ("x = 1\0\n", ("ValueError", "SyntaxError")),
    "exception at the end": (NEW_SERVICE + "raise RuntimeError('half way')\n", "RuntimeError"),
    "exception in a function": (NEW_SERVICE + "def f():\n    return {}['k']\nf()\n", "KeyError"),
    "missing import": (NEW_SERVICE + "import no_such_module\n", "ModuleNotFoundError"),
    "missing name": (NEW_SERVICE + "from tables import nothing\n", "ImportError"),
    "import that fails": (NEW_SERVICE + "import fresh.broken\n", "ZeroDivisionError"),
    "modules imported by name": (
        NEW_SERVICE + "import importlib\n__import__('fresh.named')\n"
        "importlib.import_module('fresh.late')\nimportlib.import_module('.later', 'fresh')\n1/0\n",
        "ZeroDivisionError"),
    "sys.exit": (NEW_SERVICE + "import sys\nsys.exit('no')\n", "SystemExit"),
    "KeyboardInterrupt": (NEW_SERVICE + "raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    "recursion": (NEW_SERVICE + "def f():\n    f()\nf()\n", "RecursionError"),
    "exception of its own": (NEW_SERVICE + "class E(BaseException):\n    pass\nraise E('mine')\n",
                             "service.E"),
}
WHAT_MUST_STAY = """(
    sorted(sys.modules), sorted(vars(fresh)), sorted(vars(sys.modules['service'])), list(sys.path),
    [(n, id(v)) for n, v in sorted(vars(service).items()) if n != '__builtins__'],
    [(n, id(v)) for n, v in tables.HANDLERS.items()], [id(f) for f in tables.CHAIN],
    [id(r) for r in tables.ROUTES], [(n, id(r)) for n, r in tables.INDEX.items()],
    [id(r) for r in tables.QUEUE], tables.ROUTES[0].target[0](),
    sorted(id(k) for k in tables.KINDS), hub(), tables.HUB.greet(),
    [(n, id(c), c.function()) for n, c in tables.COMMANDS.items()],
    bool(tables.HUB), sorted(vars(tables.Hub)), sorted(vars(tables)), exits(), id(__import__),
    id(importlib._bootstrap._find_and_load), gc.isenabled(),
    sorted(linecache.cache), [t.name for t in threading.enumerate()],
    service.get(), session.name(), isinstance(session, service.Session),
)"""

EXITS = """
def hub():
    names = "late", "topics", "callback", "on_error", "on_start", "on_end", "on_exit"
    return [(name, repr(getattr(tables.HUB, name, "missing"))) for name in names]

import atexit
class Probe:
    def __eq__(self, other):
        self.seen.append(id(other))
        return False
def exits():
    probe = Probe()
    probe.seen = []
    atexit.unregister(probe)
    return probe.seen
"""


@pytest.fixture(scope="module")
def service(python, tmp_path_factory):
    target = harness.Target(python, tmp_path_factory.mktemp("service"), {
        "tables.py": TABLES, "service.py": SERVICE, "fresh/__init__.py": "",
        "fresh/part.py": "X = 1\n", "fresh/broken.py": "import fresh.part\n1/0\n",
        "fresh/named.py": "", "fresh/late.py": "import fresh.part\n", "fresh/later.py": "",
        "app.py": "import gc, importlib, linecache, sys, threading\nimport fresh, service, tables\n"
                  "session = service.Session()\n" + EXITS +
                  "linecache.getlines(service.__file__)\n" + IDLE})
    yield target
    target.kill()


@pytest.mark.parametrize("failure", FAILURES)
def test_failure_changes_nothing(service, failure):
    text, error = FAILURES[failure]
    before = service.eval(WHAT_MUST_STAY)
    service.snapshot()
    service.edit("service.py", text)
    done = service.attach("service")
    assert done.returncode == 1, done.stdout + done.stderr
    module, = done.report["modules"]
    assert module["result"] == "failed"
    assert module["error"]["type"] in (error if isinstance(error, tuple) else (error,))
    assert module["error"]["traceback"].rstrip().splitlines()[-1].startswith(
        module["error"]["type"])
    assert service.eval(WHAT_MUST_STAY) == before
    assert done.report.get("left", []) == []
    service.check_unharmed()


def test_after_a_failure_the_next_save_is_taken(python, start):
    target = start(python, {"tables.py": TABLES, "service.py": SERVICE,
                            "fresh/__init__.py": "", "fresh/part.py": "",
                            "app.py": "import service, tables\n" + IDLE})
    target.edit("service.py", NEW_SERVICE + "raise ValueError\n")
    assert target.attach("service").returncode == 1
    target.edit("service.py", NEW_SERVICE)
    target.reload("service")
    assert target.eval("service.get()") == ("new get", 20)
    assert target.eval("tables.HANDLERS['get']()") == ("new get", 20)
    assert target.eval("tables.HANDLERS['put']()") == "new put"


def test_traceback_is_the_one_that_python_prints(python, start):
    target = start(python, {"mod.py": "X = 1\n", "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", "def inner():\n    raise KeyError('inside')\n\n"
                          "try:\n    inner()\nexcept KeyError as error:\n"
                          "    raise RuntimeError('outside') from error\n")
    printed = subprocess.run([str(python), target.path("mod.py")], stderr=subprocess.PIPE,
                             text=True, env=harness.clean_environment()).stderr
    ours = target.attach("mod").report["modules"][0]["error"]["traceback"]
    assert without_carets(ours) == without_carets(printed)


def without_carets(text):
    """From 3.13 on only Lib/traceback.py, which pyhot leaves alone, marks places in a frame."""
    return [line for line in text.splitlines() if not re.fullmatch(r"[ ~^]+", line)]


def test_a_caught_failure_of_another_module_fails_both(python, start):
    target = start(python, {"base.py": "X = 1\n", "user.py": "import base\nY = 1\n",
                            "app.py": "import user\n" + IDLE})
    target.edit("base.py", "X = 2\n1/0\n")
    target.edit("user.py", "try:\n    import base\nexcept ZeroDivisionError:\n    pass\nY = 2\n")
    done = target.attach("user", "base")
    assert done.returncode == 1
    results = {module["name"]: module["result"] for module in done.report["modules"]}
    assert results["base"] == "failed" and results["user"] != "reloaded"
    assert target.eval("user.Y, user.base.X") == (1, 1)


def test_dry_run_changes_nothing(service):
    service.edit("service.py", SERVICE)
    before = service.eval(WHAT_MUST_STAY)
    service.edit("service.py", NEW_SERVICE)
    report = service.reload("service", "--dry-run")
    assert report["modules"][0]["result"] == "reloaded"
    assert service.eval(WHAT_MUST_STAY) == before


def test_unchanged_source_is_not_executed(python, start):
    target = start(python, {"mod.py": "import log\nlog.LINES.append(1)\ndef f():\n    return 1\n",
                            "log.py": "LINES = []\n", "app.py": "import mod, log\n" + IDLE})
    assert target.reload("mod")["modules"][0]["result"] == "unchanged"
    assert target.eval("log.LINES") == [1]
    assert target.reload("mod", "--force")["modules"][0]["result"] == "reloaded"
    assert target.eval("log.LINES") == [1, 1]
    assert target.reload("mod")["modules"][0]["result"] == "unchanged"


def test_a_constant_that_others_compiled_meanwhile_is_a_change(python, start):
    """The cached byte code beside the source is then of the new source."""
    target = start(python, {"mod.py": "TABLE = {'n': 1}\ndef f():\n    return TABLE['n']\n",
                            "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", "TABLE = {'n': 2}\ndef f():\n    return TABLE['n']\n")
    subprocess.run([str(python), "-c", "import mod"], check=True, cwd=str(target.directory),
                   env=harness.clean_environment())
    assert target.reload("mod", "--data=new")["modules"][0]["result"] == "reloaded"
    assert target.eval("mod.f()") == 2


def test_a_fork_is_as_old_as_what_it_was_forked_from(python, start):
    """The file was changed before the child began, but after the parent had imported it."""
    target = start(python, {"mod.py": "LIMIT = 1\ndef f():\n    return LIMIT\n",
                            "app.py": "import mod, os, time\n" + IDLE})
    target.edit("mod.py", "LIMIT = 2\ndef f():\n    return LIMIT\n")
    time.sleep(0.05)  # more than the clock tick that start times are told in
    target.exec("child = os.fork()\nwhile child == 0:\n    time.sleep(0.01)\n")
    child = target.eval("child")
    try:
        done = harness.run_pyhot("attach", child, "mod")
        assert done.returncode == 0, done.stdout + done.stderr
        module = done.report["modules"][0]
        assert module["result"] == "reloaded" and module["taken"] == ["LIMIT"]
    finally:
        os.kill(child, signal.SIGKILL)
    assert target.eval("mod.f()") == 1


def test_what_the_new_source_starts_hears_signals(python, start):
    target = start(python, {"mod.py": "X = 1\n", "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", "import subprocess\nCHILD = subprocess.Popen(['sleep', '1000'])\n")
    target.reload("mod")
    status = harness.proc_status(target.eval("mod.CHILD.pid"))
    target.exec("mod.CHILD.kill()\nmod.CHILD.wait()")
    assert int(status["SigBlk"], 16) == 0


def test_other_threads_see_old_then_new(python, start):
    text = ("import time\n%s\ndef first():\n    return '%s', second()\n\n"
            "def second():\n    return '%s'\n%s\n")
    worker = ("import mod, threading\nseen = []\nstop = []\ndef work():\n    while not stop:\n"
              "        pair = mod.first()\n        if not seen or seen[-1] != pair:\n"
              "            seen.append(pair)\n"
              "threads = [threading.Thread(target=work, daemon=True)]\n"
              "threads[0].start()\n")
    target = start(python, {"mod.py": text % ("", "old", "old", ""), "app.py": worker + IDLE})
    target.edit("mod.py", text % ("time.sleep(0.1)", "new", "new", "time.sleep(0.1)"))
    done = target.attach("mod")
    # A call that was under way may be reported.
    assert done.returncode == 0 or done.report["remap"]["frames_on_old_code"], done.stdout
    target.wait_eval("seen[-1] == ('new', 'new')")
    seen = target.eval("seen")
    assert seen[0] == ("old", "old") and seen[-1] == ("new", "new")
    # A call under way at that instant ends in the old function, which finds the new one by name.
    assert seen[1:-1] in ([], [("old", "new")]), seen


# ---- Several modules ----

def test_nobody_else_runs_from_the_pairing_to_the_end_of_the_commit(python, start):
    """A thread that takes the GIL whenever it can sees one pause at least as long as `gil_ms`."""
    target = start(python, {
        "mod.py": "VERSION = 1\ndef answer():\n    return VERSION\n",
        "importer.py": "from mod import VERSION, answer\n",
        "app.py": "import importer, mod, probe, sys, time\n"
                  "longest = passes = 0\n"
                  "sys.setswitchinterval(1e-6)\n"
                  "probe.ready()\n"
                  "last = time.perf_counter()\n"
                  "while True:\n"
                  "    now = time.perf_counter()\n"
                  "    longest = max(longest, now - last)\n"
                  "    last = now\n"
                  "    passes += 1\n"})
    target.edit("mod.py", "VERSION = 2\ndef answer():\n    return VERSION, 2\n")
    report = target.reload("mod")
    assert target.eval("importer.answer(), importer.VERSION") == ((2, 2), 2)
    # The first pass of the loop after it may not have come to its end yet.
    target.wait_eval("passes > %d" % (target.eval("passes") + 2))
    assert target.eval("longest") * 1000 >= report["time"]["gil_ms"]


def test_modules_of_one_transaction_see_each_other(python, start):
    old = {"pkg/__init__.py": "from .core import Engine, run\n",
           "pkg/core.py": "from .util import SCALE\nclass Engine:\n    def go(self):\n"
                          "        return 'old', SCALE\ndef run():\n    return Engine().go()\n",
           "pkg/util.py": "SCALE = 1\n",
           "app.py": "import pkg.core\nfrom pkg import run\nengine = pkg.Engine()\n" + IDLE}
    target = start(python, old)
    target.edit("pkg/util.py", "SCALE = 2\ndef twice(x):\n    return 2 * x\n")
    target.edit("pkg/core.py",
                "import pkg.util as by_as\nimport pkg.util\nfrom pkg import util\n"
                "from .util import *\nfrom . import util as relative\n"
                "assert by_as.twice is pkg.util.twice is util.twice is relative.twice is twice\n"
                "class Engine:\n    def go(self):\n        return 'new', twice(SCALE)\n"
                "def run():\n    return Engine().go()\n")
    target.edit("pkg/__init__.py", "from .core import Engine, run, by_as\nfrom .later import Z\n"
                                   "import pkg.later\nassert pkg.later.Z == Z\n")
    target.edit("pkg/later.py", "Z = 26\n")
    report = target.reload("pkg", "pkg.core", "pkg.util")
    assert [module["result"] for module in report["modules"]] == ["reloaded"] * 3
    assert target.eval("run(), engine.go(), pkg.Z") == (("new", 4), ("new", 4), 26)
    assert target.eval("pkg.util is pkg.core.util is pkg.core.relative is pkg.core.by_as"
                       " is __import__('sys').modules['pkg.util']") is True
    assert target.eval("pkg.core.pkg is pkg") is True
    target.check_unharmed()


def test_circular_imports_begin_where_they_began(python, start):
    left = "import right\nBASE = %d\nclass Left:\n    def other(self):\n" \
           "        return right.Right()\n"
    right = "import left\n%s\nclass Right:\n    number = %d\n"
    target = start(python, {"left.py": left % 1, "right.py": right % ("", 1),
                            "app.py": "import left, right\nobject_ = left.Left()\n" + IDLE})
    target.edit("left.py", left % 2 + "FROM_RIGHT = right.NEW_NAME\n")
    target.edit("right.py", right % ("NEW_NAME = 'there'", 2))
    target.reload("right", "left")
    assert target.eval("object_.other().number, left.BASE, left.FROM_RIGHT") == (2, 2, "there")
    assert target.eval("left.right is right and right.left is left") is True


def test_a_definition_that_moved_to_another_module(python, start):
    target = start(python, {"one.py": "class Thing:\n    def v(self):\n        return 1\n",
                            "two.py": "def unrelated():\n    return 1\n",
                            "app.py": "import one, two\nthing = one.Thing()\n" + IDLE})
    target.edit("two.py", "class Thing:\n    def v(self):\n        return 2\n")
    target.edit("one.py", "from two import Thing\n")
    target.reload("one", "two")
    assert target.eval("one.Thing is two.Thing") is True
    assert target.eval("one.Thing().v()") == 2


SPLIT = """
class Thing:
    made = []
    def __init__(self):
        self.made.append(self)
    def v(self):
        return 1
class Unnamed(Thing):
    pass
STATE = {"n": 0}
LIMIT = 5
count = 0
def bump():
    global count
    count += 1
    return count
"""


@pytest.mark.parametrize("names", [["one"], ["one", "two"]])
def test_a_module_that_was_split(any_python, start, names):
    target = start(any_python, {"one.py": SPLIT, "app.py": """
import sys
import one
from one import LIMIT, STATE, Thing, bump
thing, unnamed = Thing(), one.Unnamed()
STATE["n"] = 4
bump()
""" + ("import two\n" if "two" in names else "") + IDLE, "two.py": ""})
    target.edit("two.py", SPLIT.replace("return 1", "return 2").replace("5", "6"))
    target.edit("one.py", "from two import LIMIT, STATE, Thing, bump\n"
                          "def both():\n    return Thing.made\n")
    first = target.reload(*names)["modules"][0]
    assert target.eval("[thing.v(), unnamed.v(), one.both() == [thing, unnamed]]") == [2, 2, True]
    assert target.eval("one.Thing is Thing is sys.modules['two'].Thing") is True
    assert target.eval("type(unnamed) is sys.modules['two'].Unnamed") is True
    assert target.eval("one.STATE is STATE is sys.modules['two'].STATE, STATE['n']") == (True, 4)
    assert target.eval("bump(), sys.modules['two'].count, one.LIMIT, LIMIT") == (2, 2, 6, 6)
    assert "STATE" not in first["taken"]
    if names == ["one"]:
        counts = first["replaced"]
        assert (counts["classes"], counts["functions"], counts["methods"]) == (2, 1, 2)


def test_what_moved_is_kept_where_the_old_source_is_not_known(any_python, start):
    target = start(any_python, {"one.py": SPLIT, "app.py":
                                "import one\none.STATE['n'] = 4\nstate = one.STATE\n" + IDLE},
                   env={"PYTHONDONTWRITEBYTECODE": "1"})
    target.edit("two.py", SPLIT.replace("= 5", "= 6"))
    target.edit("one.py", "from two import STATE, Thing\n")
    target.reload("one")
    assert target.eval("one.STATE is state, state['n'], one.Thing.__module__") == (True, 4, "two")


def test_subclasses_of_another_module_keep_a_base_of_another_layout(any_python, start):
    target = start(any_python, {
        "base.py": "class Base:\n    __slots__ = ('a',)\n    def v(self):\n        return 1\n",
        "sub.py": "import base\nclass Sub(base.Base):\n    pass\n",
        "app.py": "import base, sub\nkept = sub.Sub()\nkept.a = 5\n" + IDLE})
    target.edit("base.py", "class Base:\n    __slots__ = ('b', 'a')\n    def v(self):\n"
                           "        return 2\n")
    done = target.attach("base")
    assert done.returncode == 5
    held, = done.report["remap"]["held"]
    assert "subclass sub.Sub" in held["where"] and "--force, and sub" in held["where"]
    target.reload("--force", "base", "sub")
    assert target.eval("kept.v(), kept.a, type(kept) is sub.Sub") == (2, 5, True)


def test_annotations_are_evaluated_in_the_new_namespace(python, start):
    """A base class looks for the namespace of its subclasses in sys.modules, as pydantic, typing
    and SQLAlchemy do."""
    models = """
from __future__ import annotations
import importlib, sys
from base import Model
class Line(Model):
    default = 1
class Order(Model):
    line: Line
assert sys.modules[__name__].Order is Order is sys.modules.get(__name__).Order
assert importlib.import_module(__name__).Line is Line
sys.modules[__name__].limit = 1
"""
    target = start(python, {"models.py": models, "base.py": """
import sys
class Model:
    def __init_subclass__(cls):
        names = vars(sys.modules[cls.__module__])
        kinds = {n: eval(t, names) for n, t in vars(cls).get("__annotations__", {}).items()}
        cls.kinds, cls.defaults = kinds, tuple(kind.default for kind in kinds.values())
""", "app.py": "import models, sys\norder = models.Order()\n" + IDLE})
    target.edit("models.py", models.replace(" = 1", " = 2"))
    target.reload("models")
    assert target.eval("order.defaults, order.kinds == {'line': models.Line}, models.limit") == (
        (2,), True, 2)
    target.edit("models.py", models.replace(" = 1", " = 3") + "1 / 0\n")
    assert target.attach("models").returncode == 1
    assert target.eval("order.defaults, models.Line.default, models.limit") == ((2,), 2, 2)


def test_others_see_sys_modules_as_it_is(python, start):
    """While the new source waits; and the mapping that it sees can be kept."""
    target = start(python, {"mod.py": "def f():\n    return 1\n", "app.py": """
import pickle, sys, threading, types
import mod
kept, seen, ask, answer = [sys.modules], [], threading.Event(), threading.Event()
def look():
    ask.wait()
    modules = sys.modules
    seen.append(modules["mod"] is modules.get("mod") is mod)
    seen.append(isinstance(modules, dict) and modules == kept[0] and len(modules) == len(kept[0]))
    seen.append(list(modules) == list(kept[0]) == list(modules.copy()))
    seen.append("mod" in modules and modules.get("no", 3) == 3 and "'mod'" in repr(modules))
    modules["made"] = types.ModuleType("made")
    import made
    seen.append(made is kept[0].pop("made") and "made" not in modules)
    modules["made"] = made
    del modules["made"]
    seen.append(pickle.loads(pickle.dumps(mod.f)) is mod.f)
    answer.set()
threading.Thread(target=look, daemon=True).start()
""" + IDLE})
    target.edit("mod.py", """
import sys, __main__
__main__.kept.append(sys.modules)
__main__.ask.set()
__main__.answer.wait()
here = sys.modules[__name__] is not __main__.mod
def f():
    return 2
""")
    target.reload("mod")
    assert target.eval("seen, mod.here, mod.f()") == ([True] * 6, True, 2)
    assert target.eval("sys.modules is kept[0] is not kept[1], kept[1]['mod'] is mod, "
                       "kept[1] == kept[0]") == (True, True, True)


def test_what_a_split_imported_goes_when_it_fails(any_python, start):
    target = start(any_python, {"one.py": SPLIT,
                               "app.py": "import one, sys\nthing = one.Thing()\n" + IDLE})
    target.edit("two.py", SPLIT.replace("return 1", "return 2"))
    target.edit("one.py", "from two import Thing\n1 / 0\n")
    assert target.attach("one").returncode == 1
    assert target.eval("'two' in sys.modules, thing.v(), type(thing) is one.Thing") == (
        False, 1, True)


def test_a_setting_on_a_package_that_is_not_reloaded(python, start):
    target = start(python, {"pkg/__init__.py": "LEVEL = 1\n", "pkg/part.py": "X = 1\n",
                            "app.py": "import pkg.part\n" + IDLE})
    target.edit("pkg/part.py", "import pkg\npkg.LEVEL = 2\npkg.EXTRA = 3\nX = 2\n")
    target.reload("pkg.part")
    assert target.eval("pkg.LEVEL, pkg.EXTRA, pkg.part.X, pkg.part.pkg is pkg") == (2, 3, 2, True)


def test_names_that_go_and_what_others_hold_of_them(python, start):
    target = start(python, {"mod.py": "def gone():\n    return helper()\ndef helper():\n"
                                      "    return 'old'\n",
                            "app.py": "import mod\nfrom mod import gone\n" + IDLE})
    target.edit("mod.py", "def helper():\n    return 'new'\ndef come():\n    return gone_too\n"
                          "gone_too = 1\n")
    module = target.reload("mod")["modules"][0]
    assert module["removed"] == ["gone"] and sorted(module["added"]) == ["come", "gone_too"]
    assert target.eval("hasattr(mod, 'gone'), gone(), mod.come()") == (False, "new", 1)


def test_bases_that_the_source_gives_a_class_of_others(python, start):
    """Its new class takes the place of the old one, or of none when the source fails."""
    source = ("import lib\nclass Mix:\n    pass\n"
              "class Form(Mix):\n    def form(self):\n        return %d\n"
              "lib.Widget.__bases__ = lib.Widget.__bases__ + (Form,)\n"
              "class Sub(lib.Widget):\n    pass\nclass Both(Sub, Mix):\n    pass\n")
    target = start(python, {
        "lib.py": "class Base:\n    pass\nclass Widget(Base):\n    pass\n"
                  "class Button(Widget):\n    pass\n",
        "mod.py": source % 1, "app.py": "import lib, mod\nbutton = lib.Button()\n" + IDLE})
    seen = "button.form(), [c.__name__ for c in lib.Button.__mro__]"
    names = ["Button", "Widget", "Base", "Form", "Mix", "object"]
    target.edit("mod.py", source % 2 + "raise ValueError\n")
    assert target.attach("mod").returncode == 1
    assert target.eval(seen) == (1, names)
    target.edit("mod.py", source % 2)
    target.reload("mod", "--dry-run")
    assert target.eval(seen) == (1, names)
    assert target.reload("mod")["remap"]["unaccounted"] == 0
    assert target.eval(seen) == (2, names)
    assert target.eval("mod.Form in lib.Widget.__bases__ and "
                       "mod.Form.__subclasses__() == [lib.Widget]")


@pytest.mark.parametrize("make", ["class Point(typing.NamedTuple):\n    %s\n",
                                  "Point = collections.namedtuple('Point', '%s')\n"])
@pytest.mark.parametrize("names", [("y", "x"), ("x", "between", "y"), ("x",)])
def test_fields_of_a_named_tuple_that_move(any_python, start, make, names):
    """They go by place: an instance keeps a class that finds its own."""
    def source(*names):
        if "namedtuple" in make:
            return "import collections\n" + make % " ".join(names)
        return "import typing\n" + make % "; ".join(name + ": int" for name in names)

    target = start(any_python, {"mod.py": source("x", "y"),
                                "app.py": "import mod\npoint = mod.Point(1, 2)\n" + IDLE})
    target.edit("mod.py", source(*names))
    done = target.attach("mod")
    assert done.returncode == 5, done
    assert "cannot be rewritten" in done.report["remap"]["held"][0]["where"], done.report
    assert target.eval("point.x, point.y, repr(point)") == (1, 2, "Point(x=1, y=2)")
    assert target.eval("mod.Point._fields") == names


def test_a_named_tuple_gains_a_field_at_the_end(any_python, start):
    """What was made before is too short for the new class, and keeps one that it fits."""
    source = ("import collections, typing\nclass Point(typing.NamedTuple):\n    x: int\n    y: int\n%s"
              "    def sum(self):\n        return %s\n"
              "Pair = collections.namedtuple('Pair', 'a b%s')\n"
              "class Named(Pair):\n    __slots__ = ()\n"
              "class Empty(typing.NamedTuple):\n    %s\n")
    target = start(any_python, {
        "mod.py": source % ("", "self.x", "", "pass"),
        "app.py": "import mod\npoint, pair, named, empty = held = [\n"
                  "    mod.Point(1, 2), mod.Pair(1, 2), mod.Named(1, 2), mod.Empty()]\n" + IDLE})
    target.edit("mod.py", source % ("    z: int = 3\n", "self.x + self.y", " c", "x: int = 1"))
    done = target.attach("mod")
    assert done.returncode == 5, done
    assert sorted(held["object"] for held in done.report["remap"]["held"]) == [
        "mod.Empty", "mod.Named", "mod.Pair", "mod.Point"], done.report
    assert target.eval("[repr(one) for one in held]") == [
        "Point(x=1, y=2)", "Pair(a=1, b=2)", "Named(a=1, b=2)", "Empty()"]
    assert target.eval("[tuple(one) for one in held], point.sum(), point == (1, 2), "
                       "point._replace(y=5) == (1, 5), dict(point._asdict()), "
                       "[tuple(one._replace()) for one in held]") == (
        [(1, 2)] * 3 + [()], 3, True, True, {"x": 1, "y": 2}, [(1, 2)] * 3 + [()])
    assert target.eval("repr((mod.Point(1, 2), mod.Pair(1, 2, 3), mod.Named(1, 2, 3), mod.Empty()))"
                       ) == "(Point(x=1, y=2, z=3), Pair(a=1, b=2, c=3), Named(a=1, b=2, c=3), Empty(x=1))"


CALLBACK = """import ctypes
def handler(x):
    return x + %d
callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(handler)
library = ctypes.c_void_p.in_dll(ctypes.pythonapi, "PyOS_ReadlineFunctionPointer")
library.value = ctypes.cast(callback, ctypes.c_void_p).value
"""


def test_a_callback_that_a_library_was_given(python, start):
    """Its address is all that the library has: the callback lives on, whether it becomes the
    module's own or not, and runs the function that is now the module's."""
    target = start(python, {
        "mod.py": CALLBACK % 1,
        "app.py": "import ctypes, gc, mod\nkind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)\n"
                  "def call():\n    gc.collect()\n"
                  "    others = [kind(lambda x: -1) for _ in range(20)]\n"
                  "    return kind(mod.library.value)(10)\n" + IDLE})
    assert target.eval("call()") == 11
    for ending, status, answer in ("raise ValueError\n", 1, 11), ("", 0, 15), ("", 0, 16):
        target.edit("mod.py", CALLBACK % (answer - 10 if not ending else 9) + ending)
        assert target.attach("mod").returncode == status
        assert target.eval("call()") == answer


@pytest.mark.parametrize("ending, status", [("", 0), ("raise ValueError\n", 1)])
def test_a_buffer_that_a_library_was_given(any_python, start, ending, status):
    """The module's own stays; what the library has lives on all the same."""
    source = ("import ctypes\nbuffer = ctypes.create_string_buffer(b'%s', 5000)\n"
              "library = ctypes.c_void_p.in_dll(ctypes.pythonapi, 'PyOS_ReadlineFunctionPointer')\n"
              "library.value = ctypes.addressof(buffer)\ndef f():\n    return %d\n%s")
    target = start(any_python, {
        "mod.py": source % ("first", 1, ""),
        "app.py": "import ctypes, gc, mod\ndef read():\n    gc.collect()\n"
                  "    others = [ctypes.create_string_buffer(b'other', 5000) for _ in range(50)]\n"
                  "    return ctypes.string_at(mod.library.value)\n" + IDLE})
    target.edit("mod.py", source % ("again", 2, ending))
    assert target.attach("mod", "--keep=mod.buffer").returncode == status
    assert target.eval("read()") == b"again"


STRUCTURE = """import ctypes
class Header(ctypes.Structure):
    _fields_ = [%s]
    def text(self):
        return "%s %%d" %% self.size
"""


@pytest.mark.parametrize("fields", [
    "('big', ctypes.c_char * 1000000), ('size', ctypes.c_int)",
    "('flags', ctypes.c_short), ('size', ctypes.c_short)", "('size', ctypes.c_float)"])
def test_a_ctypes_structure_of_another_layout(python, start, fields):
    """What has the memory of the old one keeps its class: nothing checks a field against that."""
    target = start(python, {
        "mod.py": STRUCTURE % ("('size', ctypes.c_int)", "old"),
        "app.py": "import ctypes, mod\nclass Longer(mod.Header):\n"
                  "    _fields_ = [('more', ctypes.c_int)]\n"
                  "header, longer = mod.Header(5), Longer(6, 7)\n"
                  "pointer = ctypes.pointer(header)\n" + IDLE})
    target.edit("mod.py", STRUCTURE % (fields, "new"))
    done = target.attach("mod")
    assert done.returncode == 5, done
    assert done.report["modules"][0]["kept"] == [], done.report
    assert target.eval("header.size, pointer.contents.size, longer.size, longer.more, "
                       "ctypes.sizeof(header)") == (5, 5, 6, 7, 4)
    assert target.eval("repr(mod.Header.size)") == target.eval(
        "repr(type('H', (ctypes.Structure,), {'_fields_': [%s]}).size)" % fields)


def test_a_ctypes_structure(python, start):
    target = start(python, {"mod.py": STRUCTURE % ("('size', ctypes.c_int)", "old"),
                            "app.py": "import ctypes, mod\nheader = mod.Header(5)\n" + IDLE})
    source = STRUCTURE % ("('length', ctypes.c_int)", "new")
    target.edit("mod.py", source.replace("self.size", "self.length"))
    target.reload("mod")
    assert target.eval("header.text(), header.length, type(header) is mod.Header, "
                       "hasattr(mod.Header, 'size')") == ("new 5", 5, True, False)


def test_a_flag_that_becomes_an_int(python, start):
    """A combination that was made before cannot: it is told of, and not given to the new class."""
    flag = "import enum\nclass Mode(enum.%s):\n    R = 1\n    W = 2\n"
    target = start(python, {"mod.py": flag % "Flag",
                            "app.py": "from mod import Mode\nMode.R | Mode.W\n" + IDLE})
    target.edit("mod.py", flag % "IntFlag")
    done = target.attach("mod")
    assert done.returncode == 5 and done.report["remap"]["unresolved"] == 1, done.report
    assert target.eval("Mode.R in (Mode.R | Mode.W), (Mode.R | Mode.W) == 3") == (True, True)


# ---- Hooks ----

HOOKS = '''
calls = []
class Plug:
    def __init__(self, n):
        self.n = n
VALUE = 1
'''
NEW_HOOKS = '''
calls = []
VALUE = 2
class Plug:
    def __init__(self, n):
        self.n = n
        self.m = 0
    def __pyhot_upgrade__(self, old_class):
        assert old_class is not Plug and old_class.__name__ == "Plug"
        self.m = self.n * 10
        %s
def __pyhot_after__(old):
    calls.append((old.VALUE, VALUE, old.__name__))
    %s
'''


def test_hooks_after_the_change(python, start):
    target = start(python, {"mod.py": HOOKS, "app.py":
                            "import mod\nclass Sub(mod.Plug):\n    pass\n"
                            "plugs = [mod.Plug(1), Sub(2)]\n" + IDLE})
    target.edit("mod.py", NEW_HOOKS % ("", ""))
    target.reload("mod")
    assert target.eval("[p.m for p in plugs], mod.calls") == ([10, 20], [(1, 2, "mod")])


@pytest.mark.parametrize("where", [0, 1])
def test_a_hook_that_fails_is_reported(python, start, where):
    target = start(python, {"mod.py": HOOKS, "app.py":
                            "import mod\nplugs = [mod.Plug(1), mod.Plug(2)]\n" + IDLE})
    trouble = ["", ""]
    trouble[where] = "raise LookupError('hook')"
    target.edit("mod.py", NEW_HOOKS % tuple(trouble))
    done = target.attach("mod")
    assert done.returncode == 5
    module = done.report["modules"][0]
    assert module["result"] == "reloaded" and module["error"]["type"] == "LookupError"
    assert "raise LookupError('hook')" in module["error"]["traceback"]
    assert target.eval("[p.m for p in plugs], mod.calls") == ([10, 20], [(1, 2, "mod")])


def test_a_default_factory_that_fails_is_reported(any_python, start):
    record = "from dataclasses import dataclass, field\nleft = [1]\n" \
             "@dataclass\nclass Record:\n    a: int\n"
    target = start(any_python, {"mod.py": record, "app.py":
                                "import mod\nheld = [mod.Record(1), mod.Record(2)]\n" + IDLE})
    target.edit("mod.py", record + "    b: int = field(default_factory=lambda: left.pop())\n"
                                   "    c: list = field(default_factory=list)\n")
    done = target.attach("mod")
    module = done.report["modules"][0]
    assert done.returncode == 5 and module["result"] == "reloaded"
    assert module["error"]["type"] == "IndexError", module
    assert target.eval("sorted(len(vars(r)) for r in held), [r.c for r in held]") \
        == ([2, 3], [[], []])


def test_new_fields_of_a_dataclass_elsewhere_that_inherits(any_python, start):
    begin = "from dataclasses import dataclass, field\nimport mod\n@dataclass\n"
    base = begin + "class Base:\n    a: int = 1\n"
    target = start(any_python, {
        "mod.py": base, "sub.py": begin + "class Sub(mod.Base):\n    b: int = 2\n",
        "app.py": "import mod, sub\nheld = [mod.Base(), sub.Sub()]\n" + IDLE})
    target.edit("mod.py", base + "    c: list = field(default_factory=list)\n")
    target.reload("mod")
    assert target.eval("[one.c for one in held], held[0].c is held[1].c") == ([[], []], False)
    target.reload("--force", "mod", "sub")
    assert target.eval("sub.Sub().c, held[1] == sub.Sub()") == ([], True)


def test_a_hash_that_fails_is_reported(any_python, start):
    text = "class Key:\n    def __init__(self, n):\n        self.n = n\n" \
           "    def __hash__(self):\n        return %s\n"
    target = start(any_python, {"mod.py": text % "self.n", "app.py":
                                "import mod\nkeys = [mod.Key(n) for n in range(4)]\n"
                                "table = {key: key.n for key in keys}\n" + IDLE})
    target.edit("mod.py", text % "10 // (self.n - 2)")
    done = target.attach("mod")
    module = done.report["modules"][0]
    assert done.returncode == 5 and module["result"] == "reloaded"
    assert module["error"]["type"] == "ZeroDivisionError", module
    assert target.eval("[table[key] for key in keys if key.n != 2], len(table)") == ([0, 1, 3], 4)


ATTRS = """
import attr

@attr.define
class Slots:
    x: int
    {fields}
    def kind(self):
        return "{version}", super().__repr__()[:4]

@attr.s
class Plain:
    x = attr.ib()
    {attributes}

@attr.frozen
class Frozen(Slots):
    z: int = 0
"""


def test_new_fields_of_attrs_classes(any_python, start):
    """attrs makes a class with slots a second time, from the namespace of the first."""
    attr = pytest.importorskip("attr")
    target = start(any_python, {
        "mod.py": ATTRS.format(version="old", fields="", attributes=""),
        "app.py": "import os, sys\nsys.path.append(%r)\nimport mod\n"
                  "held = [mod.Slots(1), mod.Plain(2), mod.Frozen(3)]\n"
                  % os.path.dirname(os.path.dirname(attr.__file__)) + IDLE})
    target.edit("mod.py", ATTRS.format(
        version="new",
        fields="y: list = attr.Factory(list)\n    w: int = attr.field(init=False)\n"
               "    @w.default\n    def _w(self):\n        return self.x * 2\n",
        attributes="y = attr.ib(default=5); n = attr.ib(kw_only=True)"))
    target.reload("mod")
    assert target.eval("[(o.x, o.y, getattr(o, 'w', None)) for o in held]") \
        == [(1, [], 2), (2, 5, None), (3, [], 6)]
    assert target.eval("held[0].kind(), repr(held[2]), held[0] == mod.Slots(1, [])") \
        == (("new", "<mod"), "Frozen(x=3, y=[], w=6, z=0)", True)
    assert target.eval("hasattr(held[1], 'n'), [type(o) is getattr(mod, type(o).__name__)"
                       " for o in held]") == (False, [True] * 3)


MADE_AGAIN = """
import registry, weakref

def with_slots(cls):
    "As dataclass(slots=True) and attrs.define: the class that came first is a cycle."
    registry.first.append({keep})
    names = {{k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}}
    names["__slots__"] = names.pop("fields")
    return type(cls)(cls.__name__, cls.__bases__, names)

@with_slots
class Base:
    fields = {fields}
    def kind(self):
        return "of Base"

@with_slots
class Sub(Base):
    fields = ("z",)
    def kind(self):
        return Base.kind(self), "of Sub"
"""

OF_THIS_NAME = "[c.__mro__[1] is mod.Base for c in gc.get_objects()" \
               " if isinstance(c, type) and c.__qualname__ == 'Sub' and c.__module__ == 'mod']"


def test_a_class_made_twice_is_no_subclass_once_it_is_garbage(python, start):
    def text(*fields):
        return MADE_AGAIN.format(keep="weakref.ref(cls)", fields=fields)

    target = start(python, {"registry.py": "first = []\n", "mod.py": text("x"), "app.py":
                            "import gc\ngc.disable()\nimport mod\n"
                            "held = [mod.Base(), mod.Sub()]\nheld[1].x = held[1].z = 3\n" + IDLE})
    for fields in ("y", "x"), ("z1", "x", "y"), ("x",):
        target.edit("mod.py", text(*fields))
        report = target.reload("mod")
        assert report["remap"]["unresolved"] == 0 and report["remap"]["held"] == []
        assert target.eval("held[1].x, held[1].z, held[1].kind()") == (3, 3, ("of Base", "of Sub"))
        assert target.eval("type(held[1]) is mod.Sub, mod.Sub.__mro__[1] is mod.Base") \
            == (True, True)
    assert len(target.eval(OF_THIS_NAME)) > 1
    assert target.eval("gc.collect() > 0, " + OF_THIS_NAME) == (True, [True])


@pytest.mark.parametrize("keep, app", [
    ("cls", ""),
    ("cls()", ""),
    ("lambda: cls", ""),
    ("[cls() for i in range(1000)]", ""),
    ("cls", "def run(local):\n    probe.ready()\n    threading.Event().wait()\n"
            "run(registry.first.pop())\n"),
    ("cls", "def suspend(local):\n    yield\n"
            "suspended = suspend(registry.first.pop())\nnext(suspended)\n"),
], ids=["list", "instance", "closure", "instances", "running frame", "suspended frame"])
def test_a_class_made_twice_is_named_as_long_as_it_is_held(any_python, start, keep, app):
    target = start(any_python, {
        "registry.py": "first = []\n", "mod.py": MADE_AGAIN.format(keep=keep, fields=("x",)),
        "app.py": "import gc, probe, registry, threading\ngc.disable()\nimport mod\n" + app + IDLE})
    target.edit("mod.py", MADE_AGAIN.format(keep="None", fields=("x", "y")))
    done = target.attach("mod")
    assert done.returncode == 5, done.stdout
    assert [(held["object"], held["where"]) for held in done.report["remap"]["held"]] \
        == [("mod.Base", "subclass mod.Sub, which cannot be rewritten, as the layout changed")]
    assert done.report["remap"]["unaccounted"] == 0


def test_what_a_dropped_object_had_is_pointed_out(any_python, start):
    text = "import web\napp = web.App()\n@app.route\ndef index():\n    return %d\n"
    target = start(any_python, {
        "web.py": "class App:\n    def __init__(self):\n        self.routes = []\n"
                  "    def route(self, f):\n        self.routes.append(f)\n        return f\n",
        "mod.py": text % 1, "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", text % 2 + "@app.route\ndef about():\n    return 3\n")
    done = harness.run_pyhot("attach", target.pid, "mod", json_report=False)
    assert done.returncode == 0, done.stderr
    assert "  not in app, which is kept: about (--new app takes the new one)\n" in done.stdout
    target.reload("mod", "--force", "--new", "app")
    assert target.eval("[f() for f in mod.app.routes]") == [2, 3]


MODEL = """
from pydantic import BaseModel, Field

class Part(BaseModel):
    n: int = 1
    {part}

class Item(BaseModel):
    name: str
    inner: Part = Part()
    {item}
"""


def has_pydantic_2(python):
    version = subprocess.run([python.path, "-c", "import pydantic; print(pydantic.VERSION)"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return version.stdout.startswith("2.")


def test_new_fields_of_pydantic_2_models(pythons, start):
    """What a nested model's serializer in Rust refers to cannot be rewritten (exit 5); it is the
    old class's own."""
    found = [python for python in pythons if not python.debug and has_pydantic_2(python)]
    if not found:
        pytest.skip("no interpreter has pydantic 2")
    target = start(found[0], {"mod.py": MODEL.format(part="", item=""), "app.py": "import mod\n"
                              "held = mod.Item(name='a')\n" + IDLE})
    target.edit("mod.py", MODEL.format(part="m: int = 2", item="tags: list = Field("
                                       "default_factory=list)\n    must: int"))
    done = target.attach("mod")
    assert done.returncode in (0, 5), done.stdout + done.stderr
    assert target.eval("held.inner.m, held.tags is held.tags, hasattr(held, 'must')") \
        == (2, True, False)
    assert target.eval("mod.Item(name='a', must='1').model_dump()") \
        == {"name": "a", "inner": {"n": 1, "m": 2}, "tags": [], "must": 1}
    assert target.eval("held.inner.model_dump(), type(held) is mod.Item") \
        == ({"n": 1, "m": 2}, True)


def test_new_fields_of_pydantic_1_models(any_python, start):
    pydantic = pytest.importorskip("pydantic")
    if not pydantic.VERSION.startswith("1."):
        pytest.skip("pydantic 2 is tried with the interpreters that have it")
    target = start(any_python, {
        "mod.py": MODEL.format(part="", item=""),
        "app.py": "import os, sys\nsys.path.append(%r)\nimport mod\nheld = mod.Item(name='a')\n"
                  % os.path.dirname(os.path.dirname(pydantic.__file__)) + IDLE})
    target.edit("mod.py", MODEL.format(part="m: int = 2", item="tags: list = Field("
                                       "default_factory=list)\n    must: int"))
    target.reload("mod")
    assert target.eval("held.dict(), held.tags is held.tags, hasattr(held, 'must')") \
        == ({"name": "a", "inner": {"n": 1, "m": 2}, "tags": []}, True, False)
    assert target.eval("mod.Item(name='a', must=1).dict()") \
        == {"name": "a", "inner": {"n": 1, "m": 2}, "tags": [], "must": 1}


def test_a_hook_that_refuses(python, start):
    target = start(python, {"mod.py": "def __pyhot_before__():\n    raise OSError('not now')\n"
                                      "X = 1\n", "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", "import log\nX = 2\n")
    done = target.attach("mod")
    assert done.returncode == 1
    assert done.report["modules"][0]["error"]["message"] == "not now"
    assert target.eval("mod.X, 'log' in __import__('sys').modules") == (1, False)


# ---- Where code must run ----

MAIN_ONLY = "import signal\ndef handler(*_):\n    return %d\n" \
            "signal.signal(signal.SIGUSR2, handler)\n"


def test_code_that_only_works_in_the_main_thread(python, start):
    target = start(python, {"mod.py": MAIN_ONLY % 1, "app.py": "import mod, signal\n" + IDLE})
    target.edit("mod.py", MAIN_ONLY % 2)
    target.reload("mod")
    assert target.eval("signal.getsignal(signal.SIGUSR2)()") == 2
    assert target.eval("signal.getsignal(signal.SIGUSR2) is mod.handler") is True


def test_a_main_thread_that_is_blocked(any_python, start):
    target = start(any_python, {"mod.py": MAIN_ONLY % 1, "app.py": "import mod, signal\n" + BLOCKED})
    target.wait_eval("lock.locked()")
    target.edit("mod.py", MAIN_ONLY % 2)
    done = target.attach("mod")
    assert done.returncode == 1
    assert "main thread is blocked" in done.report["modules"][0]["error"]["message"]
    assert target.eval("mod.handler()") == 1
    target.check_unharmed()


def test_source_that_does_not_end_is_given_up(python, start):
    target = start(python, {"mod.py": "X = 1\n", "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", "X = 2\nwhile True:\n    pass\n")
    done = target.attach("mod", "--timeout", "1")
    assert done.returncode == 4, done.stdout + done.stderr
    target.check_unharmed()
    assert target.eval("mod.X") == 1
    target.edit("mod.py", "X = 3\n")
    target.reload("mod")
    assert target.eval("mod.X") == 3


def test_threading_imported_by_the_new_source(python, start):
    """The target has one thread and never imported threading: main stays MainThread."""
    program = ("import os, sys, time\nimport mod\nassert 'threading' not in sys.modules\n"
               "os.write(int(os.environ['PROBE_OUT']), b'READY\\n')\n"
               "while not mod.DONE:\n    time.sleep(0.01)\n"
               "import threading\n"
               "print(threading.current_thread() is threading.main_thread(),\n"
               "      [type(t).__name__ for t in threading.enumerate()])\n"
               "threading.Thread(target=lambda: (time.sleep(0.1), print('joined'))).start()\n")
    target = start(python, {"mod.py": "DONE = 0\n", "app.py": program},
                   command=["-S", "-E", "app.py"])
    target.edit("mod.py", "import threading\nthreading.current_thread()\nDONE = 1\n")
    target.reload("mod")
    assert target.process.wait(harness.DEADLINE) == 0, target.describe()
    assert target.stdout_path.read_text().split("\n")[:2] == ["True ['_MainThread']", "joined"]
    assert target.stderr_path.read_text() == ""


# ---- Forms of source ----

def test_encodings(python, start):
    target = start(python, {"latin.py": "X = 1\n", "bom.py": "X = 1\n",
                            "app.py": "import latin, bom\n" + IDLE})
    (target.directory / "latin.py").write_bytes(
        b"# -*- coding: latin-1 -*-\nX = '\xe4'\nY = 1\n")
    (target.directory / "bom.py").write_bytes(b"\xef\xbb\xbfX = '\xc3\xa4'\r\nif X:\r\n\tY = 2\r\n")
    target.reload("latin", "bom")
    assert target.eval("latin.X, bom.X, latin.Y, bom.Y") == ("\xe4", "\xe4", 1, 2)


FORMS = {
    "form_feed": "\fdef f():\n    return V\n\f\n# page two\nX = V\n",
    "crlf": "def f():\r\n    return V\r\nX = \"\"\"a\r\nb\"\"\" and V\r\n",
    "cr": "def f():\r    return V\rX = V\r",
    "mixed": "def f():\r\n    return V\r\nX = V\n\n\n",
    "no_newline": "def f(): return V\nX = V",
    "tabs": "def f():\n\tif 1:\n\t    return V\nX = V\n",
    "cookie_in_line_2": "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\nE = '\u20ac'\n"
                        "def f(): return V\nX = V if E == '\\u20ac' else E\n",
    "utf8_names": "def f\u00f6():\n    return V\nf = f\u00f6\nX = V\n",
    "long_line": "def f(): return V\nT = (%s)\nX = V if T[-1] == 19999 else 0\n"
                 % ", ".join(map(str, range(20000))),
    "long_string": "def f(): return V\nX = V if len('%s') == 100000 else 0\n" % ("x" * 100000),
    "future": "'doc'\nfrom __future__ import annotations\ndef f(a: no_such_name = 0): return V\n"
              "X = V\n",
    "continued": "def f(): \\\n    return \\\n  V\nX = \\\nV\n",
    "space.part": "def f(): return V\nX = V\n",
    "found": "def f(): return V\nX = V\n",
    "linked": "def f(): return V\nX = V\n",
}
FINDER = """
import importlib.abc, importlib.util, sys
class Finder(importlib.abc.MetaPathFinder):  # as editable installs have it
    def find_spec(self, name, path=None, target=None):
        if name == "found":
            return importlib.util.spec_from_file_location(name, %r)
sys.meta_path.append(Finder())
"""


def encoded(name, text, value):
    text = text.replace("V", str(value))
    return text.encode("cp1252" if name == "cookie_in_line_2" else "utf-8")


def test_forms_of_source(python, tmp_path, start):
    modules = sorted(FORMS)
    elsewhere = tmp_path / "elsewhere"
    links = [tmp_path / "linked1.py", tmp_path / "linked2.py"]

    def save(value):
        for name, text in FORMS.items():
            path = tmp_path / "target0" / (name.replace(".", "/") + ".py")
            if name == "found":
                path = elsewhere / "src" / "found.py"
            elif name == "linked":
                path = links[value - 1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(name, text, value))

    save(1)
    (tmp_path / "target0" / "linked.py").symlink_to(links[0])
    target = start(python, {"app.py": FINDER % str(elsewhere / "src" / "found.py")
                            + "import sys, %s\n" % ", ".join(modules) + IDLE})
    both = "{n: (sys.modules[n].f(), sys.modules[n].X) for n in %r}" % modules
    assert target.eval(both) == {name: (1, 1) for name in modules}
    save(2)
    (tmp_path / "next").symlink_to(links[1])
    (tmp_path / "next").replace(tmp_path / "target0" / "linked.py")
    target.reload(*modules)
    assert target.eval(both) == {name: (2, 2) for name in modules}
    assert target.eval("future.f.__annotations__") == {"a": "no_such_name"}
    assert target.eval("__import__('inspect').getsource(crlf.f)") == "def f():\n    return 2\n"


WRONG = {
    "not_ascii": b"# coding: ascii\nX = '\xe4'\n",
    "not_utf8": b"X = '\xe4'\n",
    "no_such_encoding": b"# coding: no-such-encoding\nX = 1\n",
    "bom_and_other_cookie": b"\xef\xbb\xbf# coding: latin-1\nX = 1\n",
    "null": b"X = 1\nY = '\0'\n",
    "late_future": b"X = 1\nfrom __future__ import annotations\n",
    "dedent": b"if 1:\n        X = 1\n    Y = 2\n",
}


def test_forms_that_are_wrong(python, start):
    target = start(python, {"mod.py": "X = 0\n", "app.py": "import mod\n" + IDLE})
    for name, text in WRONG.items():
        (target.directory / "mod.py").write_bytes(text)
        done = target.attach("mod")
        assert done.returncode == 1, (name, done.stdout)
        error = done.report["modules"][0]["error"]
        # null bytes are a ValueError before 3.12, as from compile()
        assert error["type"] in ("SyntaxError", "IndentationError", "ValueError"), (name, error)
        assert target.eval("mod.X, hasattr(mod, 'Y')") == (0, False)


def test_a_file_that_is_replaced_while_it_is_read(any_python, start):
    """By rename: one version or the other, whole."""
    def text(value):
        return "FIRST = %d\n%s\nLAST = %d\n" % (value, "# %s\n" % ("x" * 70) * 20000, value)

    target = start(any_python, {"mod.py": text(0), "app.py": "import mod\n" + IDLE})
    path, stop, saved = target.directory / "mod.py", threading.Event(), [0]

    def save():
        while not stop.is_set():
            saved[0] += 1
            fresh = target.directory / "fresh"
            fresh.write_text(text(saved[0]))
            fresh.replace(path)

    writer = threading.Thread(target=save)
    writer.start()
    try:
        seen = set()
        for _ in range(8):
            target.reload("mod")
            first, last = target.eval("mod.FIRST, mod.LAST")
            assert first == last
            seen.add(first)
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1 and saved[0] > 8


def test_relative_path_and_another_directory(python, start):
    """A module found through a relative entry of sys.path, and os.chdir since."""
    target = start(python, {"lib/mod.py": "X = 1\n", "other/lib/mod.py": "X = 'wrong'\n",
                            "app.py": "import os, sys\nsys.path.insert(0, 'lib')\nimport mod\n"
                                      "os.chdir('other')\n" + IDLE}, command=["app.py"])
    target.edit("lib/mod.py", "X = 2\n")
    done = target.attach("mod")
    assert done.returncode == 0 and target.eval("mod.X") == 2


def write_zip(path, **modules):
    temporary = path.with_name("new.zip")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, text in modules.items():
            archive.writestr("inside/%s.py" % name, text)
    temporary.replace(path)


def test_module_in_a_zip_file(python, tmp_path, start):
    path = tmp_path / "lib.zip"
    write_zip(path, mod="def f():\n    return 1\n")
    target = start(python, {"app.py": "import sys\nsys.path.insert(0, %r)\nimport mod\n"
                                      % str(path / "inside") + IDLE})
    write_zip(path, another="X = 1\n" * 100, mod="def f():\n    return 2\n")
    target.reload("mod")
    assert target.eval("mod.f()") == 2


def test_optimised_interpreter(python, start):
    text = "def f():\n    'doc'\n    assert False, 'removed by -O'\n    return %d, __debug__\n"
    target = start(python, {"mod.py": text % 1, "app.py": "import mod\n" + IDLE},
                   command=["-OO", "app.py"])
    target.edit("mod.py", text % 2)
    target.reload("mod")
    assert target.eval("mod.f(), mod.f.__doc__") == ((2, False), None)


def test_switched_release(python, tmp_path, start):
    for n in (1, 2):
        directory = tmp_path / "releases" / str(n)
        directory.mkdir(parents=True)
        (directory / "app.py").write_text("import mod\n" + IDLE)
        (directory / "mod.py").write_text("def f():\n    return %s\n" % ("1" * n))
    link = tmp_path / "current"
    link.symlink_to("releases/1")
    target = start(python, {}, command=[str(link / "app.py")])
    other = tmp_path / "next"
    other.symlink_to("releases/2")
    other.replace(link)
    module = target.reload("mod")["modules"][0]
    assert target.eval("mod.f()") == 11
    assert module["file"] == str(tmp_path / "releases" / "2" / "mod.py")
    assert target.eval("mod.f.__code__.co_filename") == module["file"]


def test_loader_of_the_program_itself(python, start):
    program = '''
import importlib.abc, importlib.util, sys
TEXT = ["def f():\\n    return 1\\n"]
class Loader(importlib.abc.InspectLoader):
    def get_source(self, name):
        return TEXT[0]
spec = importlib.util.spec_from_loader("made", Loader())
made = importlib.util.module_from_spec(spec)
sys.modules["made"] = made
spec.loader.exec_module(made)
'''
    target = start(python, {"app.py": program + IDLE})
    target.exec("TEXT[0] = 'def f():\\n    return 2\\n'")
    target.reload("made")
    assert target.eval("made.f()") == 2


def test_tracebacks_and_getsource_fit_the_new_code(python, start):
    target = start(python, {"mod.py": "def f():\n    return 'old'\n",
                            "app.py": "import inspect, linecache, mod\n"
                                      "inspect.getsource(mod.f)\n" + IDLE})
    new = "# a line more\ndef f():\n    return 'new'\n"
    target.edit("mod.py", new)
    target.reload("mod")
    assert target.eval("inspect.getsource(mod.f)") == new.split("\n", 1)[1]
    assert target.eval("linecache.getline(mod.__file__, 3)") == "    return 'new'\n"


REFUSALS = {
    "built-in": ("sys", "no-source", "built into"),
    "frozen": ("_frozen_importlib", "no-source", "frozen"),
    "byte code only": ("onlypyc", "no-source", "byte code"),
    "namespace package": ("space", "no-source", "namespace package"),
    "no file": ("made_up", "no-source", "no file"),
    "not a module": ("strange", "not-a-module", "not a module"),
    "not loaded": ("servce", "not-loaded", "not loaded"),
    "vanished": ("vanished", "unreadable", "No such file"),
    "became a package": ("grown", "unreadable", "No such file"),
    "a FIFO in its place": ("fifo", "unreadable", "not a regular file"),
}


@pytest.fixture(scope="module")
def sources(python, tmp_path_factory):
    directory = tmp_path_factory.mktemp("sources")
    (directory / "space").mkdir()
    (directory / "onlypyc.py").write_text("X = 1\n")
    subprocess.run([str(python), "-c", "import py_compile; py_compile.compile('onlypyc.py', "
                    "cfile='onlypyc.pyc')"], cwd=str(directory), check=True)
    (directory / "onlypyc.py").unlink()
    target = harness.Target(python, directory, {
        "service.py": "X = 1\n", "vanished.py": "X = 1\n", "fifo.py": "X = 1\n",
        "grown.py": "X = 1\n",
        "app.py": "import onlypyc, space, service, vanished, fifo, grown, sys, types\n"
                  "sys.modules['made_up'] = types.ModuleType('made_up')\n"
                  "sys.modules['strange'] = object()\n" + IDLE})
    (directory / "vanished.py").unlink()
    (directory / "fifo.py").unlink()
    (directory / "grown.py").unlink()
    (directory / "grown").mkdir()
    (directory / "grown" / "__init__.py").write_text("X = 2\n")
    os.mkfifo(str(directory / "fifo.py"))
    yield target
    target.kill()


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusal(sources, refusal):
    module, code, text = REFUSALS[refusal]
    done = sources.attach(module)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.report["error"]["code"] == code
    assert text in done.report["error"]["message"]
    if module == "grown":
        assert "needs a restart" in done.report["error"]["hint"]
    if code == "not-loaded":
        assert "service" in done.report["error"]["hint"]
    sources.check_unharmed()


def test_generator_begun_by_the_new_source_lives_on(python, start):
    """On 3.11 and later it borrows the dict that it was begun in."""
    target = start(python, {"mod.py": "X = 1\n", "app.py": "import gc, mod\n" + IDLE})
    target.edit("mod.py", "X = 2\ndef count():\n    while True:\n        yield X, list(range(9))\n"
                          "ticks = count()\nnext(ticks)\n"
                          "try:\n    1/0\nexcept ZeroDivisionError as e:\n    error = e\n")
    target.reload("mod")
    target.exec("gc.collect()\njunk = [dict.fromkeys(range(i)) for i in range(200)]")
    assert target.eval("next(mod.ticks)[0]") == 2
    assert target.eval("mod.error.__traceback__.tb_frame.f_globals['X']") == 2


def test_audit_hooks_do_not_run_in_the_middle(python, run_script, tmp_path):
    """Setting __class__ and __code__ are events: a hook that runs Python code, or forbids them,
    would leave half a change.  Afterwards the hooks are as before."""
    output = run_script(python, r'''
import os, sys
sys.path.insert(0, %r)
path = %r
def save(n):
    with open(path, "w") as file:
        file.write("class C:\n    def m(self):\n        return %%d\ndef f():\n    return %%d\n" %% (n, n))
    os.utime(path, (1e9 + n, 1e9 + n))
save(1)
import audited, pyhot
events, armed = [], False
def hook(event, arguments):
    if armed and event in ("object.__setattr__", "sys._current_frames"):
        events.append(event)
        raise RuntimeError("forbidden")
    if armed and event == "ours":
        events.append(event)
sys.addaudithook(hook)
sys.addaudithook(lambda event, arguments: None)
instance, method, held = audited.C(), audited.C().m, [audited.f]
def generator(f=audited.f):
    yield f()
    yield f()
running = generator()
next(running)
save(2)
armed = True
report = pyhot.reload("audited")
sys.audit("ours")
armed = False
assert report["exit"] == 0, report
print(events, instance.m(), method(), held[0](), next(running), type(instance) is audited.C)
''' % (str(tmp_path), str(tmp_path / "audited.py")))
    assert output == "['ours'] 2 2 2 2 True\n"
