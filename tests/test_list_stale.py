"""`pyhot list-stale` and `pyhot.stale()`: what no longer matches the source, what old objects are
alive and who holds them."""

import ast
import json
import os
import shutil
import re
import signal
import subprocess
import time

import pytest

import harness

# Helpers of the scripts that run in the interpreter under test.  Source files get times of their
# own, so that no cache of byte code takes one for another.
PRELUDE = r'''
import importlib, os, sys, tempfile
sys.dont_write_bytecode = False
directory = tempfile.mkdtemp()
sys.path.insert(0, directory)
import pyhot

def write(name, text, time):
    path = os.path.join(directory, name + ".py")
    with open(path, "w") as file:
        file.write(text)
    os.utime(path, (time, time))
    importlib.invalidate_caches()

def changes(name):
    module, = pyhot.stale(name)["modules"]
    return module["state"], module["lines_moved"], sorted(
        (c["name"], c["change"], c["kind"]) for c in module["changes"])
'''

SOURCE = '''\
import collections, dataclasses, enum, functools, os
from contextlib import contextmanager

LIMIT = 5
NAMES = ["a", "b"]
counter = 0

def bump():
    global counter
    counter += 1

def plain(a, b=1):
    # a comment
    return a + b

def outer():
    def inner():
        return 1
    return inner

def traced(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@traced
def decorated(x):
    return x

@functools.lru_cache(None)
def cached(x):
    return x * 2

@contextmanager
def managed():
    yield 3

@functools.singledispatch
def dispatched(x):
    return "any"

@dispatched.register(int)
def _(x):
    return "int"

@dispatched.register(str)
def _(x):
    return "str"

if os.name == "nt":
    def conditional():
        return "nt"
else:
    def conditional():
        return "other"

class Shape:
    """A shape."""
    sides = 3
    __slots__ = ("width",)

    def area(self):
        return 1

    @property
    def size(self):
        return 2

    @size.setter
    def size(self, value):
        self.width = value

    @staticmethod
    def unit():
        return 4

    @classmethod
    def make(cls):
        return 5

    class Corner:
        def angle(self):
            return 6

    def __hidden(self):
        return 7

@dataclasses.dataclass
class Point:
    x: int = 0
    y: list = dataclasses.field(default_factory=list)

    def distance(self):
        return self.x

class Color(enum.Enum):
    RED = 1

    def describe(self):
        return "color"

Pair = collections.namedtuple("Pair", "a b")
TABLE = {"one": lambda v: v + 1}
add = lambda v: v + 2

def factory():
    def made(v):
        return v
    made.__name__ = made.__qualname__ = "renamed"
    return made

renamed = factory()
for i in range(2):
    bump()
'''

# What is edited: (old text, new text, state, are lines moved, changes where the loaded source is
# known, changes where it is only known by the live objects; None: the same).
EDITS = {
    "touch": ("", "", "fresh", False, [], None),
    "comment": ("# a comment", "# another one", "fresh", False, [], None),
    "blank lines": ("LIMIT = 5", "\n\nLIMIT = 5", "fresh", True, [], None),
    "function": ("a + b", "a - b", "stale", False, [("plain", "changed", "function")], None),
    "default value": ("b=1", "b=2", "stale", False, [("plain", "changed", "function")], []),
    "nested function": ("return 1\n    return inner", "return 11\n    return inner", "stale", False,
                        [("outer.<locals>.inner", "changed", "function")], None),
    "decorated": ("    return x\n\n@functools.lru", "    return -x\n\n@functools.lru", "stale",
                  False, [("decorated", "changed", "function")], None),
    "decorator gone": ("@traced\n", "", "stale", True, [("decorated", "changed", "function")], []),
    "lru_cache": ("x * 2", "x * 3", "stale", False, [("cached", "changed", "function")], None),
    "contextmanager": ("yield 3", "yield 4", "stale", False,
                       [("managed", "changed", "function")], None),
    "conditional": ('return "other"', 'return "changed"', "stale", False,
                    [("conditional", "changed", "function")], None),
    "constant": ("LIMIT = 5", "LIMIT = 6", "stale", False, [("LIMIT", "changed", "constant")],
                 None),
    "list": ('"b"]', '"b", "c"]', "stale", False, [("NAMES", "changed", "constant")], []),
    "class attribute": ("sides = 3", "sides = 4", "stale", False,
                        [("Shape.sides", "changed", "attribute")], []),
    "method": ("return 1\n\n    @prop", "return 12\n\n    @prop", "stale", False,
               [("Shape.area", "changed", "method")], None),
    "private method": ("return 7", "return 8", "stale", False,
                       [("Shape.__hidden", "changed", "method")], None),
    "property": ("self.width = value", "self.width = -value", "stale", False,
                 [("Shape.size", "changed", "method")], None),
    "static method": ("return 4", "return 44", "stale", False,
                      [("Shape.unit", "changed", "method")], None),
    "class method": ("return 5", "return 55", "stale", False,
                     [("Shape.make", "changed", "method")], None),
    "nested class": ("return 6", "return 66", "stale", False,
                     [("Shape.Corner.angle", "changed", "method")], None),
    "base": ("class Corner:", "class Corner(dict):", "stale", False,
             [("Shape.Corner", "changed", "class")], []),
    "field": ("x: int = 0", "x: int = 9", "stale", False, [("Point.x", "changed", "attribute")],
              []),
    "annotation": ("x: int = 0", "x: str = 0", "stale", False, [("Point", "changed", "class")],
                   []),
    "enum member": ("RED = 1", "RED = 2", "stale", False, [("Color.RED", "changed", "attribute")],
                    []),
    "lambda": ("v + 2", "v + 3", "stale", False, [("add", "changed", "constant")],
               [("<lambda>", "changed", "function")]),
    "statement": ("range(2)", "range(3)", "stale", False, [("<module>", "changed", "module")], []),
    "new function": ("LIMIT = 5", "LIMIT = 5\ndef new(): pass", "stale", True,
                     [("new", "added", "function")], None),
    "new class": ("LIMIT = 5", "LIMIT = 5\nclass New:\n    x = 1\n    def y(self): pass", "stale",
                  True, [("New", "added", "class")], None),
    "new method": ("    class Corner:", "    def new(self): pass\n    class Corner:", "stale", True,
                   [("Shape.new", "added", "method")], None),
    "new constant": ("LIMIT = 5", "LIMIT = 5; NEW = 1", "stale", False,
                     [("NEW", "added", "constant")], None),
    "function gone": ("def plain(a, b=1):\n    # a comment\n    return a + b\n", "", "stale", True,
                      [("plain", "removed", "function")], None),
    "method gone": ("    def area(self):\n        return 1\n", "", "stale", True,
                    [("Shape.area", "removed", "method")], None),
    "class gone": (SOURCE[SOURCE.index("class Color"):SOURCE.index("Pair =")], "", "stale", True,
                   [("Color", "removed", "class")], None),
    "constant gone": ("LIMIT = 5", "", "stale", False, [("LIMIT", "removed", "constant")], []),
}

EDITED = {name: SOURCE.replace(old, new, 1) if old else SOURCE
          for name, (old, new, *_) in EDITS.items()}

EDIT_SCRIPT = PRELUDE + r'''
source, edits, known = %r, %r, %r
sys.dont_write_bytecode = not known
for number, (title, text) in enumerate(edits.items()):
    name = "edited%%d" %% number
    write(name, source, 1e9)
    module = importlib.import_module(name)
    module.counter += 7             # state is not a change
    module.Shape.seen = True        # nor is what somebody else set
    write(name, text, 1e9 + 60)
    print(repr((title,) + changes(name)))
'''


