"""Data: state stays, constants and changed initialisers arrive, registries are neither emptied
nor doubled, and --data, --new, --keep decide otherwise."""

from reloading import case, check_cases

STATE = [
    case("counters_changed_at_run_time", '''
        requests = 0
        limit = {{10||20}}
        base = {{1||2}}
        derived = base * 100
        class Stats:
            hits = 0
            step = {{1||5}}
        def handle():
            global requests
            requests += 1
            Stats.hits += 1
            return "{{old||new}}"
        ''', "import mod; mod.handle(); mod.handle()", '''
        assert mod.requests == 2 and mod.Stats.hits == 2 and mod.handle() == "new"
        assert mod.limit == 20 and mod.derived == 200 and mod.Stats.step == 5
        part = modules["mod"]
        assert "requests" in part["kept"] and "limit" in part["taken"], part
        '''),
    case("lazily_made_singleton", '''
        _connection = None
        class Connection:
            def send(self):
                return "{{old||new}}"
        def connect():
            global _connection
            if _connection is None:
                _connection = Connection()
            return _connection
        ''', "import mod; c = mod.connect()", '''
        assert mod.connect() is c and mod._connection is c and c.send() == "new"
        '''),
    case("changed_initialisers", '''
        TABLE = {"a": {{1||2}}}
        NAMES = ["x"{{||, "y"}}]
        SAME = {"a": 1}
        PAIRS = [(n, n * {{2||3}}) for n in range(2)]
        EITHER = {"k": 1} if TABLE else {{[]||dict()}}
        FIRST = SECOND = {{[1]||[2]}}
        LEFT, RIGHT = [1], {{[1]||[2]}}
        ''', '''
        import mod
        from mod import TABLE, NAMES, SAME, PAIRS, RIGHT
        held = {"t": TABLE}
        mod.SAME["b"] = 2
        ''', '''
        assert TABLE == {"a": 2} and TABLE is mod.TABLE is held["t"] and NAMES == ["x", "y"]
        assert SAME is mod.SAME and SAME == {"a": 1, "b": 2}
        assert PAIRS == [(0, 0), (1, 3)] and mod.FIRST is mod.SECOND and mod.SECOND == [2]
        assert RIGHT == [2] and mod.RIGHT is RIGHT
        '''),
    case("names_of_one_assignment", '''
        import collections, threading
        def pair():
            return [1], {{[2]||[3]}}
        cache, LIMITS = {}, {{[1]||[2]}}
        size, connection, count = {{1||2}}, None, 0
        locks, STEPS, seen = threading.Lock(), [{{1||2}}], set()
        a, b, c, d = {}, [{{1||2}}] if cache is None else {{[3]||[4]}}, dict(), collections.Counter()
        both, (one, two) = [], ({}, {{[1]||[2]}})
        left, right = pair()
        {{alone = []||alone, other = [], dict()}}
        class Stats:
            hits, step = 0, {{1||2}}
        def work():
            global connection, count
            connection = object()
            count += 1
            cache["k"] = seen.add(1)
            a["x"] = c["x"] = d["x"] = 1
            alone.append(1)
            Stats.hits += 1
        ''', '''
        import mod
        mod.work()
        lock, connection = mod.locks, mod.connection
        ''', '''
        assert mod.cache == {"k": None} and mod.LIMITS == [2]
        assert (mod.size, mod.connection, mod.count) == (2, connection, 1)
        assert mod.locks is lock and mod.STEPS == [2] and mod.seen == {1}
        assert mod.a == mod.c == dict(mod.d) == {"x": 1} and mod.b == [4]
        assert mod.two == [2] and mod.alone == [1] and mod.other == {}
        assert (mod.Stats.hits, mod.Stats.step) == (1, 2)
        '''),
    case("initialiser_made_of_a_changed_constant", '''
        SIZE = {{2||4}}
        SLOTS = [None] * SIZE
        CACHE = {}
        ''', "import mod; mod.SLOTS[0] = 1; mod.CACHE[1] = 1", '''
        assert mod.SLOTS == [None] * 4 and mod.CACHE == {1: 1}
        '''),
    case("locks_sentinels_threads_loggers", '''
        import threading, logging, queue
        MISSING = object()
        lock = threading.RLock()
        event = threading.Event()
        log = logging.getLogger(__name__)
        todo = queue.Queue()
        def get(value=MISSING, using=lock):
            return value is MISSING, using is lock, "{{old||new}}"
        ''', '''
        import mod
        from mod import MISSING, lock, event, todo
        mod.event.set(); mod.todo.put(1); lock.acquire()
        ''', '''
        import logging
        assert mod.get() == (True, True, "new") and mod.get(MISSING)[0]
        assert mod.lock is lock and mod.event is event and event.is_set()
        assert mod.log is logging.getLogger("mod") and mod.todo.get() == 1
        lock.release()
        '''),
    case("found_objects_are_not_replaced_elsewhere", '''
        import sys, logging
        out = sys.{{stdout||stderr}}
        log = logging.getLogger("{{one||two}}")
        ''', '''
        import mod, sys, logging
        stdout, one = sys.stdout, logging.getLogger("one")
        ''', '''
        assert sys.stdout is stdout and mod.out is sys.stderr
        assert logging.getLogger("one") is one and mod.log is logging.getLogger("two")
        '''),
    case("stream_that_was_redirected_meanwhile", '''
        import sys
        out = sys.stdout
        value = {{1||2}}
        ''', '''
        import mod, sys, io
        first = sys.stdout
        sys.stdout = second = io.StringIO()
        ''', '''
        now, sys.stdout = sys.stdout, first
        assert now is second and mod.value == 2
        '''),
    case("singleton_gets_attributes_of_a_changed_init", '''
        class Settings:
            def __init__(self):
                self.options = {}
                {{||self.limits = dict(n=1)}}
            def limit(self):
                return {{0||self.limits["n"]}}
        settings = Settings()
        def use(s=settings):
            return s
        ''', "from mod import settings; settings.options['a'] = 1", '''
        import mod
        assert settings is mod.settings and settings.options == {"a": 1}
        assert settings.limit() == 1 and mod.use() is settings
        '''),
    case("constants_imported_elsewhere", {"mod.py": '''
        LIMIT = {{1||2}}
        NAME = "{{one||two}}"
        FLAG = {{False||True}}
        _PRIVATE = {{3||4}}
        LIST = {{[1]||[2]}}
        ''', "pkg/__init__.py": "from mod import NAME as title\nfrom . import inner\n",
        "pkg/inner.py": "from .. import mod\n" if False else "import mod\nLIMIT = 1\n",
        "star.py": "from mod import *\n",
        "again.py": "from star import LIMIT\nfrom pkg import title\n",
        "own.py": "import mod\nLIMIT = 1\nFLAG = False\nNAME = 'one'\n"}, '''
        from mod import LIMIT, FLAG, _PRIVATE as private
        import pkg, star, again, own
        ''', '''
        assert (LIMIT, FLAG, private) == (2, True, 4)
        assert pkg.title == "two" == again.title and star.LIMIT == 2 == again.LIMIT
        assert star.FLAG is True and star.NAME == "two" and star.LIST == [2]
        assert (own.LIMIT, own.FLAG, own.NAME) == (1, False, "one") and pkg.inner.LIMIT == 1
        '''),
    case("version_imported_elsewhere", {"mod.py": '''
        """The {{old||new}} text."""
        __version__ = "{{1||2}}"
        ''', "pkg.py": "from mod import __version__\n"}, "import mod, pkg", '''
        assert pkg.__version__ == mod.__version__ == "2" and mod.__doc__ == "The new text."
        assert pkg.__doc__ is None
        '''),
    case("value_changed_by_the_importer_stays", '''
        LIMIT = {{1000||2000}}
        ''', "from mod import LIMIT\nLIMIT = 5", "assert LIMIT == 5"),
    case("removed_and_injected_names", '''
        {{old_value = 1||new_value = 2}}
        def f():
            return {{1||2}}
        {{def old_f():
            return 1||}}
        {{import json||}}
        ''', '''
        import mod
        mod.injected = injected = {"x": 1}
        mod.handler = lambda: "h"
        ''', '''
        part = modules["mod"]
        assert mod.injected is injected and mod.handler() == "h" and mod.new_value == 2
        for name in ("old_value", "old_f", "json"):
            assert not hasattr(mod, name) and name in part["removed"], (name, part)
        assert part["added"] == ["new_value"], part
        '''),
    case("class_data", '''
        class Node:
            instances = []
            by_name = {}
            defaults = {"colour": "{{red||blue}}"}
            total = 0
            def __init__(self, name):
                self.name = name
                Node.instances.append(self)
                Node.by_name[name] = self
                Node.total += 1
        root = Node("root")
        ''', "import mod; a = mod.Node('a'); held = mod.Node.instances; root = mod.root", '''
        assert mod.Node.instances is held and held == [root, a], held
        assert mod.Node.by_name == {"root": root, "a": a} and mod.Node.total == 2
        assert mod.Node.defaults == {"colour": "blue"} and mod.root is root
        '''),
    case("dynamic_names", '''
        for _name in ("north", "south"{{||, "west"}}):
            globals()[_name] = _name + "{{1||2}}"
        ''', "import mod", '''
        assert mod.north == "north2" and mod.west == "west2"
        '''),
]

