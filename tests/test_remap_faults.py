"""gc.remap when memory runs out."""

import os

import pytest

import harness

WORLD = """
import collections, ctypes, functools, gc, os, sys, weakref
import pyhot

def old(): return "old"
def new(): return "new"
class Old:
    def __init__(self, x): self.x = x
class New:
    def __init__(self, x): self.y = x
class Slots: __slots__ = "a",
class MoreSlots: __slots__ = "b", "a"
class Base: pass
class Base2: pass
class Derived(Base): pass
class Key:
    def __hash__(self): return 1

made = Old(1), Derived(), Key(), Key(), Slots()
made[4].a = made[0]

def generator():
    held = old
    yield held

suspended = generator()
next(suspended)
world = {
    "list": [old, Old, made], "tuple": (old, (Old,)), "nested": [[old] for _ in range(500)],
    "dict": {old: Old, (old, 1): old, (old,) * 50: 1, frozenset([old]): 1, made[2]: 1},
    "sets": [{old, Old, made[2]}, frozenset([old, Old])],
    "deque": collections.deque([old] * 100 + [Old]), "partial": functools.partial(old, Old),
    "weak": [weakref.ref(old), weakref.WeakKeyDictionary({old: 1, Old: 2}),
             weakref.WeakValueDictionary(a=old, b=Old)],
    "code": lambda x=old, *, y=Old: (x, y), "closure": (lambda c: lambda: c)(old),
}
mapping = {old: new, Old: New, Slots: MoreSlots, Base: Base2, made[2]: made[3]}
everything = [old, new, Old, New, Slots, MoreSlots, Base, Base2, *made]

def shape(x, seen):
    "Identities, as deep as it goes; in a text, which refers to nothing."
    if id(x) in seen:
        return "(again)"
    seen.add(id(x))
    text = "%x %x " % (id(x), id(type(x)))
    if isinstance(x, (list, tuple, set, frozenset, collections.deque)):
        return text + "[%s]" % ", ".join(shape(y, seen) for y in x)
    if isinstance(x, (dict, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
        return text + "{%s}" % ", ".join(shape(k, seen) + shape(v, seen) for k, v in x.items())
    if isinstance(x, weakref.ref):
        return text + "%x" % id(x())
    return text

def state():
    return [shape(world, set()), shape(everything, set()), list(map(id, Derived.__mro__)),
            shape(world["code"](), set()), shape(world["closure"](), set()),
            shape(vars(made[0]), set()), shape(made[4].a, set()), gc.isenabled(),
            [sys.getrefcount(x) for x in everything]]
"""


@pytest.mark.parametrize("dry_run", [True, False])
def test_out_of_memory(python, tmp_path, dry_run):
    """Each allocation of the engine fails in turn, each in a process of its own: MemoryError
    and nothing changed, or, once all is committed, the change and its report."""
    agent = os.environ.get("PYHOT_FAULTS_BINARY")
    if not agent:
        pytest.skip("no $PYHOT_FAULTS_BINARY: not built")
    first = "import sys; sys.path.insert(0, %r)" % os.path.dirname(agent)
    output = harness.run_script(python, first + WORLD + """
agent = ctypes.PyDLL(pyhot.__file__)
pyhot.remap(mapping, dry_run=True)  # what is done once in a process

def attempt(n):
    "Does it take at least n allocations?"
    before = state()
    agent.pyhot_fail_allocation(n)
    try:
        report = pyhot.remap(mapping, dry_run=%r)
    except MemoryError:
        assert agent.pyhot_fail_allocation(0)
        assert state() == before, (n, before, state())
    else:
        print("done", n, report["references_rewritten"], report["unresolved"])
        if not agent.pyhot_fail_allocation(0):
            return False
        assert world["list"][0].__name__ == "new" and type(made[4]).__name__ == "MoreSlots"
    gc.collect()
    return True

for n in range(1, 10000):
    child = os.fork()
    if not child:
        status = 2
        try:
            status = 0 if attempt(n) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status in (0, 256), (n, status)
    if status:
        break
assert n > 30
""" % dry_run, tmp_path)
    reports = [line.split()[2:] for line in output.splitlines() if line.startswith("done")]
    assert reports and all(report == reports[0] for report in reports), output
    # When dry, the report comes last: nothing is survived.
    assert len(reports) == 1 or not dry_run, output