@pytest.mark.parametrize("known", [True, False], ids=["with cached code", "without"])
def test_every_change_is_named(python, run_script, known):
    output = run_script(python, EDIT_SCRIPT % (SOURCE, EDITED, known))
    found = {title: result for title, *result in map(ast.literal_eval, output.splitlines())}
    for title, (_, _, state, moved, changes, by_objects) in EDITS.items():
        if title == "annotation" and python.minor >= (3, 14):
            by_objects = None  # annotations are functions, alive as such
        if not known and by_objects is not None:
            changes = by_objects
            state = "stale" if changes else "fresh"
        assert found[title] == [state, moved, changes], title


# What a text of its own shows best: what it was, and what it became.
REFORMED = [
    ("def f(a,b):\n    return g(a,b)\n",
     "def f(\n    a, b\n):\n    return g(\n        a,\n        b,\n    )\n"),
    ("def f(a):\n    try: x = g(a); y = g(x)\n    except E: pass\n    while a: pass\n    return x, y\n",
     "def f(a):\n    try:\n        x = g(a)\n        y = g(\n            x)\n    except E:\n"
     "        pass\n    while a:\n        pass\n    return (x,\n            y)\n"),
    ("x = 60*60\ndef f(): return 2*30, 'a' 'b'\n", "x = 3600\ndef f(): return (0x3c, \"ab\")\n"),
    ("def f(x):\n    return 1\n", "def f(x):\n    if 0: print('never')\n    return 1\n"),
    ("def f(x): return x in {'a', 'b', 'c'}, f'{x}'\n",
     "def f(x): return x in {'c', 'b', 'a'}, f'{ x }'\n"),
    ("def f(): pass\n", "def f(): ...\n"),
    ("def f():\n    return '\u00e9'\n",
     "# coding: latin-1\r\ndef f():\r\n\treturn '\\u00e9'\r\n"),
    ("exec('def f(): return 1')\nC = type('C', (), {'m': lambda self: 1})\n",
     "exec('def f(): return 1')\n\nC = type('C', (), {'m': lambda self: 1})\n"),
    ("class C: pass\nfor n in 'ab':\n    def m(self, n=n): return n\n    setattr(C, n, m)\ndel m, n\n",
     "class C: pass\n#\nfor n in 'ab':\n    def m(self, n=n): return n\n    setattr(C, n, m)\ndel m, n\n"),
    ("registry = {}\ndef register(f): registry[f.__name__] = f\n@register\ndef f(): return 1\n",
     "registry = {}\ndef register(f): registry[f.__name__] = f\n\n@register\ndef f(): return 1\n"),
    ("import enum, typing\nclass E(enum.IntFlag):\n    A = enum.auto()\n"
     "class P(typing.NamedTuple):\n    a: int = 1\n    def m(self): return self.a\n",
     "import enum, typing\n\nclass E(enum.IntFlag):\n    A = enum.auto()\n"
     "class P(typing.NamedTuple):\n    a: int = 1\n    def m(self): return self.a\n"),
    ("from __future__ import annotations\nimport sys\nif sys.argv:\n    a: int = 1\ndef f(a: int): pass\n",
     "from __future__ import annotations\nimport sys\n\nif sys.argv:\n    a: int = 1\ndef f(a: int): pass\n"),
    ("count = 0\nclass C:\n    n = 0\n", "# set by others\ncount = 0\nclass C:\n    n = 0\n"),
] + [(source, "# a comment\n" + source) for source in (
    "for a, b in (): pass\n",
    "try:\n    import nowhere\nexcept ImportError:\n    nowhere = None\nelse:\n    def f(): return 2\n",
    "try:\n    import nowhere\nexcept ImportError:\n    pass\nelse:\n    class A: pass\n    import string\n",
    "def f(): pass\ntry:\n    import nowhere\nexcept ImportError: f = None\nelse:\n    A = 1\nif f: B = 1\n",
    "if len('x'):\n    x = 1\nelse:\n    import string\n",
    "class C:\n    if len('x'):\n        x = 1\n    else:\n        def m(self): pass\n",
    "import os\ndef clean(names): del names['clean'], names['os']\nclean(globals())\n",
    "class A: pass\nN = 1\nOLD = {name: globals().pop(name) for name in ('A', 'N')}\n",
    "import sys, types\nclass Module(types.ModuleType): pass\nnew = Module(__name__)\n"
    "vars(new).update(vars(sys.modules[__name__]))\nsys.modules[__name__] = new\n"
    "del new.new, new.types\n",
)]

CHANGED = [
    ("def f(): return (1, 2)\n", "def f(): return (1.0, 2)\n"),
    ("def f(): return 0.0\n", "def f(): return -0.0\n"),
    ("def f(x): return x in {1, 2}\n", "def f(x): return x in {1.0, 2}\n"),
    ("def f():\n    'a'\n", "def f():\n    'b'\n"),
    ("def f():\n    try:\n        a()\n        b()\n    except E:\n        c()\n",
     "def f():\n    a()\n    try:\n        b()\n    except E:\n        c()\n"),
    ("def f(a): return a\n", "def f(a, /): return a\n"),
    ("def f(): return 1\n", "async def f(): return 1\n"),
    ("def f(*, a=1): return a\n", "def f(*, a=2): return a\n"),
    ("x = 1\ndef f():\n    x = 2\n", "x = 1\ndef f():\n    global x\n    x = 2\n"),
    ("T = {'a': lambda x: x + 1}\n", "T = {'a': lambda x: x + 2}\n"),
    ("class C:\n    k = property(lambda self: 1)\n", "class C:\n    k = property(lambda self: 2)\n"),
    ("def f(k=lambda x: x): return k\n", "def f(k=lambda x: -x): return k\n"),
    ("def f(): return [x for x in y]\n", "def f(): return [-x for x in y]\n"),
    ("def f(a): return f'{a}'\n", "def f(a): return f'{a!r}'\n"),
    ("from os.path import join as j\n", "from os.path import split as j\n"),
    ("from os.path import *\n", "from posixpath import *\n"),
    ("def f(a: int): pass\n", "from __future__ import annotations\ndef f(a: int): pass\n"),
    ("a: int\n", "a: str\n"),
    ("a, b = 1, 2\n", "a, b = 2, 1\n"),
    ("D = {}\nD['a'] = 1\n", "D = {}\nD['a'] = 2\n"),
    ("class M(type): pass\nclass C: pass\n", "class M(type): pass\nclass C(metaclass=M): pass\n"),
    ("def a(f): return f\ndef b(f): return f\n@a\n@b\ndef f(): pass\n",
     "def a(f): return f\ndef b(f): return f\n@b\n@a\ndef f(): pass\n"),
    ("def f(): return 1\ndef f(): return 2\n", "def f(): return 1\ndef f(): return 3\n"),
    ("def f(): return 1\n", "f = 1\n"),
]

NEW_SYNTAX = {
    10: [("def f(x):\n    match x:\n        case int(a): return a\n",
          "def f(x):\n    match x:\n        case str(a): return a\n")],
    12: [("def f[T: int](x: T): return x\n", "def f[T: str](x: T): return x\n"),
         ("class C[T]:\n    def m(self): return 1\n", "class C[T]:\n    def m(self): return 2\n"),
         ("type A = int\n", "type A = str\n")],
}