REGISTRIES = [
    case("registered_with_an_object_that_is_dropped", {
        "web.py": '''
        class Route:
            def __init__(self, path, function):
                self.path, self.function = path, function
        class App:
            def __init__(self):
                self.routes, self.log = [], SHARED
            def route(self, path):
                return lambda f: self.routes.append(Route(path, f)) or f
        SHARED = []
        ''', "mod.py": '''
        import web
        app = web.App()
        other = web.App()
        @app.route("/")
        def index():
            return "{{old||new}}"
        {{||@app.route("/add")
        def add():
            return "added"}}
        {{||def helper():
            pass}}
        '''}, "import mod, web", '''
        part = modules["mod"]
        assert part["kept"] == ["app", "other"] and part["unregistered"] == {"app": ["add"]}, part
        assert [r.function() for r in mod.app.routes] == ["new"]
        '''),
    case("registered_with_an_object_that_is_taken", {
        "web.py": "class App:\n    def __init__(self):\n        self.routes = []\n",
        "mod.py": '''
        import web
        app = web.App()
        {{||def add():
            return "added"
        app.routes.append(add)}}
        '''}, "import mod; app = mod.app", '''
        assert mod.app is app and app.routes == [mod.add] and "unregistered" not in modules["mod"]
        ''', new=["app"]),
    case("routes", '''
        ROUTES = {}
        ORDER = []
        NAMES = set()
        def route(path):
            def decorate(fn):
                ROUTES[path] = fn
                ORDER.append((path, fn))
                NAMES.add(fn)
                return fn
            return decorate
        @route("/a")
        def a():
            return "a{{1||2}}"
        {{||@route("/b")
        def b():
            return "b"}}
        {{@route("/gone")
        def gone():
            return "gone"||}}
        ''', '''
        import mod
        from mod import ROUTES
        @mod.route("/mine")
        def mine():
            return "mine"
        ''', '''
        assert ROUTES is mod.ROUTES and ROUTES["/a"]() == "a2" and ROUTES["/b"]() == "b"
        assert ROUTES["/mine"] is mine
        paths = [path for path, fn in mod.ORDER]
        assert paths == ["/a", "/gone", "/mine", "/b"] or paths == ["/a", "/mine", "/b"], paths
        assert mod.ORDER[0][1] is mod.a and len([fn for fn in mod.NAMES if fn is mod.a]) == 1
        assert mod.b in mod.NAMES and mine in mod.NAMES
        '''),
    case("exit_functions", '''
        import atexit
        out = []
        def bye(*args):
            out.append(("{{old||new}}", args))
        atexit.register(bye)
        @atexit.register
        def last():
            out.append("last {{1||2}}")
        def only_called():
            out.append("only")
        {{||atexit.register(only_called)}}
        ''', '''
        import atexit, mod
        atexit.register(mod.bye, "mine")
        ''', '''
        atexit._run_exitfuncs()
        assert mod.out == ["only", ("new", ("mine",)), "last 2", ("new", ())], mod.out
        '''),
    case("methods_and_partials_elsewhere", {"hub.py": "HOOKS = []\n", "mod.py": '''
        import functools
        from hub import HOOKS
        class Plugin:
            def __init__(self, name):
                self.name = name
            def run(self, n=0):
                return self.name, n, {{1||2}}
        def f(x):
            return x, {{1||2}}
        plugin = Plugin("own")
        HOOKS.append(plugin.run)
        HOOKS.append(functools.partial(plugin.run, 1))
        HOOKS.append(Plugin("other").run)
        HOOKS.append(("f", functools.partial(f, 1)))
        HOOKS.append(("plugin", Plugin("third")))
        {{||HOOKS.append(Plugin("new").run)}}
        '''}, "import mod, hub; third = hub.HOOKS[4][1]", '''
        assert len(hub.HOOKS) == 6, hub.HOOKS
        assert [hook() for hook in hub.HOOKS[:3]] == [("own", 0, 2), ("own", 1, 2), ("other", 0, 2)]
        assert hub.HOOKS[3][1]() == (1, 2) and hub.HOOKS[4][1] is third and third.run()[2] == 2
        assert hub.HOOKS[5]() == ("new", 0, 2)
        '''),
    case("exit_methods", '''
        import atexit, functools
        out = []
        class Store:
            def close(self, *args):
                out.append(("{{old||new}}", args))
        store = Store()
        atexit.register(store.close)
        atexit.register(functools.partial(store.close, 1))
        atexit.register(Store().close, 2)
        {{||atexit.register(store.close, 3)}}
        ''', "import mod", '''
        import atexit
        atexit._run_exitfuncs()
        assert sorted(mod.out) == [("new", ()), ("new", (1,)), ("new", (2,)), ("new", (3,))], mod.out
        '''),
    case("made_by_exec", {"hub.py": "KEPT = []\n", "mod.py": '''
        TEMPLATE = "def made(x):\\n    return x + {{1||2}}\\n"
        def make(name):
            names = {"__name__": __name__}
            exec(TEMPLATE.replace("made", name), names)
            return names[name]
        made = make("made")
        TABLE = {"a": make("a")}
        LIST = []
        LIST.append(make("b"))
        class K:
            m = staticmethod(make("m"))
        '''}, '''
        import mod, hub
        from mod import made
        hub.KEPT.append(made)
        a, m = mod.TABLE["a"], mod.K.m
        mod.TABLE["mine"] = len
        ''', '''
        assert mod.made is made is hub.KEPT[0] and made(1) == 3
        assert a is mod.TABLE["a"] and a(1) == 3 and mod.TABLE["mine"] is len
        assert [f(1) for f in mod.LIST] == [3] and m(1) == 3 and m is mod.K.m
        '''),
    case("nested_tables", '''
        TABLE = {"get": {}, "post": []}
        def get(fn):
            TABLE["get"][fn.__name__] = fn
            return fn
        def post(fn):
            TABLE["post"].append(fn)
            return fn
        @get
        def read():
            return {{1||2}}
        @post
        def write():
            return {{1||2}}
        {{||@post
        def erase():
            return 3}}
        ''', "import mod\n@mod.get\ndef mine(): return 9", '''
        assert sorted(mod.TABLE["get"]) == ["mine", "read"] and mod.TABLE["get"]["read"]() == 2
        assert [fn() for fn in mod.TABLE["post"]] == [2, 3]
        '''),
    case("overridden_by_others", '''
        HANDLERS = {}
        def handler(name):
            def decorate(fn):
                HANDLERS[name] = fn
                return fn
            return decorate
        @handler("save")
        def save():
            return {{1||2}}
        ''', "import mod\nmod.HANDLERS['save'] = lambda: 'mine'",
         "assert mod.HANDLERS['save']() == 'mine'"),
    case("instances_in_a_list", '''
        class Field:
            def __init__(self, name):
                self.name = name
                self.seen = 0
        FIELDS = []
        FIELDS.append(Field("a"))
        FIELDS.append(Field("b"))
        {{||FIELDS.append(Field("c"))}}
        ''', "import mod; a, b = mod.FIELDS; a.seen = 5", '''
        assert [field.name for field in mod.FIELDS] == ["a", "b", "c"], mod.FIELDS
        assert mod.FIELDS[0] is a and a.seen == 5
        '''),
    case("registry_object", '''
        class Registry:
            def __init__(self):
                self.handlers = {}
                self.order = []
            def add(self, fn):
                self.handlers[fn.__name__] = fn
                self.order.append(fn)
                return fn
        registry = Registry()
        @registry.add
        def one():
            return "one{{1||2}}"
        {{||@registry.add
        def two():
            return "two"}}
        ''', "import mod\nregistry = mod.registry\n@registry.add\ndef mine(): return 'm'", '''
        assert mod.registry is registry
        assert sorted(registry.handlers) == ["mine", "one", "two"], registry.handlers
        assert [fn() for fn in registry.order] == ["one2", "m", "two"], registry.order
        '''),
    case("list_of_another_module", {"hub.py": '''
        LISTENERS, PAIRS, METHODS = [], [], []
        def listen(fn):
            LISTENERS.append(fn)
            PAIRS.append((fn.__name__, fn))
            return fn
        ''', "mod.py": '''
        import hub
        @hub.listen
        def on_change():
            return {{1||2}}
        hub.LISTENERS.append(on_change)
        class Watch:
            def tick(self):
                return {{1||2}}
        watch = Watch()
        hub.METHODS.append(watch.tick)
        '''}, "import hub, mod\nhub.LISTENERS.append(print)", '''
        assert hub.LISTENERS == [mod.on_change, mod.on_change, print], hub.LISTENERS
        assert hub.PAIRS == [("on_change", mod.on_change)], hub.PAIRS
        assert hub.METHODS == [mod.watch.tick] and hub.METHODS[0]() == 2, hub.METHODS
        '''),
    case("set_and_dict_of_another_module", {"hub.py": '''
        KNOWN, BY_CLASS = set(), {}
        ''', "mod.py": '''
        import hub
        class Model:
            kind = {{1||2}}
        hub.KNOWN.add(Model)
        hub.BY_CLASS[Model] = "model"
        '''}, "import hub, mod", '''
        assert hub.KNOWN == {mod.Model} and hub.BY_CLASS == {mod.Model: "model"}
        assert [cls.kind for cls in hub.KNOWN] == [2]
        '''),
    case("what_was_taken_out_stays_out", '''
        PENDING = ["a", "b"]
        READY = {"x": 1, "y": 2}
        value = {{1||2}}
        ''', "import mod; mod.PENDING.remove('a'); del mod.READY['x']", '''
        assert mod.PENDING == ["b"] and mod.READY == {"y": 2} and mod.value == 2
        '''),
    case("small_numbers_taken_out_stay_out", '''
        PORTS = [80, 90]
        SEEN = {1, 2}
        def f(): return "{{old||new}}"
        ''', "import mod; mod.PORTS.remove(80); mod.SEEN.discard(1)", '''
        assert mod.PORTS == [90] and mod.SEEN == {2} and mod.f() == "new"
        '''),
    case("arguments_of_a_registration", {"hub.py": '''
        HANDLERS = []
        def on(*what, prio=None):
            def register(f):
                HANDLERS.append(what + (prio, f))
                return f
            return register
        ''', "mod.py": '''
        from hub import on
        LATE = {{7||8}}
        @on("a")
        @on("{{b||b2}}")
        def two(): pass
        @on(LATE)
        def named(): return "{{old||new}}"
        @on(prio={{3||4}})
        def key(): pass
        @on(prio=5)
        def same(): pass
        class Plugin:
            all = []
            def __init_subclass__(cls, prio):
                Plugin.all.append((prio, cls))
                Plugin.all.sort(key=lambda entry: entry[0])
        class A(Plugin, prio=1): pass
        class B(Plugin, prio={{5||2}}): pass
        '''}, '''
        import hub, mod
        class Mine(mod.Plugin, prio=3): pass
        hub.HANDLERS.append(("mine", None, mod.two))
        hub.HANDLERS.append((99, mod.key))
        ''', '''
        assert {entry[:-1] for entry in hub.HANDLERS if entry[-1] is mod.two} == {
            ("a", None), ("b2", None), ("mine", None)}
        assert [entry[:-1] for entry in hub.HANDLERS if entry[-1] is mod.named] == [(8, None)]
        assert {entry[:-1] for entry in hub.HANDLERS if entry[-1] is mod.key} == {(4,), (99,)}
        assert len(hub.HANDLERS) == 7 and mod.named() == "new"
        assert mod.Plugin.all == [(1, mod.A), (3, Mine), (2, mod.B)]
        ''', modules=["mod"]),
    case("later_statements_register", '''
        CONFIG = {}
        CONFIG["debug"] = False
        {{||CONFIG["level"] = 3}}
        LOADED = []
        LOADED.append("once")
        ''', "import mod; mod.CONFIG['debug'] = True; mod.LOADED.append('mark')", '''
        assert mod.CONFIG == {"debug": True, "level": 3}, mod.CONFIG
        assert mod.LOADED == ["once", "mark"], mod.LOADED
        '''),
    case("keys_that_the_source_makes_anew", '''
        def f():
            return {{1||2}}
        class E:
            def value(self):
                return {{1||2}}
        class F(E):
            pass
        NAMED = E()
        TABLE = {E(): f, F(): "x", E(): [], (E, 1): [], (f, NAMED): [], NAMED: []}
        SEEN = {E(), F(), E(), NAMED, (f, 1)}
        PAIRS = {(E(), 1): f, (E(), 2): [], ("x", (E(), f)): [1]}
        COUPLES = {(E(), 1), (F(), 1), (E(), 1)}
        REGISTRY = {}
        REGISTRY[E()] = []
        {{||REGISTRY[F()] = 7}}
        ''', '''
        import mod
        table, seen, pairs, couples = mod.TABLE, mod.SEEN, mod.PAIRS, mod.COUPLES
        first, couple = list(pairs), list(couples)
        pairs[first[1]].append("state")
        pairs[mod.E(), 1] = "mine"
        keys, held = list(table), set(seen)
        for value in table.values():
            if isinstance(value, list):
                value.append("state")
        table[mod.E()] = "mine"
        ''', '''
        assert table is mod.TABLE and len(table) == 7 and list(table)[:3] == keys[:3], table
        assert table[keys[0]] is mod.f and table[keys[1]] == "x" and keys[0].value() == 2
        for key in keys[2], (mod.E, 1), (mod.f, mod.NAMED), mod.NAMED:
            assert table[key] == ["state"], (key, table)
        assert seen is mod.SEEN and len(seen) == 5 and (mod.f, 1) in seen and mod.NAMED in seen
        assert seen - {(mod.f, 1)} < held, (seen, held)
        assert pairs is mod.PAIRS and list(pairs)[:3] == first and len(pairs) == 4, pairs
        assert list(pairs.values()) == [mod.f, ["state"], [1], "mine"] and first[0][0].value() == 2, pairs
        assert first[2][1][1] is mod.f and first[2][1][0].value() == 2
        assert couples is mod.COUPLES and couples == set(couple), couples
        assert list(mod.REGISTRY.values()) == [[], 7]
        '''),
    case("context_variables", '''
        import contextvars
        VAR = contextvars.ContextVar("VAR", default={{1||2}})
        KEEP = contextvars.ContextVar("KEEP", default=1)
        NEVER = contextvars.ContextVar("NEVER", default={{1||2}})
        SETS = contextvars.ContextVar("SETS", default={{1||2}})
        SETS.set({{5||6}})
        def f():
            return {{1||2}}, VAR.get(), KEEP.get()
        ''', '''
        import contextvars, mod
        token, keep = mod.VAR.set(7), mod.KEEP.set(8)
        context, variable, table = contextvars.copy_context(), mod.VAR, {mod.VAR: 1}
        ''', '''
        now = contextvars.copy_context()
        assert now[mod.VAR] == context[mod.VAR] == mod.VAR.get() == 7 and variable is mod.VAR
        assert context.run(mod.f) == mod.f() == (2, 7, 8) and table == {mod.VAR: 1}
        assert {v.name for v in now} == {"KEEP", "SETS", "VAR"}, list(now)
        assert mod.NEVER.get() == 2 and mod.SETS.get() == 6
        again = mod.VAR.set(9)
        assert mod.VAR.get() == 9 and len(contextvars.copy_context()) == len(now)
        mod.VAR.reset(again)
        assert mod.VAR.get() == 7
        mod.VAR.reset(token)
        assert mod.VAR.get() == 2
        mod.KEEP.reset(keep)
        '''),
]

