"""gc.remap under code that ran hot before: what the specialising interpreter, its caches and the
JIT have learned of the old objects must not outlive them."""

import pytest

HOT = """
import collections, functools, sys, types
import pyhot

def old(x=1): return "old"
def new(x=1): return "new"

class Meta(type): pass

class Old(metaclass=Meta):
    rate = "old"
    spare = 0
    def __init__(self, x=0): self.made_by, self.a, self.b = "old", 1, 2
    def value(self): return "old"
    def __getitem__(self, i): return "old"
    def __len__(self): return 3
    def __add__(self, other): return "old"
    def __iter__(self): return iter(["old"])
    def __contains__(self, x): return False
    def __call__(self): return "old"
    def __enter__(self): return "old"
    def __exit__(self, *_): pass
    def __bool__(self): return False
    def __eq__(self, other): return "old"
    __hash__ = object.__hash__
    @property
    def text(self): return "old"
    @classmethod
    def of_class(cls): return "old"
    @staticmethod
    def static(): return "old"
    def inner(self): return self.value()
    class Inner: name = "old"

class New(metaclass=Meta):
    def value(self): return "new"
    def inner(self): return self.value()
    def __getitem__(self, i): return "new"
    def __len__(self): return 4
    def __add__(self, other): return "new"
    def __iter__(self): return iter(["new"])
    def __contains__(self, x): return True
    def __call__(self): return "new"
    def __enter__(self): return "new"
    def __exit__(self, *_): pass
    def __bool__(self): return True
    def __eq__(self, other): return "new"
    __hash__ = object.__hash__
    # Other order, other attributes: what was learned by place is wrong now.
    def __init__(self, x=0): self.b, self.c, self.a, self.made_by = 2, 3, 1, "new"
    more = 1
    rate = "new"
    @property
    def text(self): return "new"
    @staticmethod
    def static(): return "new"
    @classmethod
    def of_class(cls): return "new"
    class Inner: name = "new"

class Sub(Old):
    def value(self): return super().value()

class OldSlots:
    __slots__ = "a", "b"
class NewSlots:
    __slots__ = "b", "x", "a"

module = types.ModuleType("module")
module.f, module.C = old, Old
thing, sub, slots = Old(), Sub(), OldSlots()
slots.a, slots.b = "a", "b"
holder = types.SimpleNamespace(f=old, m=thing.value)
bound, partial = thing.value, functools.partial(old, 2)
by_name, by_place = {"f": old}, [old]
Pair = collections.namedtuple("Pair", "f")
pair = Pair(old)
closed = (lambda f: lambda: f())(old)
with_default = lambda f=old: f()
def keyword(*, f=old): return f()
def passed(f): return f()
def entered():
    with thing as x: return x
def caught():
    try: raise_(old)
    except Raised as e: return e.args[0]()
class Raised(Exception): pass
def raise_(x): raise Raised(x)

# An expression, what it is before and after.
USES = [(text, "old", "new") for text in (
    "old()", "old(x=2)", "old(*(1,))", "thing.value()", "thing.inner()", "sub.value()", "thing.rate",
    "Old.rate", "Old.static()", "Old.of_class()", "Old.Inner.name", "thing.text", "thing[0]", "thing + 1",
    "thing()", "list(thing)[0]", "[x for x in thing][0]", "Old().made_by", "Old(3).made_by", "thing == 1", "module.f()",
    "module.C.rate", "holder.f()", "holder.m()", "bound()", "partial()", "by_name['f']()", "by_place[0]()",
    "pair.f()", "pair[0]()", "closed()", "with_default()", "keyword()", "passed(old)", "entered()",
    "caught()", "type(thing).rate", "thing.__class__.rate", "getattr(Old, 'rate')",
    "Old.value(thing)", "super(Sub, sub).value()", "old.__name__", "old.__code__.co_name",
    "''.join(map(by_name.get('f'), [1]))",
)] + [
    ("len(thing)", 3, 4), ("bool(thing)", False, True), ("1 if thing else 0", 0, 1), ("1 in thing", False, True),
    ("type(thing) is Old", True, True), ("isinstance(thing, Old)", True, True),
    ("isinstance(sub, Old)", True, True), ("type(thing) is kept", False, True), ("old is held", False, True),
    ("isinstance(thing, kept)", False, True), ("hasattr(Old, 'more')", False, True),
    ("(thing.a, thing.b)", (1, 2), (1, 2)), ("(slots.a, slots.b)", ("a", "b"), ("a", "b")),
    ("(sub.a, sub.b)", (1, 2), (1, 2)), ("sorted(vars(Old()))", ["a", "b", "made_by"], ["a", "b", "c", "made_by"]),
]
kept, held = New, new

loops, generators = [], []
for i, (text, before, after) in enumerate(USES):
    names = {}
    exec("def loop(n):\\n for i in range(n):\\n  x = %s\\n return x\\n"
         "def generator():\\n while True:\\n  yield %s\\n" % (text, text), globals(), names)
    loops.append(names["loop"])
    generators.append(names["generator"]())

def check(which, n):
    for use, loop, generator in zip(USES, loops, generators):
        for x in [loop(n)] + [next(generator) for _ in range(n)]:
            assert x == use[which], (use, x)

def has_executor(code, at):
    "Has the JIT compiled what begins there?"
    try:
        return _opcode.get_executor(code, at) is not None
    except ValueError:
        return False

def compiled(loop):
    return any(has_executor(loop.__code__, at) for at in range(0, len(loop.__code__.co_code), 2))

def warm(which, n, jit):
    "How many of the loops are compiled then.  No global is assigned meanwhile: it ends that."
    for use, loop in zip(USES, loops):
        for _ in range(200):
            assert loop(n) == use[which], use
    check(which, n)
    return jit and sum(map(compiled, loops))

jit = len(sys.argv) > 1
if jit:
    if not (hasattr(sys, "_jit") and sys._jit.is_enabled()):
        print("no JIT")
        sys.exit()
    import _opcode
mapping = {old: new, Old: New, Old.Inner: New.Inner, OldSlots: NewSlots}
mapping.update((value, vars(New)[name]) for name, value in vars(Old).items()
               if isinstance(value, types.FunctionType))

def main():
    n = warm(1, 50, jit)
    assert not jit or n > 10, n
    report = pyhot.remap(mapping)
    assert report["unresolved"] == report["unaccounted"] == 0, report
    assert type(slots) is NewSlots and type(thing) is New and Sub.__base__ is New
    check(2, 1)
    warm(2, 50, jit)

main()
"""


