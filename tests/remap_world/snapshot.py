"""All that can be seen of objects and of what they lead to: to be the same before and after a remap that
failed."""
import gc
import sys
import types
import weakref

# Valid method cache entries: any lookup may set it.
IGNORED_FLAGS = 1 << 19


class Snapshot:
    """Of what was made since, as what is older is the interpreter's and the libraries'."""

    def __init__(self):
        self.older = set(map(id, gc.get_objects()))

    def reachable(self, roots):
        found, seen = list(roots), set(map(id, roots))
        for o in found:
            for x in (*gc.get_referents(o), *weakref.getweakrefs(o), attributes(o)):
                if id(x) not in seen and id(x) not in self.older and is_told(x):
                    seen.add(id(x))
                    found.append(x)
        return found

    def take(self, *roots):
        """{address: what is there}, in texts, which the collector has not to look at."""
        for o in self.reachable(roots):
            attributes(o)  # some make their dict when it is asked for
        o = None
        found = self.reachable(roots)
        del roots
        # A function of its own, as what a variable names counts.
        return {id(o): "%d %s" % (sys.getrefcount(o), describe(o)) for o in found}


def is_told(o):
    """Not what is everywhere: numbers, texts, built-in types; nor what a frame that runs has."""
    return ((gc.is_tracked(o) or isinstance(o, (tuple, dict)))
            and not isinstance(o, (types.FrameType, types.ModuleType)))


def attributes(o):
    """o.__dict__, if it is an ordinary instance's."""
    names = (None if isinstance(o, (type, types.FunctionType, types.ModuleType))
             else getattr(o, "__dict__", None))
    return names if type(names) is dict else None


def describe(o):
    # A generator gets a frame object when somebody asks for it.
    refers = sorted(id(x) for x in gc.get_referents(o) if not isinstance(x, types.FrameType))
    # A collection untracks tuples and dicts.
    facts = [type(o).__name__, id(type(o)), isinstance(o, (tuple, dict)) or gc.is_tracked(o),
             list(map(id, weakref.getweakrefs(o))),
             sys.version_info >= (3, 9) and gc.is_finalized(o)]
    if issubclass(type(o), type):  # list[int] says that it is one
        facts += [o.__flags__ & ~IGNORED_FLAGS, o.__basicsize__, o.__dictoffset__, id(o.__base__),
                  list(map(id, o.__bases__)), list(map(id, o.__mro__)),
                  list(map(id, type.__subclasses__(o))), items(vars(o))]
    elif isinstance(o, dict) or type(o).__name__ == "frozendict":
        facts.append(items(o))
        refers = []  # from 3.13 on its values may be visited by an instance instead
    elif isinstance(o, (list, tuple, set, frozenset)):
        facts.append(list(map(id, iter(o))))
    elif type(o) is weakref.ref:
        facts += [id(o()), id(o.__callback__)]
    names = attributes(o)
    if names is not None:
        # The values may be in the instance or in the dict, and move when a class is set.
        refers = [x for x in refers if x != id(names)] if id(names) in refers else without(
            refers, map(id, names.values()))
        facts.append(items(names))
    return facts + refers


def items(mapping):
    return [(id(key), id(value)) for key, value in mapping.items()]


def without(numbers, some):
    for x in some:
        if x in numbers:
            numbers.remove(x)
    return numbers


def differences(before, after):
    return [(hex(at), before.get(at), after.get(at))
            for at in {**before, **after} if before.get(at) != after.get(at)]
