"""A random world: containers of many types that refer to each other, to functions, classes and instances of them, any of
which a remap replaces.  Told in labels before and after, where each object to be replaced is told as its
replacement, it must be the same."""

import abc
import collections
import contextvars
import ctypes
import functools
import gc
import itertools
import random
import sys
import threading
import types
import weakref

calls = []  # of the __hash__, __eq__, __del__ and callbacks of what is here
ATTRIBUTES = "abcde"


def make_function(name):
    namespace = {}
    exec("def %s(self=None, *args, k=None): return %r" % (name, name), namespace)
    return namespace[name]


def callback(ref):
    calls.append("callback")


class Hashed:
    def __init__(self, number):
        self.number = number

    def __hash__(self):
        calls.append("hash")
        return self.number % 7

    def __eq__(self, other):
        calls.append("eq")
        return self is other


class World:
    """`nodes`: [kind, object] of each."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.nodes = []
        self.threads = []
        for n in range(6):
            self.add("function", make_function("f%d" % n))
        self.add("list", [])
        self.add("key", ())
        self.add("dict", {})
        self.add("metaclass", self.make_metaclass("M"))
        for n in range(10):
            self.add("class", self.make_class("C%d" % n))
        for _ in range(120):
            kind = self.random.choice(KINDS)
            self.add(kind, getattr(self, "make_" + kind)())
        self.add("thread", self.make_thread())
        self.refer_to_later()

    def add(self, kind, o):
        self.nodes.append([kind, o])

    def refer_to_later(self):
        for kind, o in self.nodes:
            if kind == "list":
                o.extend(self.several())
            elif kind == "names":
                o.update(self.make_names())
            elif kind == "dict":
                o[self.hashable()] = self.some()
            elif kind == "instance":
                self.fill(o)
            elif kind == "class":
                o.later = self.some()

    def end(self):
        for thread, ended in self.threads:
            ended.set()
            thread.join()
        self.__dict__.clear()

    # --- what to refer to

    def some(self, kinds=None):
        found = [o for kind, o in self.nodes if kinds is None or kind in kinds]
        return self.random.choice(found) if found else None

    def several(self, most=5, kinds=None):
        return [self.some(kinds) for _ in range(self.random.randint(0, most))]

    def hashable(self):
        return self.some(HASHABLE)

    def hashables(self, most):
        return self.several(most, HASHABLE)

    def weak(self):
        return self.some(WEAK)

    # --- classes and instances

    def make_metaclass(self, name):
        return type(name, (abc.ABCMeta,), {"__module__": __name__, "held": self.some()})

    def make_bases(self):
        if self.random.random() < 0.6:
            return self.random.choice(C_BASES),
        bases = tuple(filter(None, self.several(2, ["class"])))
        try:
            return types.new_class("", bases).__bases__
        except TypeError:  # of layouts, metaclasses or orders that do not agree
            return bases[:1]

    def make_class(self, name, like=None, bases=None, metaclass=None):
        """`like` another one: with its base in C, and a place for each attribute."""
        if like is None:
            bases = self.make_bases()
            metaclass = self.some(["metaclass"]) if self.random.random() < 0.2 else type(bases[0])
        namespace = {"__module__": __name__}
        if all(c is object or c.__module__ == __name__ for b in bases for c in b.__mro__):
            if self.random.random() < 0.6:
                namespace["__slots__"] = self.slots(bases, like)
        for n in range(self.random.randint(0, 3)):
            wrapper = self.random.choice([lambda f: f, classmethod, staticmethod, property])
            namespace["m%d" % n] = wrapper(make_function("m%d" % n))
        if self.random.random() < 0.2:
            namespace["__del__"] = lambda self: calls.append("del")
        for n in range(self.random.randint(0, 2)):
            namespace["held%d" % n] = self.some()
        return types.new_class(name, bases, {"metaclass": metaclass}, lambda body: body.update(namespace))

    def slots(self, bases, like):
        taken = {name for b in bases for c in b.__mro__ for name in ATTRIBUTES if name in vars(c)}
        slots = [name for name in ATTRIBUTES if name not in taken]
        self.random.shuffle(slots)
        if like is None:
            del slots[self.random.randint(0, len(slots)):]
        if not any(b.__dictoffset__ for b in bases) and self.random.random() < (0.3 if like else 0.5):
            slots.append("__dict__")
        if not any(b.__weakrefoffset__ for b in bases):
            slots.append("__weakref__")
        return tuple(slots)

    def make_instance(self):
        made = self.some(["class"])
        if issubclass(made, Exception):
            return self.fill(made(*self.hashables(3)))
        if issubclass(made, (tuple, list, set, collections.deque)):
            return self.fill(made(self.hashables(3)))
        if issubclass(made, dict):
            return self.fill(made(self.make_dict()))
        return self.fill(made())

    def fill(self, o):
        for name in ATTRIBUTES:
            if self.random.random() < 0.5:
                try:
                    setattr(o, name, self.some())
                except AttributeError:
                    pass
        if self.random.random() < 0.3 and hasattr(o, "__dict__"):
            vars(o)
        if self.random.random() < 0.3 and hasattr(o, "a"):
            del o.a
        return o

    # --- all else

    def make_list(self): return self.several()
    def make_tuple(self): return tuple(self.several())
    def make_key(self): return tuple(self.hashables(4))
    def make_set(self): return set(self.hashables(12))
    def make_frozenset(self): return frozenset(self.hashables(5))
    def make_dict(self): return {key: self.some() for key in self.hashables(12)}
    def make_names(self): return {name: self.some() for name in self.random.sample(ATTRIBUTES, 3)}
    def make_ordered(self): return collections.OrderedDict(self.make_dict())
    def make_defaultdict(self): return collections.defaultdict(self.some(CALLED), self.make_dict())
    def make_deque(self): return collections.deque(self.several(200), self.random.choice([None, 50]))
    def make_partial(self): return functools.partial(self.some(CALLED), *self.several(), k=self.some())
    def make_method(self): return types.MethodType(self.some(["function"]), self.some())
    def make_namespace(self): return types.SimpleNamespace(**self.make_names())
    def make_proxy(self): return types.MappingProxyType(self.some(["dict", "names"]))
    def make_property(self): return property(self.some(["function"]), self.some(["function"]))
    def make_slice(self): return slice(self.some(), self.some(), self.some())
    def make_chain(self): return itertools.chain(self.several(), self.several())
    def make_zip(self): return zip(self.several(), [self.some()])
    def make_cell(self): return types.CellType(self.some())
    def make_error(self): return ValueError(*self.several())
    def make_hashed(self): return Hashed(self.random.randrange(100))
    def make_weakref(self): return weakref.ref(self.weak(), self.random.choice([None, callback]))
    def make_weakset(self): return weakref.WeakSet([self.weak() for _ in range(4)])
    def make_weakkeys(self): return weakref.WeakKeyDictionary((self.weak(), self.some()) for _ in range(4))
    def make_weakvalues(self): return weakref.WeakValueDictionary((n, self.weak()) for n in range(4))

    def make_closure(self):
        x, y = self.some(), self.some()
        return lambda a=self.some(), *, b=self.some(): (x, y)

    def make_generator(self):
        def generator(x, y):
            held = [y]
            yield x
            yield held
        made = generator(self.some(), self.some())
        if self.random.random() < 0.7:
            next(made)
        return made

    def make_coroutine(self):
        @types.coroutine
        def wait(x):
            yield x

        async def coroutine(x, y):
            await wait(y)
        made = coroutine(self.some(), self.some())
        made.send(None)
        return made

    def make_traceback(self):
        def fails(x, y):
            raise ValueError(y)
        try:
            fails(self.some(), self.some())
        except ValueError as error:
            return error

    def make_cache(self):
        cached = functools.lru_cache(maxsize=None)(lambda x: x)
        for _ in range(5):
            cached(self.hashable())
        return cached

    def make_context(self):
        variable = contextvars.ContextVar("variable", default=self.some())
        context = contextvars.Context()
        context.run(variable.set, self.some())
        return context

    def make_dispatch(self):
        dispatch = functools.singledispatch(self.some(["function"]))
        for _ in range(3):
            dispatch.register(self.some(["class"]), self.some(["function"]))
        dispatch.dispatch(self.some(["class"]))
        return dispatch

    def make_registry(self):
        class Registry(abc.ABC):
            pass
        for _ in range(3):
            Registry.register(self.some(["class"]))
        return Registry

    def make_pointers(self):
        return (ctypes.py_object * 3)(*(self.hashable() for _ in range(3)))

    def make_thread(self):
        started, ended = threading.Event(), threading.Event()

        def run(x, y):
            z = (x, y)
            started.set()
            ended.wait()
        thread = threading.Thread(target=run, args=(self.some(LOCAL), self.some(LOCAL)), daemon=True)
        thread.start()
        started.wait()
        self.threads.append((thread, ended))
        return thread

    # --- what is replaced

    def mapping(self):
        migrates = self.random.random() < 0.5
        while True:
            try:
                return self.replacements(migrates)
            except TypeError:  # new layouts, or old and new, of which one class cannot inherit two
                migrates = False

    def replacements(self, migrates):
        mapping = {}
        for kind, o in self.nodes:
            if kind == "function" and self.random.random() < 0.6:
                mapping[o] = make_function(o.__name__)
            elif kind == "function":
                mapping[o.__code__] = make_function(o.__name__ + "_").__code__
            elif kind == "metaclass" and self.random.random() < 0.5:
                mapping[o] = self.make_metaclass(o.__name__)
            elif kind == "class" and (migrates or self.random.random() < 0.5):
                bases = tuple(mapping.get(b, b) for b in o.__bases__)
                metaclass = type(o)
                if migrates:
                    mapping[o] = self.make_class(o.__name__, o, bases, metaclass)
                else:
                    mapping[o] = copy_of(o, bases, metaclass)
            elif kind == "hashed" and self.random.random() < 0.3:
                mapping[o] = Hashed(o.number)
        return mapping


def copy_of(o, bases, metaclass):
    namespace = {name: value for name, value in vars(o).items() if not name.startswith("_abc_") and
                 not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))}
    return types.new_class(o.__name__, bases, {"metaclass": metaclass}, lambda body: body.update(namespace))


NO_KINDS = "make_class", "make_metaclass", "make_bases", "make_thread"
KINDS = sorted(name[5:] for name in dir(World)
               if name.startswith("make_") and name not in NO_KINDS) + ["instance"] * 20
C_BASES = [object] * 6 + [list, dict, set, Exception, tuple, int, str, float, collections.deque]
CALLED = ["function", "class"]
HASHABLE = ["function", "class", "key", "hashed", "frozenset", "method", "partial", "property", "closure"]
WEAK = ["function", "class", "hashed", "frozenset", "generator", "closure", "partial"]
# From 3.14 on a frame keeps the values of locals that are overwritten from outside until it ends
# (framelocalsproxy_setitem, Objects/frameobject.c), and so old classes, and what a failed remap wrote.
LOCAL = ["tuple", "list", "key", "dict"]


def tell(world, mapping):
    """What there is, by node; what is a key of the mapping as its value."""
    put = {id(old): new for old, new in mapping.items()}
    labels = {id(put.get(id(o), o)): "#%d %s" % (n, kind) for n, (kind, o) in enumerate(world.nodes)}
    teller = Teller(world, put, labels)
    return [(kind, teller.contents(put.get(id(o), o), 0)) for kind, o in world.nodes]


class Teller:
    def __init__(self, world, put, labels):
        self.put, self.labels = put, labels
        self.old_classes = [o for kind, o in world.nodes if kind == "class"]
        self.classes = [put.get(id(o), o) for o in self.old_classes]
        self.frames = sys._current_frames()

    def label(self, o, depth):
        o = self.put.get(id(o), o)
        known = self.labels.get(id(o))
        if known is not None:
            return known
        if isinstance(o, type):
            return "class " + o.__qualname__
        if o is None or type(o) in ATOMS or depth > 4:
            return repr(o)[:60].split(" at 0x")[0]
        return self.contents(o, depth + 1)

    def all(self, objects, depth):
        return [self.label(o, depth) for o in objects]

    def unordered(self, objects, depth):
        return sorted(map(repr, self.all(objects, depth)))

    def items(self, o, depth):
        return [(self.label(k, depth), self.label(v, depth)) for k, v in o.items()]

    def contents(self, o, depth):
        told = [self.label(type(o), depth)]
        if isinstance(o, type):
            return told + self.of_class(o, depth)
        if type(o) is types.SimpleNamespace:
            return told + sorted(map(repr, self.items(vars(o), depth)))
        told += self.of_container(o, depth)
        return told + [(name, self.label(getattr(o, name, None), depth)) for name in ATTRIBUTES]

    def mro(self, o):
        "As it will be: that of a new class may have both old and new ancestors."
        if not self.put:
            return o.__mro__
        bases = [self.put.get(id(b), b) for b in o.__bases__]
        return [o] + functools._c3_merge([*map(list, map(self.mro, bases)), bases])

    def of_class(self, o, depth):
        if self.put:  # those that are replaced do not live on as its subclasses
            subclasses = [c for c in self.classes if any(self.put.get(id(b), b) is o for b in c.__bases__)]
        else:
            subclasses = [c for c in type.__subclasses__(o) if any(c is known for known in self.classes)]
        return [o.__name__, self.all(o.__bases__, depth), self.all(self.mro(o), depth),
                self.unordered(subclasses, depth),
                [(name, self.label(value, depth)) for name, value in vars(o).items()
                 if name.startswith(("held", "later"))],
                [issubclass(c, o) for c in self.old_classes] if o.__name__ == "Registry" else []]

    def of_container(self, o, depth):
        if isinstance(o, types.FunctionType):
            code = self.put.get(id(o.__code__), o.__code__)
            return [o.__name__, code.co_consts[1:2], self.label(o.__defaults__, depth), self.label(o.__kwdefaults__, depth),
                    self.all((c.cell_contents for c in o.__closure__ or ()), depth)]
        if isinstance(o, (list, tuple, collections.deque)):
            return self.all(list(iter(o)), depth)
        if isinstance(o, (set, frozenset, weakref.WeakSet)):
            return self.unordered(list(o), depth)
        if isinstance(o, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
            return self.unordered(list(o.items()), depth)
        if isinstance(o, (dict, types.MappingProxyType)):
            return self.items(o, depth) + [self.label(getattr(o, "default_factory", None), depth)]
        if isinstance(o, weakref.ref):
            return [self.label(o(), depth), self.label(o.__callback__, depth)]
        if isinstance(o, functools.partial):
            return [self.label(o.func, depth), self.all(o.args, depth), self.items(o.keywords, depth)]
        if isinstance(o, contextvars.Context):
            return [self.label(value, depth) for value in o.values()] + self.unordered(gc.get_referents(*o), depth)
        if isinstance(o, ctypes.Array):
            return self.all(o, depth)
        if isinstance(o, types.MethodType):
            return [self.label(o.__func__, depth), self.label(o.__self__, depth)]
        if isinstance(o, types.GeneratorType):
            return self.of_frame(o.gi_frame, depth)
        if isinstance(o, types.CoroutineType):
            return self.of_frame(o.cr_frame, depth)
        if isinstance(o, threading.Thread):
            return self.of_frame(self.running(o.ident, "run"), depth)
        if isinstance(o, BaseException):
            frame = o.__traceback__ and o.__traceback__.tb_next
            return self.all(o.args, depth) + self.of_frame(frame and frame.tb_frame, depth)
        if isinstance(o, (int, str, float)):
            return [repr(o)]
        if type(o).__module__ in ("builtins", "itertools", "functools"):
            return self.unordered((x for x in gc.get_referents(o) if x is not type(o)), depth)
        return []

    def of_frame(self, frame, depth):
        names = frame.f_locals if frame else {}
        return [(name, self.label(names.get(name), depth)) for name in ("x", "y", "z", "held")]

    def running(self, ident, name):
        """The last frame of a thread's function: Thread.run has the same name."""
        frame = self.frames[ident]
        while frame.f_code.co_name != name:
            frame = frame.f_back
        return frame


ATOMS = int, str, float, bool, types.CodeType, types.BuiltinFunctionType, types.ModuleType