OBJECTS = [
    case("instances_known_weakly", '''
        import weakref
        class K:
            live = weakref.WeakSet()
            by_name = weakref.WeakValueDictionary()
            def __init__(self, name):
                self.name = name
                K.live.add(self)
                K.by_name[name] = self
            def value(self):
                return {{1||2}}
        root = K("root")
        ''', "import mod; k = mod.K('a')", '''
        import gc
        gc.collect()
        assert sorted(one.name for one in mod.K.live) == ["a", "root"], list(mod.K.live)
        assert mod.K.by_name["a"] is k and mod.K.by_name["root"] is mod.root and k.value() == 2
        '''),
    case("counters_that_are_iterators", '''
        import itertools
        class Job:
            ids = itertools.count(1)
            def __init__(self):
                self.id = next(Job.ids)
            def value(self):
                return {{1||2}}
        sequence = itertools.count()
        ''', "import mod; a, b = mod.Job(), mod.Job(); next(mod.sequence)", '''
        assert mod.Job().id == 3 and next(mod.sequence) == 1 and a.value() == 2
        '''),
    case("one_instance_by_new", '''
        class Only:
            _instance = None
            def __new__(cls):
                if cls._instance is None:
                    cls._instance = super().__new__(cls)
                return cls._instance
            def value(self):
                return {{1||2}}
        class Shared:
            _state = {}
            def __init__(self):
                self.__dict__ = self._state
        ''', "import mod; only = mod.Only(); mod.Shared().x = 5", '''
        assert mod.Only() is only and only.value() == 2 and mod.Shared().x == 5
        '''),
    case("handlers_of_a_logger", '''
        import logging
        log = logging.getLogger("cases")
        handler = logging.StreamHandler()
        log.addHandler(handler)
        value = {{1||2}}
        ''', "from mod import handler", '''
        import mod, logging
        assert mod.handler is handler and logging.getLogger("cases").handlers == [handler]
        assert mod.value == 2
        '''),
    case("by_identity_of_functions", {"bus.py": '''
        import weakref
        class Signal:
            """Such as Django's: the key is made of ids, the receiver is weak."""
            def __init__(self):
                self.receivers = []
            def key(self, receiver, sender):
                if hasattr(receiver, "__func__"):
                    return (id(receiver.__self__), id(receiver.__func__)), id(sender)
                return id(receiver), id(sender)
            def connect(self, receiver, sender=None):
                key, ref = self.key(receiver, sender), weakref.ref
                if hasattr(receiver, "__func__"):
                    ref = weakref.WeakMethod
                if key not in [known for known, _ in self.receivers]:
                    self.receivers.append((key, ref(receiver)))
                return receiver
            def disconnect(self, receiver, sender=None):
                before = len(self.receivers)
                self.receivers = [one for one in self.receivers
                                  if one[0] != self.key(receiver, sender)]
                return len(self.receivers) < before
            def send(self):
                return [ref()() for _, ref in self.receivers]
        class Blinker:
            """Such as blinker: two tables that must agree."""
            def __init__(self):
                self.receivers, self.ids, self.note = {}, set(), {}
            def connect(self, receiver):
                self.receivers.setdefault(id(receiver), weakref.ref(receiver))
                self.note.setdefault(id(receiver), [receiver.__name__])
                self.ids.add(id(receiver))
                return receiver
            def send(self):
                return sorted(self.receivers[one]()() for one in self.ids)
        saved, flashed = Signal(), Blinker()
        ''', "mod.py": '''
        import bus
        own = {}
        def mine(function):
            own[id(function)] = function
            return function
        class Row:
            pass
        @bus.saved.connect
        def first():
            return "first {{old||new}}"
        @bus.flashed.connect
        @mine
        def second():
            return "second {{old||new}}"
        class Watcher:
            def seen(self):
                return "seen {{old||new}}"
        watcher = Watcher()
        bus.saved.connect(watcher.seen)
        bus.saved.connect(second, Row)
        {{||bus.saved.connect(first, Row)}}
        ''', "other.py": '''
        import bus, mod
        @bus.saved.connect
        @bus.flashed.connect
        def last():
            return "last"
        '''}, "import bus, mod, other; bus.flashed.note[id(mod.second)].append(1)", '''
        assert bus.saved.send() == ["first new", "seen new", "second new", "last",
                                    "first new"], bus.saved.send()
        assert bus.flashed.send() == ["last", "second new"], bus.flashed.send()
        assert bus.flashed.note == {id(mod.second): ["second", 1], id(other.last): ["last"]}
        assert mod.own == {id(mod.second): mod.second}, mod.own
        assert bus.saved.disconnect(mod.first) and bus.saved.disconnect(mod.second, mod.Row)
        assert bus.saved.disconnect(mod.watcher.seen)
        assert bus.saved.disconnect(mod.first, mod.Row)
        assert bus.saved.send() == ["last"]
        import pyhot
        again = open(mod.__file__).read().replace("new", "newer")
        open(mod.__file__, "w").write(again)
        assert pyhot.reload("mod")["exit"] == 0
        assert bus.flashed.send() == ["last", "second newer"], bus.flashed.send()
        assert mod.own == {id(mod.second): mod.second}, mod.own
        ''', modules=["mod"]),
    case("registered_twice_and_in_lists_of_a_dict", {"bus.py": '''
        BY_EVENT = {}
        def on(event, what):
            BY_EVENT.setdefault(event, []).append(what)
        ''', "mod.py": '''
        import bus, functools
        def react(n=1):
            return n * {{1||2}}
        class Handler:
            def __init__(self):
                self.seen = 0
            def go(self):
                return {{1||2}}
        bus.on("x", react)
        bus.on("x", react)
        bus.on("y", functools.partial(react, 3))
        bus.on("y", lambda: react({{1||2}}))
        bus.on("z", Handler)
        bus.on("z", Handler())
        '''}, "import bus, mod; handler = bus.BY_EVENT['z'][1]; handler.seen = 7", '''
        assert bus.BY_EVENT["x"] == [mod.react, mod.react], bus.BY_EVENT
        assert [fn() for fn in bus.BY_EVENT["y"]] == [6, 4], bus.BY_EVENT
        assert bus.BY_EVENT["z"] == [mod.Handler, handler], bus.BY_EVENT
        assert handler.go() == 2 and handler.seen == 7
        '''),
    case("constants_in_defaults_and_class_bodies", '''
        SIZE = {{1||2}}
        def use(size=SIZE):
            return size
        class K:
            size = SIZE
            more = SIZE + 1
        ''', "import mod; k = mod.K()", "assert (mod.use(), k.size, k.more) == (2, 2, 3)"),
    case("names_that_the_new_source_deletes", '''
        for i in range(3):
            pass
        del i
        temporary = 1
        {{other = 1||del temporary}}
        ''', "import mod", '''
        assert not hasattr(mod, "i") and not hasattr(mod, "temporary")
        assert not hasattr(mod, "other")
        '''),
    case("module_descriptions", '''
        """Text {{1||2}}."""
        __all__ = ["a"{{||, "b"}}]
        __version__ = "{{1||2}}"
        a = b = 1
        ''', "import mod", '''
        assert mod.__doc__ == "Text 2." and mod.__all__ == ["a", "b"] and mod.__version__ == "2"
        '''),
]

