"""A reload while memory is short, of a module that puts itself into other objects: each allocation of
the agent, and those of the interpreter, fails once.  Either all is new, or all is old."""

import os
import subprocess

import pytest

import harness

MODULE = """
builtins.spare(1)  # what runs here is CPython's own
import contextvars, functools, registry
CACHE = {}
LIMIT = 1
def price(): return "old"
def gone(): return 1
class Cart:
    rate = "old"
    def __init__(self): self.items = []
    def total(self): return "old"
    class Line:
        def text(self): return "old"
class Sub(Cart):
    __slots__ = "a",
    def total(self): return super().total()
class Key:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n
    def __hash__(self): return hash(("old", self.n))
bound = functools.partial(price)
table = {price: Cart, "x": Cart.total}
steps = [lambda: 1, lambda: 2, lambda: 3]
RATES = (1, 2.5, "a", (1, 2))
router = registry.Router()
@router.route("/a")
def page(): return "old"
@registry.named
def view(): return "old"
registry.handlers.append(page)
registry.by_name["page"] = page
registry.all_of.add(page)
registry.keep.page = page
class Plain(registry.Root):
    def value(self): return "old"
NAMED = Plain()
by_key = {NAMED: [], (price, 1): []}
VARIABLE = contextvars.ContextVar("VARIABLE", default="old")
def draw():
    while True:
        yield price()
builtins.spare(0)
"""

REGISTRY = """
import functools
handlers, by_name, all_of, drawn = [], {}, set(), []
class Keep: pass
class Root: pass
class Extra(Root): pass
keep = Keep()
class Router:
    def __init__(self): self.routes = {}
    def route(self, path):
        def put(f):
            self.routes[path] = f
            return f
        return put
def named(f):
    @functools.wraps(f)
    def wrapper(*a): return f(*a)
    by_name[f.__name__ + " wrapped"] = wrapper
    return wrapper
"""