@pytest.mark.parametrize("known", [True, False], ids=["with cached code", "without"])
def test_no_false_alarm_and_no_miss(python, run_script, known):
    changed = CHANGED + [case for minor, cases in NEW_SYNTAX.items() for case in cases
                         if python.minor >= (3, minor)]
    states = ast.literal_eval(run_script(python, PRELUDE + r'''
cases, known = %r, %r
sys.dont_write_bytecode = not known
states = []
for number, (before, after) in enumerate(cases):
    name = "case%%d" %% number
    write(name, before, 1e9)
    module = importlib.import_module(name)
    if hasattr(module, "count"):
        module.count += 1
        module.C.n += 1
        module.C.more = True
    write(name, after, 1e9 + 60)
    states.append(changes(name)[0])
print(states)
''' % (REFORMED + (changed if known else []), known)))
    expected = ["fresh"] * len(REFORMED) + ["stale"] * (len(changed) if known else 0)
    assert [pair for pair in zip(states, expected, REFORMED + changed) if pair[0] != pair[1]] == []


TRIED = """\
try:
    import json as j
except ImportError as error:
    j = error
else:
    tried = 1
def f(): return 1
LIMIT = 5
for n in "ab": pass
try:
    last = 1
except (ValueError, TypeError):
    last = 2
"""


def test_what_is_beside_a_try_is_seen(python, run_script):
    """Of what was loaded only the living objects are known: what a `try` may leave out is not missed."""
    output = run_script(python, PRELUDE + r'''
sys.dont_write_bytecode = True
source = %r
edits = [("def f", "def new(): pass\ndef f"), ("LIMIT = 5", "LIMIT = 6"), ("tried = 1", "tried = more = 1"),
         ("    import json", "    NEW = 1\n    import json"), ("    j = error", "    j = NEW = error"),
         ("for n", "from os import path\nfor n"), ("    last = 1", "    last = NEW = 1")]
for number, (old, new) in enumerate(edits):
    name = "tried%%d" %% number
    write(name, source, 1e9)
    importlib.import_module(name)
    write(name, source.replace(old, new), 1e9 + 60)
    print(changes(name)[2])
''' % TRIED)
    seen = [[("new", "added", "function")], [("LIMIT", "changed", "constant")], [], [], [],
            [("path", "added", "import")], []]
    assert [ast.literal_eval(line) for line in output.splitlines()] == seen


def test_names_that_the_module_takes_away_are_not_new(python, run_script):
    """As `ast` does with deprecated names, which its __getattr__ gives; with what has changed in truth."""
    output = run_script(python, PRELUDE + r'''
sys.dont_write_bytecode = True
use = "def f(): return 1\n"
sources = ["class A: pass\nN = 1\nOLD = {n: globals().pop(n) for n in ('A', 'N')}\n",
           "def take(d, n): return d.pop(n)\nclass A: pass\nOLD = take(globals(), 'A')\n",
           "class A: pass\ndel globals()['A']\n", "globals().update(x=1)\n"]
for number, source in enumerate(sources):
    name = "takes%d" % number
    write(name, source + use, 1e9)
    importlib.import_module(name)
    write(name, source + "def new(): pass\n" + use.replace("1", "2"), 1e9 + 60)
    print([change[0] for change in changes(name)[2]])
''')
    assert output.splitlines() == ["['f']"] * 3 + ["['f', 'new']"]