def test_specialised_code(python, run_script):
    run_script(python, HOT)


def test_jit(python, run_script):
    if "no JIT" in run_script(python, HOT, "jit", env={"PYTHON_JIT": "1"}):
        pytest.skip("this interpreter has no JIT, or it cannot be turned on")


# While a trace is being recorded: at which iteration that is differs by version and build.
RECORDING = """
import sys
import pyhot

SOURCE = '''
class Old:
    rate = name = "old"
    def value(self): return "old"
    @property
    def text(self): return "old"
    def __add__(self, other): return self
class New:
    text = rate = name = "new"
    def value(self): return "new"
    def __add__(self, other): return self
def old(): return "old"
def new(): return "new"
def loop(n, at, do):
    x = Old()
    for i in range(n):
        got = old(), x.value(), x.text, Old.rate, (x + x).name, type(x).name, Old().name
        if i == at:
            do()
    return got
'''

if not (hasattr(sys, "_jit") and sys._jit.is_enabled()):
    print("no JIT")
    sys.exit()
held = []
for at in [10, 1000] + list(range(3985, 4010)) + list(range(4090, 4100)):
    names, reports = {}, []
    exec(SOURCE, names)
    mapping = {names["Old"]: names["New"], names["old"]: names["new"]}
    before = names["loop"](1, -1, None)
    after = names["loop"](at + 6000, at, lambda: reports.append(pyhot.remap(mapping)))
    assert set(before) == {"old"} and set(after) == {"new"}, (at, before, after)
    report, = reports
    assert report["unresolved"] == report["unaccounted"] == 0, (at, report)
    held += [h["where"] for h in report["held"]]
assert set(held) <= {"trace that the JIT is recording"}, held
assert held or sys.version_info < (3, 15), "met none"
"""


def test_jit_while_it_records(python, run_script):
    if "no JIT" in run_script(python, RECORDING, env={"PYTHON_JIT": "1"}):
        pytest.skip("this interpreter has no JIT, or it cannot be turned on")