SOURCE = '''
    A = {"v": 1}
    B = 1
    class K:
        c = []
        def m(self):
            return "{{old||new}}"
    '''
APP = "import mod; mod.A['x'] = 1; mod.B = 7; mod.K.c.append(1); a, c = mod.A, mod.K.c"

DISPLAYS = [
    case("lambdas_in_tables", '''
        import collections
        HANDLERS = {"a": lambda: {{1||10}}, "b": lambda x: x{{||*2}}}
        LIST = [lambda: "{{p||q}}", lambda: "r"]
        ORDER = sorted([3, 1, 2], key=lambda x: {{x||-x}})
        COUNTS = collections.defaultdict(lambda: {{0||5}})
        class Table:
            BY_NAME = {"x": lambda self: {{1||2}}}
        ''', '''
        import mod
        from mod import HANDLERS, LIST, COUNTS
        HANDLERS["mine"] = mine = lambda: "mine"
        LIST.append(len)
        COUNTS["k"] = 9
        mod.Table.BY_NAME["mine"] = mine
        a = HANDLERS["a"]
        ''', '''
        assert HANDLERS is mod.HANDLERS and HANDLERS["a"] is a and a() == 10
        assert HANDLERS["b"](2) == 4 and HANDLERS["mine"] is mine
        assert LIST is mod.LIST and LIST[0]() == "q" and LIST[1]() == "r" and LIST[2:] == [len]
        assert mod.ORDER == [3, 2, 1] and mod.COUNTS is COUNTS and COUNTS == {"k": 9}
        assert COUNTS["new"] == 5 and mod.Table.BY_NAME["x"](0) == 2
        assert mod.Table.BY_NAME["mine"] is mine
        '''),
    case("lambdas_at_the_same_key", '''
        OPS = { {{||"first": lambda: 0, }}"add": lambda: {{1||10}}, "sub": lambda: {{2||20}} }
        ''', "import mod; add, sub = mod.OPS['add'], mod.OPS['sub']", '''
        assert (add(), sub(), mod.OPS["first"]()) == (10, 20, 0) and mod.OPS["sub"] is sub
        '''),
    case("entries_added_and_removed", '''
        def f(): return "f{{1||2}}"
        def g(): return "g{{1||2}}"
        LIMIT = {{1||2}}
        TABLE = {"f": f, {{"old": g||"g": g}}, f: LIMIT, "now": f()}
        CONFIG = {"debug": False, "level": {{1||2}}, "limit": LIMIT, "gone": 1, "cache": {},
                  "inner": {"x": 1, "y": {{1||2}}, "list": [1{{||, 2}}]}}
        NAMES = {"a", {{"b"||"c"}}, "gone"}
        EMPTY = {{dict()|| {} }}
        ''', '''
        import mod
        from mod import TABLE, CONFIG, NAMES, EMPTY
        TABLE["mine"] = len
        del CONFIG["gone"]
        NAMES.discard("gone")
        CONFIG["debug"], CONFIG["added"], CONFIG["cache"]["k"] = True, 1, 2
        CONFIG["inner"]["mine"] = 3
        CONFIG["inner"]["list"].append(9)
        NAMES.add("mine")
        EMPTY["x"] = 1
        cache, inner = CONFIG["cache"], CONFIG["inner"]
        ''', '''
        assert TABLE is mod.TABLE and list(TABLE) == ["f", "g", mod.f, "now", "mine"], TABLE
        assert TABLE["now"] == "f2" == TABLE["f"]() and TABLE["g"]() == "g2" and TABLE[mod.f] == 2
        assert CONFIG == {"debug": True, "level": 2, "limit": 2, "cache": {"k": 2}, "added": 1,
                          "inner": {"x": 1, "y": 2, "list": [1, 2, 9], "mine": 3}}, CONFIG
        assert CONFIG is mod.CONFIG and CONFIG["cache"] is cache and CONFIG["inner"] is inner
        assert NAMES == {"a", "c", "mine"} and NAMES is mod.NAMES
        assert EMPTY == {"x": 1} and EMPTY is mod.EMPTY
        '''),
    case("lists", '''
        class Rule:
            def __init__(self, path):
                self.path, self.hits = path, 0
        RULES = [Rule("/a"), {{||Rule("/new"), }}Rule("/b"){{, Rule("/gone")||}}]
        NAMES = ["one"{{||, "two"}}]
        WEIGHTS = [1, 2, {{3||4}}]
        PLUGINS = []{{||  # a comment}}
        KINDS = {{["x"]||["y"]}}
        def plugin(f):
            NAMES.append(f.__name__)
            return f
        @plugin
        def own():
            return {{1||2}}
        ''', '''
        import mod
        from mod import RULES, NAMES, WEIGHTS
        a, b, _ = RULES
        a.hits, b.hits = 1, 2
        RULES.append("mine")
        NAMES.insert(0, "zero")
        mod.plugin(len)
        WEIGHTS[0] = 10
        ''', '''
        assert RULES[0] is a and RULES[2] is b and RULES[3:] == ["mine"], RULES
        assert RULES[1].path == "/new" and (a.hits, b.hits) == (1, 2) and RULES is mod.RULES
        assert NAMES == ["zero", "one", "two", "own", "len"], NAMES
        assert WEIGHTS == [1, 2, 4] and mod.KINDS == ["y"]
        '''),
    case("large_display", "\n".join(
        ["def f%d(): return {{%d||%d}}" % (i, i, -i) for i in range(40)]
        + ["TABLE = {%s}" % ", ".join("'k%d': f%d" % (i, i) for i in range(40)) + "  # {{x||y}}",
           "MORE = {%s, {{'a': 1||'b': 2}}}" % ", ".join("'k%d': f%d" % (i, i) for i in range(40)),
           "NUMBERS = [%s, {{100||200}}]" % ", ".join(map(str, range(40)))]), '''
        import mod
        mod.TABLE["mine"] = mod.MORE["mine"] = 1
        mod.NUMBERS.append("mine")
        ''', '''
        assert mod.TABLE["mine"] == 1 == mod.MORE["mine"] and mod.TABLE["k39"]() == -39
        assert mod.MORE["k7"]() == -7 and mod.MORE["b"] == 2 and "a" not in mod.MORE
        assert mod.NUMBERS == list(range(40)) + [200, "mine"]
        '''),
    case("registered_by_decorators_in_a_changed_display", '''
        ROUTES = {"/": "index"{{||, "/about": "about"}}}
        def route(path):
            def decorate(f):
                ROUTES[path] = f
                return f
            return decorate
        @route("/a")
        def a():
            return {{1||2}}
        {{@route("/gone")
        def gone():
            return 3||}}
        ''', "import mod\n@mod.route('/mine')\ndef mine(): return 4", '''
        assert list(mod.ROUTES) == ["/", "/about", "/a", "/mine"], mod.ROUTES
        assert mod.ROUTES["/a"]() == 2 and mod.ROUTES["/mine"] is mine
        '''),
]

POLICY = [
    case("all_new", SOURCE, APP, '''
        assert mod.A == {"v": 1} and mod.B == 1 and mod.K.c == [] and mod.K().m() == "new"
        ''', data="new"),
    case("all_kept", SOURCE.replace("B = 1", "B = {{1||2}}"), APP, '''
        assert mod.A is a and mod.B == 7 and mod.K.c is c and mod.K().m() == "new"
        ''', data="keep"),
    case("some_new", SOURCE, APP, '''
        assert mod.A == {"v": 1} and mod.B == 7 and mod.K.c == []
        ''', new=["A", "mod.K.c"]),
    case("some_kept", SOURCE, APP, '''
        assert mod.A is a and mod.B == 1 and mod.K.c is c
        ''', data="new", keep=["A", "K.c"]),
]


def test_state(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, STATE)


def test_registries(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, REGISTRIES)


def test_objects(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, OBJECTS)


def test_displays(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, DISPLAYS)


def test_policy(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, POLICY)