@pytest.mark.parametrize("setting", ["plain", "PYTHONOPTIMIZE", "PYTHONPYCACHEPREFIX"])
def test_loaded_source_is_known_by_its_cached_byte_code(python, run_script, tmp_path, setting):
    """Only the byte code tells that a list had another initialiser; asking its path changes nothing."""
    value = {"plain": "", "PYTHONOPTIMIZE": "2", "PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}
    run_script(python, PRELUDE + """
write("mod", "NAMES = [1]\\n", 1000)
import mod
before = dict(vars(mod.__spec__))
write("mod", "NAMES = [1, 2]\\n", 2000)
assert changes("mod") == ("stale", False, [("NAMES", "changed", "constant")]), changes("mod")
assert vars(mod.__spec__) == before, vars(mod.__spec__)
""", env={setting: value[setting]} if value[setting] else None)


def test_states(python, run_script):
    output = run_script(python, PRELUDE + r'''
for name in "gone", "broken", "warns":
    write(name, "A = 1\n", 1e9)
    importlib.import_module(name)
os.unlink(os.path.join(directory, "gone.py"))
write("broken", "A = (\n", 1e9 + 60)
write("warns", "A = '\\d' is 1\n", 1e9 + 60)
import types
class Loader:
    def get_source(self, name):
        raise ImportError("not known")
sys.modules["moved"] = types.ModuleType("moved")
sys.modules["moved"].__file__ = os.path.join(directory, "warns.py")
sys.modules["moved"].__loader__ = Loader()
sys.modules["made"] = types.ModuleType("made")
sys.modules["made"].__file__ = "<made>"
for name in "gone", "broken", "warns", "moved", "made", "sys", "_frozen_importlib":
    module, = pyhot.stale(name)["modules"]
    print(name, module["state"], bool(module["why"]))
os.mkdir(os.path.join(directory, "gone.py"))
write("broken", "A = " + 250 * "(" + 250 * ")", 1e9 + 90)
for name in "gone", "broken":
    module, = pyhot.stale(name)["modules"]
    print(name, module["state"], bool(module["why"]))
try:
    pyhot.stale("nowhere")
except RuntimeError as error:
    print("nowhere" in str(error))
''')
    assert output.split("\n") == ["gone unreadable True", "broken unreadable True",
                                  "warns stale False", "moved stale False",
                                  "made no-source True", "sys no-source True",
                                  "_frozen_importlib no-source True", "gone unreadable True",
                                  "broken unreadable True", "True", ""]


def test_odd_files(python, run_script):
    """Paths that are no UTF-8, no regular files, no paths at all: each has a state, and no other module's
    is lost by it."""
    output = run_script(python, PRELUDE + r'''
import types
sys.dont_write_bytecode = True
odd = os.path.join(directory, "a\nb \x1b[31m \udcff")
os.mkdir(odd)
sys.path.insert(0, odd)
for place, name in (odd, "odd"), (directory, "fifo"), (directory, "loop"), (directory, "null"):
    with open(os.path.join(place, name + ".py"), "w") as file:
        file.write("X = 1\ndef f(): return 1\n")
    importlib.import_module(name)
with open(os.path.join(odd, "odd.py"), "w") as file:
    file.write("X = 1\ndef f(): return 2\n")
os.unlink(os.path.join(directory, "fifo.py"))
os.mkfifo(os.path.join(directory, "fifo.py"))
os.unlink(os.path.join(directory, "loop.py"))
os.symlink("loop.py", os.path.join(directory, "loop.py"))
with open(os.path.join(directory, "null.py"), "w") as file:
    file.write("\0\n")
path = types.ModuleType("path")
path.__file__ = os.path.join(odd, "odd.py") + "\0.py"
sys.modules["path"] = path
sys.modules["bare"] = types.ModuleType.__new__(types.ModuleType)    # to 3.10 without a __dict__
names = "odd", "fifo", "loop", "null", "path"
modules = {m["name"]: m for m in pyhot.stale(objects=True)["modules"]}
for name in names:
    print(name, modules[name]["state"], modules[name]["changes"])
print("is not a regular file" in modules["fifo"]["why"].lower())
pyhot.reload("odd")
print(sys.modules["odd"].f())
''')
    assert output.splitlines() == [
        "odd stale [{'name': 'f', 'change': 'changed', 'kind': 'function'}]", "fifo unreadable []",
        "loop unreadable []", "null unreadable []", "path unreadable []", "True", "2"]


def test_names_that_are_no_utf8(python, run_script):
    """Of threads, functions and attributes: the rest is listed as ever."""
    output = run_script(python, PRELUDE + r'''
import threading
sys.dont_write_bytecode = True
source = """import threading
started, done = threading.Event(), threading.Event()
def run():
    started.set()
    done.wait()
    return %d
def f(): return 1
class C:
    def m(self): return %d
"""
write("named", source %% (1, 1), 1e9)
import named
done = named.done
thread = threading.Thread(target=named.run, name="T\udcff")
thread.start()
named.started.wait()
named.f.__qualname__ = "f\udcff"
held = named.C()
setattr(held, "a\udcff", named.C.m)
write("named", source %% (2, 2), 1e9 + 60)
print([change[0] for change in changes("named")[2]][-1])
importlib.reload(named)
found = pyhot.stale(objects=True, graph=True)["objects"]
print(ascii([o["thread"] for o in found if o["kind"] == "frame"]))
print([o["held_by"][0]["path"] for o in found if o["object"] == "named.C.m"][0][:13])
done.set()
thread.join()
'''.replace("%%", "%"))
    assert output.splitlines() == ["run", r"['T\\udcff']", "__main__.held"]


def test_a_rewritten_module_is_not_compared(any_python, run_script):
    """As pytest does it: what the source compiles to says nothing about it until pyhot reloads it."""
    output = run_script(any_python, PRELUDE + r'''
import ast
sys.dont_write_bytecode = True
class Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module):
        tree = ast.parse(self.get_data(self.path))
        tree.body[:0] = ast.parse("import builtins as at").body
        tree.body[0].names[0].asname = "@pytest_ar"
        tree.body[1].body[0].value.value = 2
        exec(compile(tree, self.path, "exec"), vars(module))
write("test_it", "def f():\n    return 1\n", 1e9)
spec = importlib.util.spec_from_file_location("test_it", os.path.join(directory, "test_it.py"), loader=
                                              Loader("test_it", os.path.join(directory, "test_it.py")))
module = sys.modules["test_it"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(changes("test_it"))
write("test_it", "def f():\n    return 3\n", 1e9 + 60)
pyhot.reload("test_it")
write("test_it", "def f():\n    return 4\n", 1e9 + 120)
print(changes("test_it"))
'''.replace("import ast", "import ast, importlib.machinery, importlib.util"))
    assert output.splitlines() == ["('no-source', False, [])",
                                   "('stale', False, [('f', 'changed', 'function')])"]


NOISE = "asyncio, concurrent.futures, ctypes, dataclasses, decimal, doctest, email.message, " \
        "http.server, json, logging.handlers, multiprocessing.pool, sqlite3, typing, " \
        "unittest.mock, xml.dom.minidom, xmlrpc.server"


def test_no_false_alarm_in_the_standard_library(python, run_script):
    output = run_script(python, r'''
import %s
import _pydecimal, xml.etree.ElementTree    # beside the same in C
try:
    import dummy_threading                  # to 3.8
except ImportError:
    import zoneinfo._zoneinfo
import pyhot
result = pyhot.stale(objects=True)
print([m for m in result["modules"] if m["state"] in ("stale", "unreadable")])
print(result["objects"], sum(m["state"] == "fresh" for m in result["modules"]) > 100)
''' % NOISE)
    assert output == "[]\n[] True\n"


def test_no_false_alarm_in_what_is_newer_than_the_process(python, run_script):
    """Of a copy nothing is known but the live objects, some of them of C."""
    output = run_script(python, PRELUDE + r'''
import shutil
sys.dont_write_bytecode = True
library = os.path.dirname(os.__file__)
names = ["bisect", "dataclasses", "datetime", "decimal", "enum", "functools", "heapq", "json.decoder",
         "pickle", "typing", "xml.etree.ElementTree"]
for name in sorted({name.partition(".")[0] for name in names}):
    path = os.path.join(library, name)
    if os.path.isdir(path):
        shutil.copytree(path, os.path.join(directory, name),
                        ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(path + ".py", directory)
for name in [name for name in sys.modules
             if name.partition(".")[0] in {other.partition(".")[0] for other in names}]:
    del sys.modules[name]
for name in names:
    importlib.import_module(name)
modules = pyhot.stale(*names)["modules"]
print([m["name"] for m in modules if not m["file"].startswith(directory)])
print([m for m in modules if m["state"] != "fresh" or m["compared_with"] != "objects"])
''')
    assert output == "[]\n[]\n"


def test_a_module_of_thousands_of_definitions(any_python, run_script):
    """Nothing is looked for among all others for each of them: it would take minutes."""
    output = run_script(any_python, PRELUDE + r'''
sys.dont_write_bytecode = True
def source(number, first=""):
    return first + "".join("def f%d(): return %d\n" % (n, n + number) for n in range(2000)) + (
        "TABLE = {}\n" + "".join("TABLE[%d] = lambda x: x + %d\n" % (n, n) for n in range(3000)))
write("large", source(0), 1e9)
import large
kept = [value for name, value in vars(large).items() if name[0] == "f"]
write("large", source(0, "# a comment\n"), 1e9 + 60)
print(changes("large"))
write("large", source(1), 1e9 + 120)
module, = pyhot.stale("large")["modules"]
print(len(module["changes"]))
importlib.reload(large)
print(len(pyhot.stale("large", objects=True)["objects"]))
''')
    assert output == "('fresh', True, [])\n2000\n2000\n"


def test_nothing_in_the_target_changes(python, run_script):
    """Modules, attributes, caches, objects, descriptors, warnings: all as before."""
    output = run_script(python, PRELUDE + r'''
import collections, gc, linecache, warnings
write("mod", %r, 1e9)
import mod
write("mod", %r, 1e9 + 60)

def snapshot():
    gc.collect()
    return {
        "modules": list(sys.modules),
        "attributes": {name: list(vars(module)) for name, module in list(sys.modules.items())},
        "linecache": dict(linecache.cache),
        "importers": list(sys.path_importer_cache),
        "filters": list(warnings.filters),
        "descriptors": os.listdir("/proc/self/fd"),
        "gc": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "objects": collections.Counter(type(o).__name__ for o in gc.get_objects()),
        "trace": (sys.gettrace(), sys.getprofile()),
        "cached": os.listdir(os.path.join(directory, "__pycache__")),
    }

def difference(a, b):
    return {key: (a[key], b[key]) for key in a if a[key] != b[key] and key != "objects"}

first = before = after = None
for objects in False, True:
    pyhot.stale(objects=objects)  # what is made once is made
first = snapshot()
before = snapshot()
for objects in 5 * [False, True]:
    assert pyhot.stale("mod", objects=objects)["modules"][0]["state"] == "stale"
after = snapshot()
print(difference(before, after))
# The snapshots hold objects themselves; they grow by as much each time.
print((after["objects"] - before["objects"]) - (before["objects"] - first["objects"]))
''' % (SOURCE, SOURCE.replace("LIMIT = 5", "LIMIT = '\\d'")))
    assert output == "{}\nCounter()\n"


SNAPSHOT = """
import gc, linecache, sys, warnings
def snapshot():
    gc.collect()
    return (sorted(sys.modules), sorted(linecache.cache), sys.getrefcount(shop.total),
            sys.getrefcount(shop.Handler), sorted(vars(shop)), gc.isenabled(), gc.get_threshold(),
            sys.gettrace(), gc.get_freeze_count(), len(warnings.filters))
"""


def start_stale_shop(start, python, **files):
    """The shop, stale and looked at once, and its snapshot."""
    target = start(python, {"app.py": PROGRAM, "shop.py": SHOP % 1, **files})
    target.exec(SNAPSHOT)
    target.edit("shop.py", SHOP % 2)
    list_stale(target, "--objects")  # what is made once is made
    return target, target.eval("repr(snapshot())")


def test_memory_is_as_it_was(any_python, run_script):
    """malloc takes large blocks from the kernel, until it has freed one: then it keeps as much."""
    run_script(any_python, PRELUDE + r'''
import ctypes
heap = [[n] for n in range(200000)]
write("mod", "def f(): pass\n", 1e9)
import mod
kept = mod.f
importlib.reload(mod)
malloc = ctypes.CDLL(None).malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
def is_mapped(size):
    """As the second bit of the word before it says (malloc.c of glibc)."""
    return bool(ctypes.c_size_t.from_address(malloc(size) - 8).value & 2)
sizes = [n << 20 for n in range(3, 30)]     # more than any source
before = [is_mapped(size) for size in sizes]
assert all(before)
assert [entry["object"] for entry in pyhot.stale("mod", objects=True)["objects"]] == ["mod.f"]
assert [is_mapped(size) for size in sizes] == before
''')


def test_audit_hooks_do_not_see_it(python, run_script):
    """They are the program's code, and may refuse.  Only what Python code does at the first look, and
    to read a source in another encoding, is seen."""
    run_script(python, PRELUDE + r'''
write("mod", "def f(): yield 1\n", 1e9)
import mod
kept = mod.f()
next(kept)
pyhot.stale("mod", objects=True)
write("mod", "# -*- coding: utf-8 -*-\ndef f(): yield 2\n", 1e9 + 60)
importlib.reload(mod)
write("mod", "def f(): yield 3\n", 1e9 + 120)
seen, watch = [], False
def hook(event, arguments):
    if watch:
        seen.append(event)
        raise RuntimeError(event)
sys.addaudithook(hook)
watch = True
try:
    found = pyhot.stale(objects=True)
finally:
    watch = False
assert [m["name"] for m in found["modules"] if m["state"] == "stale"] == ["mod"], found["modules"]
assert "mod.f" in [entry["object"] for entry in found["objects"]], found["objects"]
assert seen == [], seen
watch = True
try:
    compile("1", "", "eval")
except RuntimeError:
    watch = False
assert seen == ["compile"], seen
''')


def test_nothing_changes_when_it_fails(start, python):
    target, before = start_stale_shop(start, python)
    done = harness.run_pyhot("list-stale", target.pid, "nowhere")
    assert (done.returncode, done.report["error"]["code"]) == (3, "not-loaded")
    done = harness.run_pyhot("list-stale", target.pid, "--objects", "--timeout", "0.001")
    assert done.returncode in (0, 4)
    assert stale_names(list_stale(target).report) == ["shop"]
    assert target.eval("repr(snapshot())") == before
    target.check_unharmed()


@pytest.mark.parametrize("place", ["stopped", "go", "listening"])
def test_nothing_changes_when_it_is_killed_at(start, any_python, place):
    faults = os.environ.get("PYHOT_FAULTS_BINARY")
    if not faults:
        pytest.skip("$PYHOT_FAULTS_BINARY is not a pyhot built with make FAULTS=1")
    target, before = start_stale_shop(start, any_python)
    killed = subprocess.run([faults, "list-stale", str(target.pid), "--objects"],
                            env=dict(os.environ, PYHOT_FAULT=place), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert killed.returncode == -signal.SIGKILL
    assert stale_names(list_stale(target).report) == ["shop"]
    assert target.eval("repr(snapshot())") == before
    target.check_unharmed()


INSTANTS = [step * 0.006 for step in range(16)]
MANY = {"package/m%d.py" % n: SOURCE for n in range(60)}
IMPORT_MANY = "import importlib\nfor n in range(60): importlib.import_module('package.m%d' % n)"


def begin_list_stale(target, instant):
    process = subprocess.Popen(harness.pyhot_command() + ["list-stale", str(target.pid), "--objects"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    time.sleep(instant)
    return process


def test_nothing_changes_when_it_is_killed_at_any_instant(start, any_python):
    target, before = start_stale_shop(start, any_python, **MANY)
    target.exec(IMPORT_MANY)
    for name in MANY:
        target.edit(name, SOURCE.replace("LIMIT = 5", "LIMIT = '\\d'"))  # warns
    list_stale(target, "--objects")
    before = target.eval("repr(snapshot())")
    for instant in INSTANTS:
        process = begin_list_stale(target, instant)
        process.kill()
        process.communicate()
        assert target.eval("1 + 1") == 2
    harness.wait_for(lambda: target.eval("repr(snapshot())") == before, "all as it was")
    assert len(stale_names(list_stale(target).report)) == 61
    target.check_unharmed()


def test_the_process_is_killed_while_it_looks(start, any_python):
    for instant in INSTANTS[::3]:
        target = start(any_python, {"app.py": PROGRAM, "shop.py": SHOP % 1, **MANY})
        target.exec(IMPORT_MANY)
        process = begin_list_stale(target, instant)
        target.kill()
        _, said = process.communicate(timeout=harness.DEADLINE)
        assert process.returncode in (0, 3), said
        if process.returncode:
            assert "ended" in said or "no process %d" % target.pid in said, said
            assert len(said.splitlines()) <= 2, said


def test_the_first_look_imports_nothing(python, run_script):
    output = run_script(python, PRELUDE + r'''
write("mod", "A = 1\n", 1e9)
import mod
write("mod", "A = 2\n", 1e9 + 60)
before = set(sys.modules)
print(changes("mod"), set(sys.modules) - before)
''')
    assert output == "('stale', False, [('A', 'changed', 'constant')]) set()\n"


SHOP = r'''
import functools, threading
VERSION = %d
started, stop = threading.Event(), threading.Event()

def total(x):
    return x + VERSION

def untouched():
    return VERSION

def traced(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@traced
def wrapped():
    return VERSION

def worker(started, stop):
    started.set()
    stop.wait()
    return VERSION

@functools.singledispatch
def dispatched(x):
    pass

@dispatched.register(int)
def _(x):
    pass

@dispatched.register(str)
def _(x):
    pass

class Base:
    pass

class Handler(Base):
    def callback(self):
        return VERSION

    class Nested:
        pass

class Failure(Exception):
    pass
'''

HOLDERS = r'''
import collections, functools, threading
import shop

class Session:
    pass

class Slotted:
    __slots__ = ("held",)

class App:
    pass

class Child(shop.Handler):
    pass

def close_over():
    total = shop.total
    return lambda: total

def default(total=shop.total):
    pass

app = App()
app.session = Session()
app.session.cache = [0, 1, 2, Session()]
app.session.cache[3].callback = shop.Handler().callback
HANDLERS = {"total": shop.total, ("a", 1): shop.wrapped}
slotted = Slotted()
slotted.held = shop.total
queue = collections.deque([1, shop.total])
members = {shop.total}
part = functools.partial(shop.total, 1)
keyed = {shop.total: 1}
closure = close_over()
instances = [shop.Handler() for i in range(5)]
failure = shop.Failure
stop = shop.stop
thread = threading.Thread(target=shop.worker, args=(shop.started, shop.stop), name="Worker-7")
thread.start()
shop.started.wait()
'''


def objects_script():
    return PRELUDE + r'''
write("shop", %r, 1e9)
write("holders", %r, 1e9)
import holders, shop
assert pyhot.stale(objects=True)["objects"] == [], pyhot.stale(objects=True)["objects"]
write("shop", %r, 1e9 + 60)
importlib.reload(shop)

def main():
    local = [holders.HANDLERS["total"]]
    return pyhot.stale(objects=True)

try:
    for entry in main()["objects"]:
        print(repr(entry))
finally:
    holders.stop.set()
    holders.thread.join()
''' % (SHOP % 1, HOLDERS, SHOP % 2)


def by_object(output):
    found = {}
    for line in output.splitlines():
        entry = ast.literal_eval(line)
        found[entry["object"], entry["kind"]] = entry
    return found


def paths(entry):
    return [held["path"] for held in entry["held_by"]]


def test_old_objects_and_who_holds_them(python, run_script):
    found = by_object(run_script(python, objects_script()))
    assert sorted(found) == [
        ("shop.Base", "class"), ("shop.Failure", "class"), ("shop.Handler", "class"),
        ("shop.Handler", "instance"), ("shop.Handler.callback", "function"),
        ("shop.total", "function"), ("shop.worker", "frame"), ("shop.worker", "function"),
        ("shop.wrapped", "function")]
    total = paths(found["shop.total", "function"])
    assert {path for path in total if not path.startswith("frame")} == {
        "holders.HANDLERS['total']", "holders.slotted.held", "holders.queue[1]",
        "list(holders.members)[0]", "holders.part.func", "list(holders.keyed)[0]",
        "holders.default.__defaults__[0]", "holders.closure.__closure__[0].cell_contents"}
    in_frame, = [path for path in total if path.startswith("frame")]
    assert in_frame.startswith("frame of MainThread in main() line ")
    assert in_frame.endswith(", local[0]")
    assert paths(found["shop.Handler.callback", "function"]) == [
        "holders.app.session.cache[3].callback.__func__"]
    assert paths(found["shop.Handler", "class"]) == ["holders.Child.__bases__[0]"]
    assert paths(found["shop.Base", "class"]) == ["holders.Child.__base__.__bases__[0]"]
    assert paths(found["shop.Failure", "class"]) == ["holders.failure"]
    assert paths(found["shop.wrapped", "function"])[0] == (
        "holders.HANDLERS[('a', 1)].__wrapped__")
    instances = found["shop.Handler", "instance"]
    assert instances["count"] == 6
    assert all(path.startswith("holders.instances[") for path in paths(instances))
    frame = found["shop.worker", "frame"]
    line = (SHOP % 1).split("\n").index("    stop.wait()") + 1
    assert (frame["thread"], frame["function"], frame["line"]) == ("Worker-7", "worker", line)
    assert paths(frame) == ["frame of Worker-7 in worker() line %d" % line]


SUSPENDED = """
def numbers(held=None):
    yield %(n)d
    yield held

async def coroutine():
    await forever()

async def stream():
    yield %(n)d

class Forever:
    def __await__(self):
        yield

async def forever():
    await Forever()

def same():
    yield 1
"""


def test_what_the_interpreter_itself_holds(python, run_script):
    """Where no traversal leads: each is named as a person would look for it."""
    output = run_script(python, PRELUDE + """
import atexit, signal
names = ["ended", "traced", "profiled", "audited", "signalled", "monitored", "begun"]
write("mod", "class Oops(Exception): pass\\nclass Outer(Exception): pass\\n" +
      "".join("def %s(*args): pass\\n" % name for name in names), 1000)
import mod, threading
begun, over = threading.Event(), threading.Event()
def within():
    try:
        raise mod.Oops
    except Exception as error:
        error.__context__ = None
        del error
        begun.set()
        yield over.wait()
def handle():
    try:
        raise mod.Outer
    except Exception:
        next(within())
threading.Thread(target=handle, name="handler").start()
begun.wait()
atexit.register(mod.ended)
signal.signal(signal.SIGUSR2, mod.signalled)
sys.addaudithook(mod.audited)
sys.set_asyncgen_hooks(mod.begun)
if sys.version_info >= (3, 12):
    sys.monitoring.use_tool_id(3, "test")
    sys.monitoring.register_callback(3, sys.monitoring.events.LINE, mod.monitored)
sys.setprofile(mod.profiled)
sys.settrace(mod.traced)
importlib.reload(mod)
objects = pyhot.stale("mod", objects=True)["objects"]
sys.settrace(None)
sys.setprofile(None)
over.set()
for entry in objects:
    print(repr(entry))
""")
    found = {name: paths(entry) for (name, _), entry in by_object(output).items() if paths(entry)}
    expected = {"mod.traced": "trace function of MainThread",
                "mod.profiled": "profile function of MainThread",
                "mod.begun": "asynchronous generator hook of MainThread",
                "mod.audited": "audit hook", "mod.signalled": "handler of signal 12",
                "mod.ended": "functions registered with atexit[0][0]",
                "mod.Oops": "exception handled in handler", "mod.Outer": "exception handled in handler"}
    if python.minor < (3, 10):
        expected["mod.ended"] = "atexit.<function>"
    if python.minor >= (3, 12):
        expected["mod.monitored"] = "callback of sys.monitoring tool 3"
    assert set(found) == set(expected)
    for name, path in expected.items():
        held = [re.sub(r"atexit\[\d+\]", "atexit[0]", other) for other in found[name]]
        assert held == [path], (name, found[name])


def test_suspended_frames_on_old_code(python, run_script):
    found = by_object(run_script(python, PRELUDE + r'''
write("flow", %r, 1e9)
import flow
def holder(value):
    yield value
begun = [flow.numbers() for n in range(20)]
for generator in begun:
    next(generator)
flow_numbers = holder(flow.numbers)
next(flow_numbers)
fresh = flow.numbers()
ended = flow.numbers()
list(ended)
coroutine = flow.coroutine()
coroutine.send(None)
stream = flow.stream()
same = flow.same()
assert pyhot.stale(objects=True)["objects"] == []
write("flow", %r, 1e9 + 60)
importlib.reload(flow)
new = flow.numbers()
for entry in pyhot.stale(objects=True)["objects"]:
    print(repr(entry))
coroutine.close()
''' % (SUSPENDED % {"n": 1}, SUSPENDED.replace("await for", "return await for")
       % {"n": 2})))
    frames = {name: entry for (name, kind), entry in found.items() if kind == "frame"}
    assert {name: (entry["count"], entry["function"], entry["line"])
            for name, entry in frames.items() if entry["object"] != "flow.numbers"} == {
                "flow.coroutine": (1, "coroutine", 7), "flow.stream": (1, "stream", 9),
                "flow.forever": (1, "forever", 17), "flow.same": (1, "same", 19),
                "flow.Forever.__await__": (1, "__await__", 14)}
    assert frames["flow.numbers"]["count"] == 21
    assert 3 in [held["line"] for held in frames["flow.numbers"]["held_by"]]
    assert all(entry["suspended"] and entry["file"].endswith("flow.py")
               for entry in frames.values())
    assert len(paths(frames["flow.numbers"])) == 10
    assert paths(frames["flow.stream"]) == ["__main__.stream"]
    assert {tuple(sorted(held.items())) for held in frames["flow.coroutine"]["held_by"]} == {
        (("kind", "coroutine"), ("line", 7), ("path", "__main__.coroutine"))}
    held = paths(found["flow.numbers", "function"])
    assert "__main__.flow_numbers.gi_frame.f_locals['value']" in held, held


@pytest.mark.parametrize("again", ["importlib.reload(plain)",
                                   "del sys.modules['plain'], plain; import plain"])
def test_old_classes_without_methods_of_their_own(python, run_script, again):
    """What bases and libraries put into each class is no sign that one was made from the other."""
    output = run_script(python, PRELUDE + r'''
write("plain", %r, 1e9)
import plain
old = {name: getattr(plain, name) for name in plain.NAMES}
instance = plain.Pair(1, 2)
%s
found = pyhot.stale(objects=True)["objects"]
print(sorted(o["object"][6:] for o in found if o["kind"] == "class") == sorted(old))
print([o["held_by"][0]["path"] for o in found if o["object"] == "plain.Pair"])
''' % ('''
import collections, dataclasses, enum, functools, typing
NAMES = ["Attributes", "Colour", "Data", "Empty", "Failure", "Pair", "Protocol", "Slots", "Typed"]
class Empty: pass
class Attributes: x = [1]
class Failure(Exception): pass
class Slots: __slots__ = ("a",)
class Colour(enum.Enum): RED = 1
@dataclasses.dataclass
class Data: a: int = 1
Pair = collections.namedtuple("Pair", "a b")
class Typed(typing.NamedTuple): a: int
class Protocol(typing.Protocol): x: int
''', again))
    assert output.splitlines() == ["True", "[\"__main__.old['Pair']\", '__main__.instance']"]


def test_what_only_looks_old(python, run_script):
    """Names used twice, copies, wrappers, classes made anew by a decorator."""
    output = run_script(python, PRELUDE + r'''
write("looks", %r, 1e9)
import looks
print(pyhot.stale(objects=True)["objects"])
''' % '''
import collections, dataclasses, functools, sys, types, typing

def again(): return 1
first = again
def again(): return 2

def original(): return 1
copy = types.FunctionType(original.__code__, globals())
saved = original
original = copy

class Pair(collections.namedtuple("Pair", "a b")):
    pass

def rebuild(cls):
    return type(cls)(cls.__name__, cls.__bases__, {k: v for k, v in vars(cls).items()
                                                   if k not in ("__dict__", "__weakref__")})

kept = []
def register(cls):
    kept.append(cls)
    return rebuild(cls)

@register
class Rebuilt:
    def method(self): pass

class Property:
    @property
    def x(self): return 1
    getter = x.fget
    @x.setter
    def x(self, value): pass

@typing.overload
def loaded(x: int) -> int: ...
@typing.overload
def loaded(x: str) -> str: ...
def loaded(x): return x

for i in range(3):
    def looped(): return 1
    kept.append(looped)

replaced = original
def monkey(): pass
original = monkey

def patched(): return 1
class Patched:
    def method(self): pass
saved_too = [patched, Patched.__dict__["method"]]
other = types.ModuleType("other")
exec("def patched(): return 2\\nclass Patched:\\n    def method(self): return 3", vars(other))
patched = other.patched
Patched.method = other.Patched.__dict__["method"]

class Twin:
    def method(self): pass
def twin(): pass
other = types.ModuleType(__name__)      # another distribution of the same
exec(compile("class Twin:\\n    def method(self): pass\\ndef twin(): pass",
             "elsewhere.py", "exec"), vars(other))
saved_too += [other.Twin, other.twin]

Point = collections.namedtuple("Place", "x y")
Place = collections.namedtuple("Place", "x y name")

if sys.version_info >= (3, 10):
    @dataclasses.dataclass(slots=True, init=False, eq=False)
    @register_only
    class Slots:
        a: int = 1
'''.replace("@register\n", "def register_only(cls):\n    kept.append(cls)\n    return cls\n\n@register\n"))
    assert output == "[]\n"


def test_garbage_is_not_reported(python, run_script):
    """Old classes are cycles: without a collection they are in memory, but nobody holds them."""
    output = run_script(python, PRELUDE + r'''
import gc
gc.disable()
write("shop", %r, 1e9)
import shop
write("shop", %r, 1e9 + 60)
importlib.reload(shop)
assert any(o.__name__ == "Failure" and o is not shop.Failure for o in gc.get_objects()
           if isinstance(o, type))
print(pyhot.stale(objects=True)["objects"])
''' % (SHOP % 1, SHOP % 2))
    assert output == "[]\n"


# ---- By the command line

PROGRAM = '''
import probe, shop, time
HANDLERS = {"total": shop.total}
handler = shop.Handler()
probe.ready()
while True:
    time.sleep(1000)
'''


def start_shop(start, python, **options):
    return start(python, {"app.py": PROGRAM, "shop.py": SHOP % 1}, **options)


def list_stale(target, *arguments, **options):
    done = harness.run_pyhot("list-stale", target.pid, *arguments, **options)
    assert done.report is None or "modules" in done.report, "exit %d\n%s\n%s" % (
        done.returncode, done.stdout, target.describe())
    return done


def stale_names(report):
    return [module["name"] for module in report["modules"] if module["state"] == "stale"]


def test_command(start, python):
    target = start_shop(start, python)
    done = list_stale(target, "--exit-code")
    assert (done.returncode, stale_names(done.report), done.report["objects"]) == (0, [], [])
    target.edit("shop.py", SHOP % 2)
    done = list_stale(target)
    assert (done.returncode, stale_names(done.report)) == (0, ["shop"])
    done = list_stale(target, "--exit-code", "shop")
    module, = done.report["modules"]
    assert (done.returncode, done.report["exit"]) == (6, 6)
    assert module["changes"] == [{"name": "VERSION", "change": "changed", "kind": "constant"}]
    done = list_stale(target, "shop", json_report=False)
    assert "VERSION" in done.stdout and "changed" in done.stdout
    assert target.eval("shop.total(0)") == 1
    target.check_unharmed()


@pytest.mark.parametrize("state", ["stopped", "frozen", "collector off", "four busy threads"])
def test_command_in_each_state(start, any_python, state):
    target = start_shop(start, any_python)
    target.edit("shop.py", SHOP % 2)
    target.exec({"stopped": "", "frozen": "import gc; gc.freeze()",
                 "collector off": "import gc; gc.disable()",
                 "four busy threads": "import threading\ndef spin():\n    while True: pass\n"
                                      "for _ in range(4):\n"
                                      "    threading.Thread(target=spin, daemon=True).start()"}[state])
    if state == "stopped":
        os.kill(target.pid, signal.SIGSTOP)
        harness.wait_for(lambda: harness.proc_status(target.pid)["State"][0] == "T", "stopped")
    done = harness.run_pyhot("list-stale", target.pid, "--objects")
    if state == "stopped":
        assert (done.returncode, done.report["error"]["code"]) == (3, "stopped")
        assert harness.proc_status(target.pid)["State"][0] == "T"
        os.kill(target.pid, signal.SIGCONT)
    else:
        assert stale_names(done.report) == ["shop"]
    if state in ("frozen", "collector off"):
        assert target.eval("gc.isenabled(), gc.get_freeze_count() > 0") == (
            state == "frozen", state == "frozen")
    target.eval("1")


def test_attach_stale_reloads_what_is_listed(start, python):
    target = start_shop(start, python)
    target.edit("shop.py", SHOP % 2)
    report = target.reload("--stale")
    assert [module["name"] for module in report["modules"]] == ["shop"]
    assert target.eval("HANDLERS['total'](0)") == 2
    assert stale_names(list_stale(target).report) == []
    target.check_unharmed()


def test_objects_by_the_command_line(start, python):
    target = start_shop(start, python)
    target.edit("shop.py", SHOP % 2)
    target.exec("import importlib; importlib.reload(shop)")
    done = list_stale(target, "--objects", "shop")
    found = {(entry["object"], entry["kind"]): entry for entry in done.report["objects"]}
    assert "__main__.HANDLERS['total']" in paths(found["shop.total", "function"])
    assert paths(found["shop.Handler", "instance"]) == ["__main__.handler"]
    done = list_stale(target, "--objects", json_report=False)
    assert "__main__.HANDLERS['total']" in done.stdout
    target.check_unharmed()


def test_attach_sweeps_up_old_generations(start, python):
    """What importlib.reload left elsewhere becomes the newest; also where the source is as loaded."""
    target = start_shop(start, python)
    target.exec("import gc; gc.disable()")  # what the reloads leave is garbage in part
    for version in 2, 3:
        target.edit("shop.py", SHOP % version)
        target.exec("import importlib; importlib.reload(shop)")
        target.exec("second, middle = shop.Handler(), shop.total" if version == 2 else "pass")
    assert target.eval("isinstance(handler, shop.Handler)") is False
    report = target.reload("shop")
    assert report["modules"][0]["result"] == "reloaded"
    assert (report["remap"]["unaccounted"], report["remap"]["unresolved"]) == (0, 0)
    assert target.eval("HANDLERS['total'] is middle is shop.total")
    assert target.eval("[type(x) is shop.Handler for x in (handler, second)]") == [True, True]
    assert list_stale(target, "--objects").report["objects"] == []
    assert target.reload("shop")["modules"][0]["result"] == "unchanged"
    target.edit("shop.py", SHOP % 4)
    target.reload("shop")
    assert target.eval("HANDLERS['total'](0), handler.callback()") == (4, 4)
    target.check_unharmed()


def test_main_script_is_compared_with_its_running_code(start, python):
    target = start_shop(start, python)
    target.edit("app.py", PROGRAM.replace("1000", "1001"))
    module, = list_stale(target, "__main__").report["modules"]
    assert (module["state"], module["compared_with"]) == ("stale", "code")
    target.edit("app.py", "# moved\n" + PROGRAM)
    module, = list_stale(target, "__main__").report["modules"]
    assert (module["state"], module["changes"]) == ("fresh", [])


def test_c_variables_that_hold_old_objects(start, python, tmp_path):
    """By the library's dynamic symbols, or by its symbol table; a list that only C knows too."""
    library = tmp_path / "keeper.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"], check=True,
                   input="""
        void *shown[2];
        static void *hidden[3];
        void keep(void *a, void *b, void *c) { shown[0] = a; hidden[1] = b; hidden[2] = c; }
        """, text=True)
    target = start(python, {"shop.py": SHOP % 1, "app.py": """
import ctypes, probe, shop, time
library = ctypes.PyDLL(%r)
def keep(*objects):
    for held in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    library.keep(*map(ctypes.py_object, objects))
keep(shop.total, [0, shop.Handler], shop.Failure)
failure = shop.Failure
import re
import signal
signal.signal(signal.SIGUSR2, shop.worker)
probe.ready()
while True:
    time.sleep(1000)
""" % str(library)})
    target.edit("shop.py", SHOP % 2)
    target.exec("import importlib; importlib.reload(shop)")
    found = {(entry["object"], entry["kind"]): entry
             for entry in list_stale(target, "--objects").report["objects"]}
    held, = found["shop.total", "function"]["held_by"]
    assert (held["path"], held["symbol"], held["file"]) == (
        "C variable shown of keeper.so", "shown", str(library))
    assert paths(found["shop.Handler", "class"]) == ["C variable hidden+8 of keeper.so[1]"]
    assert paths(found["shop.Failure", "class"]) == ["__main__.failure",
                                                     "C variable hidden+16 of keeper.so"]
    assert "handler of signal 12" in paths(found["shop.worker", "function"])
    dot = tmp_path / "graph.dot"
    list_stale(target, "--graph", dot)
    assert "C variable hidden+8 of keeper.so" in dot.read_text()
    target.check_unharmed()


# ---- Drawn

AWKWARD = 'say "\\N" <b>\n\x1b{a|b}é' + 40 * "long "

DRAWN = '''
import probe, shop, time
class Cache: pass
cache = Cache()
cache.table = {%r: shop.total}
handler = shop.Handler()
probe.ready()
while True:
    time.sleep(1000)
''' % AWKWARD


def start_drawn(start, python):
    target = start(python, {"app.py": DRAWN, "shop.py": SHOP % 1})
    target.edit("shop.py", SHOP % 2)
    target.exec("import importlib; importlib.reload(shop)")
    return target


def test_graph(start, any_python, tmp_path):
    target = start_drawn(start, any_python)
    tmp_path = tmp_path / "drawn"
    tmp_path.mkdir()
    dot, svg = tmp_path / "graph.dot", tmp_path / "graph.svg"
    svg.write_text("what was there before")
    report = list_stale(target, "--graph", dot).report
    drawn = json.loads(subprocess.check_output(["dot", "-Tjson", str(dot)]))
    names = {item["_gvid"]: item["label"] for item in drawn["objects"]}
    edges = {(names[e["tail"]], e["label"], names[e["head"]]) for e in drawn["edges"]}
    assert {("__main__", ".cache", "Cache"), ("Cache", ".table", "dict"),
            ("__main__", ".handler", "shop.Handler\\ninstance"),
            ("shop.Handler\\ninstance", ".__class__", "shop.Handler\\nold class\\n1 instance"),
            } <= edges
    awkward, = [step for start, step, end in edges if end == "shop.total\\nold function"]
    assert awkward.replace("\\\\", "\\").startswith("['say \"\\\\N\" <b>\\n\\x1b{a|b}é")
    assert "__main__" in [item["label"] for item in drawn["objects"]
                          if item["name"].startswith("cluster_")]
    assert len(report["graph"]["nodes"]) == sum("shape" in item or "fillcolor" in item
                                                for item in drawn["objects"])
    done = list_stale(target, "--graph", svg, json_report=False)
    assert (done.returncode, "__main__.cache.table" in done.stdout) == (0, True)
    assert "</svg>" in svg.read_text()
    assert sorted(os.listdir(tmp_path)) == ["graph.dot", "graph.svg"]
    target.check_unharmed()


def test_graph_that_cannot_be_written(start, any_python, tmp_path):
    target = start_drawn(start, any_python)
    tmp_path = tmp_path / "drawn"
    tmp_path.mkdir()
    for arguments, status, text in [
            (["--graph", tmp_path / "graph.pdf"], 2, "FILE.svg or FILE.dot"),
            (["--graph", tmp_path / "nowhere" / "graph.dot"], 7, "cannot write"),
            (["--tree", "--graph", tmp_path / "graph.dot"], 2, "--tree")]:
        done = harness.run_pyhot("list-stale", target.pid, *arguments, json_report=False)
        assert (done.returncode, text in done.stderr) == (status, True)
    done = harness.run_pyhot("list-stale", target.pid, "--graph", tmp_path / "graph.svg",
                             json_report=False, env={**os.environ, "PATH": str(tmp_path)})
    assert (done.returncode, "or use %s" % (tmp_path / "graph.dot") in done.stderr) == (7, True)
    (tmp_path / "dot").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "dot").chmod(0o755)
    (tmp_path / "graph.svg").write_text("before")
    done = harness.run_pyhot("list-stale", target.pid, "--graph", tmp_path / "graph.svg",
                             json_report=False, env={**os.environ, "PATH": str(tmp_path)})
    assert (done.returncode, "status 3" in done.stderr) == (7, True)
    assert "held by __main__" in done.stdout, "the report is there all the same"
    assert (tmp_path / "graph.svg").read_text() == "before"
    (tmp_path / "dot").write_text("#!/bin/sh\nexec %s 1000\n" % shutil.which("sleep"))
    done = harness.run_pyhot("list-stale", target.pid, "--timeout=1", "--graph",
                             tmp_path / "graph.svg", json_report=False,
                             env={**os.environ, "PATH": str(tmp_path)})
    assert (done.returncode, "did not end in 1 s" in done.stderr) == (7, True)
    assert sorted(os.listdir(tmp_path)) == ["dot", "graph.svg"]
    target.check_unharmed()