SWEEP = """
import builtins, ctypes, gc, os, re, sys
path, step, whose, kind = sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
sys.path.insert(0, os.path.dirname(path))
library = ctypes.PyDLL(sys.argv[1])
library.fail.argtypes = [ctypes.c_long, ctypes.c_long]
library.stop.restype = ctypes.c_long
builtins.builtins, builtins.spare = builtins, library.spare

def sparing(compile):
    "CPython's compiler does not survive all failures, with pyhot or without."
    def spared(*arguments, **keywords):
        library.spare(1)
        try:
            return compile(*arguments, **keywords)
        finally:
            library.spare(0)
    return spared

builtins.compile = sparing(compile)
import linecache, mod, pyhot, registry, traceback
sys.dont_write_bytecode = True
agent = ctypes.PyDLL(pyhot.__file__)
with open(path) as file:
    text = file.read()
text = text.replace('"old"', '"new"').replace("def gone", "def added").replace("steps = [", "steps = [lambda: 0, ")
text = text.replace("@registry.named", '@router.route("/b")\\ndef more(): pass\\n@registry.named')
if kind == "fails":
    text += "1 / 0\\n"
else:  # its frame runs in the dict that the code was executed in
    text += "registry.drawn.append(draw())\\nnext(registry.drawn[-1])\\n"
with open(path, "w") as file:
    file.write(text)
cart, sub, line = mod.Cart(), mod.Sub(), mod.Cart.Line()
held = [mod.price, mod.Cart, mod.Sub, mod.Cart.Line, cart, sub, line, mod.gone, cart.total, mod.page, mod.view,
        mod.router, *mod.steps]
keys = [mod.Key(n) for n in range(5)]
found, members = {k: i for i, k in enumerate(keys)}, set(keys)
mod.CACHE["cart"] = cart
cart.items.append(mod.price)
mod.Plain.__bases__ = (registry.Extra, registry.Root)
mod.VARIABLE.set(7)
for key in mod.by_key:
    mod.by_key[key].append(1)

def does():
    return [held[0](), cart.total(), sub.total(), line.text(), cart.rate, mod.bound(), held[8](), held[9](),
            held[10](), mod.table[mod.price] is mod.Cart, mod.CACHE == {"cart": cart}, cart.items == [mod.price],
            [found.get(mod.Key(n)) for n in range(5)] == list(range(5)), all(mod.Key(n) in members for n in range(5)),
            mod.router.routes["/a"] is mod.page is registry.by_name["page"], registry.all_of == {mod.page},
            registry.keep.page is mod.page, registry.handlers == [mod.page], [f() for f in held[12:]] == [1, 2, 3],
            mod.Plain.__bases__ == (registry.Extra, registry.Root), mod.VARIABLE.get() == 7,
            mod.by_key == {mod.NAMED: [1], (mod.price, 1): [1]}]

def state():
    return [[(name, id(value)) for name, value in vars(mod).items()], list(map(id, held)),
            [id(type(x)) for x in held], list(map(id, mod.Sub.__mro__)), sorted(sys.modules), sys.path[:],
            sorted(map(id, mod.Cart.__subclasses__())), list(vars(held[1])), gc.isenabled(),
            [sys.getrefcount(x) for x in held], does(),
            [[(k, id(v)) for k, v in names.items()]
             for names in (registry.by_name, vars(registry.keep), mod.router.routes)],
            list(map(id, registry.Extra.__subclasses__())), list(map(id, registry.handlers)), list(map(id, registry.all_of))]

def told(report):
    "What does not differ from run to run."
    remap = {name: value for name, value in report["remap"].items() if name not in ("objects_scanned", "referrers")}
    return repr((report["modules"], remap, report["exit"], report.get("left")))

def attempt(n, expected):
    "Were there as many allocations as that?"
    before, report = state(), None
    agent.pyhot_fail_allocation(n) if whose == "agent" else library.fail(n, n)
    try:
        report = pyhot.reload("mod", verbose=True)
    except Exception as exception:
        # CPython: "ImportError: __import__ not found".
        assert re.search("MemoryError|Cannot allocate memory|ImportError", repr(exception)), (n, exception)
    failed = agent.pyhot_fail_allocation(0) if whose == "agent" else library.stop() >= n
    library.spare(0)
    if report and report["modules"][0]["result"] == "reloaded":
        assert report["exit"] == 5 or told(report) == expected, (n, told(report), expected)
        assert does() == ["new"] * 9 + [True] * 13, (n, does(), report)
        assert held[:3] == [mod.price, mod.Cart, mod.Sub] and not hasattr(mod, "gone") and mod.added() == 1
    else:
        assert not report or not report.get("left"), report
        report = None
        gc.collect()
        after = state()
        assert after == before, (n, [pair for pair in zip(before, after) if pair[0] != pair[1]])
    for generator in registry.drawn:
        assert next(generator) == ("new" if report else "old"), n
    return failed

def in_child(call):
    child = os.fork()
    if not child:
        status = 2
        try:
            status = 0 if call() else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(status)
    return os.waitpid(child, 0)[1]

for _ in range(2):
    pyhot.reload("mod", dry_run=True)  # what is done once in a process
reader, writer = os.pipe()
assert in_child(lambda: os.write(writer, told(pyhot.reload("mod", verbose=True)).encode())) == 0
expected = os.read(reader, 65536).decode()
n, status = 5 if whose == "interpreter" else 1, 0  # the first few are of those who call
while status == 0:
    status = in_child(lambda: attempt(n, expected))
    n += step
assert status == 256 and n > 50, (n, status)
"""


@pytest.mark.parametrize("kind", ["works", "fails"])
@pytest.mark.parametrize("whose", ["agent", "interpreter"])
def test_reload_out_of_memory_with_registries(python, any_python, tmp_path, whose, kind):
    """The new source works, or fails at its end."""
    if python is not any_python and not harness.LONG:
        pytest.skip("one interpreter; each in make long")
    agent = os.environ.get("PYHOT_FAULTS_BINARY")
    if not agent:
        pytest.skip("no $PYHOT_FAULTS_BINARY: not built")
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "mod.py").write_text(MODULE)
    (tmp_path / "module" / "registry.py").write_text(REGISTRY)
    library = str(tmp_path / "nomemory.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, str(harness.VICTIMS / "nomemory.c")], check=True)
    step = "1" if harness.LONG else "4" if whose == "agent" else "97"
    first = "import sys; sys.path.insert(0, %r)" % os.path.dirname(agent)
    harness.run_script(python, first + SWEEP, tmp_path, library, str(tmp_path / "module" / "mod.py"), step, whose,
                       kind, timeout=1800 if harness.LONG else harness.DEADLINE)
