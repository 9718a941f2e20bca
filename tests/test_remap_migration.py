"""Instances whose class gets another layout become other objects: what they refer to and the
reference counts of it, for each pair of layouts."""

LAYOUTS = """
import collections, gc, sys, weakref
import pyhot

def layouts():
    class Base: __slots__ = "a",
    class Dict: pass
    class Slots: __slots__ = "a", "b"
    class Other: __slots__ = "c", "b", "a", "__weakref__"
    class Both: __slots__ = "a", "__dict__"
    class All: __slots__ = "b", "__dict__", "__weakref__"
    class Derived(Base): __slots__ = "b",
    class Further(Base): pass
    class Plenty: __slots__ = tuple("abcdefghij")
    class Finalized:
        def __del__(self): finalized.append(1)
    class FinalizedSlots:
        __slots__ = "a", "b"
        def __del__(self): finalized.append(1)
    return [Dict, Slots, Other, Both, All, Derived, Further, Plenty, Finalized, FinalizedSlots]

class Value: pass
finalized = []
N = len(layouts())

def instances(c, values):
    made = []
    for n in range(16):
        o = c()
        o.a = values[n % 4]
        if n & 1:
            o.b = o
        if n & 2:
            o.b = made[-1]
        if n & 4 and hasattr(o, "__dict__"):
            vars(o)
        if n & 8:
            del o.a
        if hasattr(o, "__dict__") and n % 5 == 0:
            setattr(o, "\\udc80", None)
            o.extra, o.__dict__[1] = values[1], values[2]
        made.append(o)
    return made

def shape(objects, names):
    "What attributes they have, by the places of what they name."
    place = {id(o): i for i, o in enumerate(objects)}
    def known(o):
        return place.get(id(o), getattr(o, "__name__", None) or type(o).__name__)
    return [[known(getattr(o, name, None)) for name in names] for o in objects]

def unseen(mapping, more):
    "Of each, the references that the collector does not see."
    objects = list(mapping) + list(mapping.values()) + more
    ids = collections.Counter(map(id, objects))
    seen = collections.Counter(
        id(x) for o in gc.get_objects() if o is not ids and o is not objects
        for x in gc.get_referents(o) if id(x) in ids)
    return [sys.getrefcount(objects[i]) - seen[id(objects[i])] for i in range(len(objects))]

def pair(i, j):
    Old, New = layouts()[i], layouts()[j]
    def old(): pass
    def new(): pass
    new.__name__ = "old"
    New.__name__ = Old.__name__
    values = [Value(), old, Old, Value()]
    w = {"objects": instances(Old, values), "values": values}
    w["views"] = [vars(o) for o in w["objects"][1:3] if hasattr(o, "__dict__")]
    refs = [weakref.ref(o) for o in values[::3] + [Old, New, old, new]]
    if hasattr(w["objects"][0], "__weakref__"):
        refs += map(weakref.ref, w["objects"])
    del finalized[:]
    mapping = {Old: New, old: new, values[3]: Value()}
    refs.append(weakref.ref(mapping[values[3]]))
    more = [values[0]]
    del old, new, Old, New, values
    gc.collect()
    # Without a dict there is no place for more, which is reported.
    names = ["a", "b"] + ["extra"] * hasattr(mapping[type(w["objects"][0])](), "__dict__")
    del finalized[:]
    before = shape(w["objects"], names), unseen(mapping, more)
    report = pyhot.remap(mapping)
    gc.collect()
    after = shape(w["objects"], names), unseen(mapping, more)
    assert report["unresolved"] == report["unaccounted"] == 0, report
    assert before == after, (report["migrated"], before, after)
    assert len(set(unseen({}, w["objects"]))) == 1, unseen({}, w["objects"])
    assert not finalized, len(finalized)
    migrated = report["migrated"]
    del report, mapping, more
    w.clear()
    gc.collect()
    left = [type(ref()) for ref in refs if ref() is not None]
    assert not left, left
    return migrated

gc.freeze()  # there is less to look at
migrated = sum(bool(pair(i, j)) for i in range(N) for j in range(N))
assert migrated > 60, migrated
if hasattr(sys, "gettotalrefcount"):
    def total():
        for i in range(N):
            pair(i, (i + 1) % N)
        gc.collect()
        sys._clear_type_cache()  # holds names
        return sys.gettotalrefcount()
    total()
    first, second = total(), total()
    assert second - first <= 2, (first, second)
"""


def test_reference_counts(python, run_script):
    """Seen from outside: what the collector does not see of a count is as before, all attributes are
    there, and in the end all of it can be freed."""
    run_script(python, LAYOUTS)
