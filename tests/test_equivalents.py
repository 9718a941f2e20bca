"""Old and new definitions: every kind that a program can hold on to becomes the new one."""

from reloading import case, check_cases

FUNCTIONS = [
    case("decorator_stack", '''
        import functools
        def bracket(fn):
            @functools.wraps(fn)
            def inner(*args):
                return "[" + fn(*args) + "]"
            return inner
        def twice(fn):
            def inner(*args):
                return fn(*args) * 2
            return inner
        @bracket
        @twice
        def word(text):
            return text + "{{1||2}}"
        ''', "from mod import word; held = [word]", '''
        import mod
        assert word("a") == "[a2a2]" and held[0] is mod.word, word("a")
        '''),
    case("decorator_from_another_module", {"deco.py": '''
        def traced(fn):
            def wrapper(*args):
                wrapper.calls += 1
                return fn(*args)
            wrapper.calls = 0
            return wrapper
        ''', "mod.py": '''
        from deco import traced
        @traced
        def area(side):
            return side * {{1||10}}
        '''}, "from mod import area; area(1); area(2); other = {area: 'x'}", '''
        import mod
        assert area(3) == 30 and mod.area is area and other[mod.area] == "x"
        assert area.calls == 3, area.calls
        '''),
    case("class_based_decorator", '''
        class Command:
            def __init__(self, fn):
                self.fn = fn
                self.runs = 0
            def __call__(self, *args):
                self.runs += 1
                return self.fn(*args)
        @Command
        def build(target):
            return "{{make||ninja}} " + target
        ''', "from mod import build; build('x'); build.owner = 'ci'", '''
        import mod
        assert build("all") == "ninja all" and mod.build is build
        assert build.owner == "ci" and isinstance(build, mod.Command)
        '''),
    case("decorator_changed", '''
        def first(fn):
            def inner():
                return "first " + fn()
            return inner
        def second(fn):
            def inner():
                return "second " + fn()
            return inner
        @{{first||second}}
        def name():
            return "name"
        ''', "from mod import name", "assert name() == 'second name', name()"),
    case("decorator_removed", '''
        import functools
        def wrap(fn):
            @functools.wraps(fn)
            def inner():
                return "wrapped " + fn()
            return inner
        {{@wrap||# nothing}}
        def name():
            return "{{old||new}}"
        ''', "from mod import name; held = {'n': name}; inner = name.__wrapped__", '''
        import mod
        assert name() == "new" and held["n"] is mod.name and inner() == "new"
        '''),
    case("class_becomes_function", '''
        {{class point:
            def __init__(self, x):
                self.x = x||def point(x):
            return ("point", x)}}
        ''', "from mod import point", "assert point(1) == ('point', 1)"),
    case("lambdas_in_a_table", '''
        TABLE = [("a", lambda x: x + {{1||10}}), ("b", lambda x: x + {{2||20}})]
        ''', "import mod; held = [entry[1] for entry in mod.TABLE]", '''
        assert [fn(0) for fn in held] == [10, 20]
        assert [fn(0) for _, fn in mod.TABLE] == [10, 20]
        '''),
    case("lambda_in_default_and_in_function", '''
        def order(items, key=lambda x: {{x||-x}}):
            return sorted(items, key=key)
        def make(n):
            return [lambda: n + {{1||100}}, lambda: n + {{2||200}}]
        ''', "import mod; made = mod.make(5)", '''
        assert mod.order([1, 3, 2]) == [3, 2, 1]
        assert [fn() for fn in made] == [105, 205]
        '''),
    case("changed_lambdas_are_told_by_their_parameters", {"mod.py": '''
        import regs
        {{||regs.add("z", lambda a: "z")}}
        regs.add("t", lambda s: s + {{"1"||"2"}})
        regs.add("u", lambda x, *, y=1: (x, y, {{1||2}}))
        def inside():
            {{gone = lambda a: "gone"||}}
            first = lambda s: s + {{"1"||"2"}}
            return first, lambda x, y: x + y + {{1||2}}
        ''', "regs.py": """
        TABLE = {}
        def add(name, function):
            TABLE[name] = function
        """}, '''
        import mod, regs
        t, u = regs.TABLE["t"], regs.TABLE["u"]
        first, second = mod.inside()
        ''', '''
        assert (t("s"), u(1), first("s"), second(1, 2)) == ("s2", (1, 1, 2), "s2", 5), t("s")
        assert regs.TABLE["t"] is t and regs.TABLE["u"] is u and regs.TABLE["z"](1) == "z"
        '''),
    case("lambda_removed_before_a_changed_one", {"mod.py": '''
        import regs
        {{regs.add("z", lambda a: "z")||}}
        regs.add("t", lambda s: s + {{"1"||"2"}})
        ''', "regs.py": """
        TABLE = {}
        def add(name, function):
            TABLE[name] = function
        """}, "import mod, regs; t = regs.TABLE['t']", '''
        assert t("s") == "s2" and regs.TABLE["t"] is t and regs.TABLE["z"](1) == "z", t("s")
        '''),
    case("lambdas_added_beside", '''
        def keep(f, kept=[]):
            kept.append(f)
            return f
        A = [{{||keep(lambda: "new"), }}keep(lambda: {{1||10}}), keep(lambda: 2)]
        B = [keep(lambda: 3), keep(lambda: {{4||40}}){{||, keep(lambda: "new")}}]
        ''', "import mod; a, two, three, b = mod.A + mod.B", '''
        assert [f() for f in (a, two, three, b)] == [10, 2, 3, 40]
        '''),
    case("inner_function_inserted_before", '''
        def make():
            n = 1
            {{||def extra():
                return "extra"}}
            def value():
                return n + {{1||10}}
            return value
        ''', "import mod; held = mod.make()", "assert held() == 11 and mod.make()() == 11"),
    case("bound_method_as_name", '''
        class Engine:
            def run(self):
                return "{{old||new}}"
        engine = Engine()
        run = engine.run
        ''', "from mod import run", '''
        import mod
        assert run() == "new" and run == mod.run and mod.run.__self__ is mod.engine
        '''),
    case("partial_in_module", '''
        from functools import partial
        def power(base, exponent):
            return base ** exponent + {{0||1000}}
        square = partial(power, exponent=2)
        ''', "from mod import square; square.note = 'kept'", '''
        import mod
        assert square(3) == 1009 and mod.square is square
        assert square.note == "kept"
        '''),
    case("lru_cache_and_cache_info", '''
        from functools import lru_cache
        @lru_cache(maxsize=4)
        def load(n):
            return n * {{1||10}}
        ''', "from mod import load; load(1); load.tag = 't'", '''
        assert load(1) == 10 and load.__wrapped__(2) == 20 and load.tag == "t"
        '''),
    case("memo_of_our_own_does_not_answer_for_the_old", '''
        def memo(fn):
            seen = {}
            def inner(x):
                if x not in seen:
                    seen[x] = fn(x)
                return seen[x]
            inner.seen = seen
            return inner
        @memo
        def cost(x):
            return x * {{1||10}}
        @memo
        def same(x):
            return object()
        ''', "import mod; mod.cost(2); first = mod.same(1)", '''
        assert mod.cost(2) == 20
        assert mod.same(1) is first
        '''),
    case("contextmanager", '''
        from contextlib import contextmanager
        log = []
        @contextmanager
        def step():
            log.append("{{in||IN}}")
            yield
            log.append("{{out||OUT}}")
        ''', "from mod import step, log", '''
        with step():
            pass
        assert log == ["IN", "OUT"], log
        '''),
    case("singledispatch_with_another_overload", '''
        import functools
        @functools.singledispatch
        def area(x):
            return "any{{1||2}}"
        @area.register(int)
        def _(x):
            return "int{{1||2}}"
        {{||@area.register(str)
        def _(x):
            return "str"}}
        ''', "from mod import area; area(1)", '''
        assert (area(1), area(""), area(1.5)) == ("int2", "str", "any2")
        assert report["remap"]["unaccounted"] == 0
        '''),
    case("singledispatch_with_another_registration", '''
        import functools
        @functools.singledispatch
        def kind(x):
            return "object"
        @kind.register(int)
        def _(x):
            return "int"
        {{@kind.register(str)||@kind.register(list)}}
        def {{_||of_list}}(x):
            return "{{str||list}}"
        class K:
            @functools.singledispatchmethod
            def m(self, x):
                return "object"
            {{@m.register(int)||@m.register(str)}}
            def _(self, x):
                return "{{int||str}}"
        ''', "from mod import kind, K; k = K(); kind('a'), kind([]), k.m(1), k.m('a'), k.m([])", '''
        assert [kind(x) for x in (1, "a", [], 1.0)] == ["int", "object", "list", "object"]
        assert [k.m(x) for x in (1, "a", [])] == ["object", "str", "object"]
        assert sorted(t.__name__ for t in kind.registry) == ["int", "list", "object"], kind.registry
        '''),
    case("arguments_of_a_decorator_of_what_is_imported_elsewhere", {"a.py": """
        from mod import word
        # {{old||new}}
        """, "mod.py": """
        import functools
        def tagged(tag):
            def decorate(fn):
                @functools.wraps(fn)
                def wrapper(*args):
                    return tag, fn(*args)
                return wrapper
            return decorate
        {{||@tagged("outer")}}
        @tagged("{{old||inner}}")
        def word():
            return "{{old||new}}"
        """}, "import a; from mod import word; held = [word]", '''
        assert word() == ("outer", ("inner", "new")) and a.word is word is held[0], word()
        '''),
    case("attributes_and_decorators_of_what_moved", {"a.py": """
        import functools
        {{def f(): return 1||}}
        {{f.tag = "old"||}}
        {{@functools.lru_cache()||}}
        {{def cached(): return 1||}}
        {{def g(): return 1||from mod import g}}
        {{g.tag = "old"||}}
        {{class Meta(type): pass||}}
        {{class K(metaclass=Meta): pass||}}
        """, "mod.py": """
        import functools
        {{||def f(): return 2}}
        {{||f.tag = "new"}}
        {{||@functools.lru_cache()}}
        {{||def cached(): return 2}}
        {{||def g(): return 2}}
        {{||g.tag = "new"}}
        {{||class Meta(type): pass}}
        {{||class K(metaclass=Meta): pass}}
        """}, "import a, mod; held = a.f; a.f.by_others = 3; cached = a.cached; cached(); k = a.K()", '''
        assert held is mod.f and (held(), held.tag, held.by_others) == (2, "new", 3), held.tag
        assert cached is mod.cached and cached() == 2
        assert type(k) is mod.K and type(mod.K) is mod.Meta
        assert a.g is mod.g and (a.g(), a.g.tag) == (2, "new"), a.g.tag
        '''),
    case("class_based_decorator_that_moved_with_what_it_decorates", {"a.py": """
        {{class Command:
            def __init__(self, fn): self.fn = fn
            def __call__(self, *args): return self.fn(*args)||}}
        {{@Command
        def build(x): return x, 1||}}
        """, "mod.py": """
        {{||class Command:
            def __init__(self, fn): self.fn = fn
            def __call__(self, *args): return self.fn(*args)}}
        {{||@Command
        def build(x): return x, 2}}
        """}, "import mod; from a import build; held = [build]; inner = build.fn; build.owner = 'ci'", '''
        import a, mod
        assert held[0] is mod.build and held[0](1) == (1, 2) and held[0].owner == "ci", held[0](1)
        assert inner is mod.build.fn and not hasattr(a, "build")
        '''),
    case("lambdas_of_statements_that_changed_places", '''
        {{||third = lambda x: x}}
        handlers = [lambda: "one", lambda: ("two", 2)]
        {{third = lambda x: x||}}
        edited = [lambda: "{{old||new}}"]
        ''', "import mod; held = mod.handlers; one, third = held[0], mod.third", '''
        assert [h() for h in held] == ["one", ("two", 2)] and held is mod.handlers, held
        assert one() == "one" and third(3) == 3 and mod.edited[0]() == "new"
        '''),
    case("other_branch_of_a_condition", '''
        if {{True||False}}:
            def name():
                return "first"
        else:
            def name():
                return "second"
        ''', "from mod import name; held = [name]",
         "import mod; assert name() == 'second' and held[0] is name is mod.name, name()"),
    case("singledispatch_with_registrations_of_others", '''
        from functools import singledispatch
        @singledispatch
        def show(x):
            return "any{{1||2}}"
        @show.register(int)
        def _(x):
            return "int{{1||2}}"
        {{||@show.register(str)
        def _(x):
            return "str"
        }}
        @show.register(list)
        def _(x):
            return "list{{1||2}}"
        ''', '''
        from mod import show
        class Mine: pass
        @show.register(Mine)
        def mine(x):
            return "mine"
        held = show.registry[int]
        ''', '''
        assert show(1) == "int2" and show([]) == "list2" and show(None) == "any2"
        assert show("s") == "str" and show(Mine()) == "mine" and held(0) == "int2"
        '''),
    case("generators_and_coroutines", '''
        import asyncio
        async def fetch():
            await asyncio.sleep(0)
            return "{{old||new}}"
        def numbers():
            yield {{1||2}}
        async def stream():
            yield "{{old||new}}"
        ''', "from mod import fetch, numbers, stream; import asyncio", '''
        async def main():
            return await fetch(), [item async for item in stream()]
        assert asyncio.run(main()) == ("new", ["new"]) and list(numbers()) == [2]
        '''),
    case("conditional_definitions", '''
        import sys
        if sys.maxsize > 0:
            def size():
                return "big{{1||2}}"
        else:
            def size():
                return "small{{1||2}}"
        try:
            from nowhere_at_all import helper
        except ImportError:
            def helper():
                return "own{{1||2}}"
        ''', "from mod import size, helper", "assert size() == 'big2' and helper() == 'own2'"),
    case("held_only_by_others", '''
        def registered(table):
            def decorate(fn):
                table.append(fn)
                return None
            return decorate
        import store
        @registered(store.TABLE)
        def job():
            return "{{old||new}}"
        ''', '''
        import sys, types
        sys.modules["store"] = store = types.ModuleType("store")
        store.TABLE = []
        import mod
        ''', "assert [fn() for fn in store.TABLE] == ['new'], store.TABLE"),
    case("moved_between_modules", {"one.py": '''
        {{def shared():
            return "one"||from two import shared}}
        ''', "two.py": '''
        {{x = 1||def shared():
            return "two"}}
        '''}, "import two; import one; held = one.shared", '''
        assert one.shared() == "two" and two.shared is one.shared and held() == "two"
        '''),
]

CLASSES = [
    case("other_bases_under_a_class_of_others", '''
        class A:
            def a(self):
                return "a{{1||2}}"
        class B:
            def b(self):
                return "b{{1||2}}"
        class S({{A||B}}):
            pass
        class T({{A, B||A}}):
            pass
        ''', "import mod\nclass Ours(mod.S): pass\nclass Both(mod.T): pass\no = Ours()", '''
        assert o.b() == "b2" and not hasattr(o, "a") and not hasattr(Both(), "b")
        assert [c.__name__ for c in Ours.__mro__] == ["Ours", "S", "B", "object"]
        assert report["remap"]["unaccounted"] == 0
        '''),
    case("enum_members_added_removed_aliased", '''
        import enum
        class Level(enum.Enum):
            LOW = 1
            HIGH = {{2||20}}
            TOP = {{2||20}}
            {{GONE = 3||NEW = 4}}
            def text(self):
                return self.name.{{lower||title}}()
        ''', '''
        from mod import Level
        low, high, gone = Level.LOW, Level["HIGH"], Level.GONE
        table = {Level.HIGH: "h"}
        ''', '''
        import mod
        assert low is mod.Level.LOW and high is mod.Level.HIGH is Level.TOP
        assert high.value == 20 and high.text() == "High" and table[mod.Level.HIGH] == "h"
        assert Level(20) is high and Level.NEW.value == 4 and gone.name == "GONE"
        assert not hasattr(Level, "GONE")
        '''),
    case("enum_values_that_are_hashed", '''
        import enum
        class Priority(enum.IntEnum):
            LOW = 1
            HIGH = {{2||3}}
        class Text(str, enum.Enum):
            A = "{{a||aa}}"
        ''', '''
        from mod import Priority, Text
        table = {Priority.HIGH: "high", Text.A: "a", (Text.A, 1): "pair"}
        members = {Priority.HIGH, Text.A}
        frozen = {frozenset([Priority.HIGH]): 1}
        ''', '''
        assert table[Priority.HIGH] == "high" == table[3] and table[Text.A] == "a" == table["aa"]
        assert table[Text.A, 1] == "pair" and Text.A in members and 3 in members
        assert frozen[frozenset([3])] == 1
        '''),
    case("flag_combinations", '''
        import enum
        class Mode(enum.Flag):
            R = 1
            W = 2
            {{||X = 4}}
            def short(self):
                return {{1||2}}
        ''', "from mod import Mode; both = Mode.R | Mode.W; one = Mode.R", '''
        import mod
        assert both is (mod.Mode.R | mod.Mode.W) and one is mod.Mode.R
        assert both.short() == 2 and isinstance(both, mod.Mode) and one in both
        assert (both | mod.Mode.X).value == 7
        '''),
    case("bound_methods_of_what_became_a_descriptor", '''
        class C:
            tag = "t"
            {{||@property}}
            def size(self): return "{{old||new}}"
            {{||@classmethod}}
            def make(cls): return "{{old||new}}", cls.tag
            {{||@staticmethod}}
            def util(*arguments): return "{{old||new}}"
        ''', """
import mod
c = mod.C()
held = [c.size, c.make, c.util]
""", '''
        assert [call() for call in held] == ["new", ("new", "t"), "new"]
        assert (c.size, c.make(), c.util()) == ("new", ("new", "t"), "new")
        '''),
    case("flags_that_get_other_numbers", '''
        import enum
        class Mode(enum.Flag):
            {{||X = enum.auto()}}
            R = enum.auto()
            W = enum.auto()
            E = enum.auto()
        class Number(enum.IntFlag):
            A = {{1||4}}
            B = 2
        ''', """
from mod import Mode, Number
both, others, number = Mode.R | Mode.W, ~Mode.R, Number.A | Number.B
table = {both: 1}
~both
""", '''
        assert both is Mode.R | Mode.W and both.value == 6 and table[Mode.R | Mode.W] == 1
        assert Mode.X not in both and Mode.W in both and ~both == Mode.X | Mode.E
        assert others is Mode.W | Mode.E and number == 3
        '''),
    case("functional_enum_and_namedtuple", '''
        import enum
        from collections import namedtuple
        Colour = enum.Enum("Colour", "RED{{|| GREEN}}")
        Pair = namedtuple("Pair", ["a", "b"])
        def total(pair):
            return pair.a + pair.b{{|| + 100}}
        ''', "from mod import Colour, Pair; red = Colour.RED; pair = Pair(1, 2)", '''
        import mod
        assert red is mod.Colour.RED and mod.Colour.GREEN
        assert isinstance(pair, mod.Pair) and mod.total(pair) == 103 and pair.b == 2
        '''),
    case("nested_enum_dataclass_property", '''
        import enum
        from dataclasses import dataclass, field
        class Outer:
            class State(enum.Enum):
                ON = 1
            @dataclass
            class Row:
                items: list = field(default_factory=list)
                @property
                def n(self):
                    return len(self.items) + {{0||100}}
        ''', "import mod; row = mod.Outer.Row([1]); on = mod.Outer.State.ON", '''
        assert row.n == 101 and row == mod.Outer.Row([1]) and on is mod.Outer.State.ON
        '''),
    case("dataclass_with_slots", '''
        from dataclasses import dataclass
        @dataclass(slots=True)
        class P:
            x: int
            def double(self):
                return self.x * {{2||20}}
        ''', "import mod; p = mod.P(2)", "assert p.double() == 40 and type(p) is mod.P",
         since=(3, 10)),
    case("keys_that_are_hashed_in_another_way", '''
        from dataclasses import dataclass
        @dataclass(frozen=True)
        class Point:
            x: int
            {{||y: int = 7}}
        class Named:
            def __init__(self, name):
                self.name = name
            def key(self):
                return {{self.name||self.name.upper()}}
            def __hash__(self):
                return hash(self.key())
            def __eq__(self, other):
                return self.key() == other.key()
        class Gains:
            pass
            {{||def __hash__(self):
                return 5}}
        class Slots:
            __slots__ = ("n"{{||, "m"}},)
            def __init__(self, n):
                self.n = n
            def __hash__(self):
                return {{self.n||-self.n}}
            def __eq__(self, other):
                return self.n == other.n
        ''', '''
        import collections, weakref
        import mod
        class Sub(mod.Named):
            pass
        keys = ([mod.Point(n) for n in range(40)] + [mod.Named("a%d" % n) for n in range(40)] +
                [Sub("sub")] + [mod.Gains() for n in range(3)])
        plain = {key: n for n, key in enumerate(keys)}
        ordered = collections.OrderedDict(plain)
        members, frozen = set(keys), frozenset(keys)
        tuples = {("t", (key, n)): n for n, key in enumerate(keys)}
        sets = {frozenset([key, 1]): n for n, key in enumerate(keys)}
        weak = weakref.WeakKeyDictionary((key, n) for n, key in enumerate(keys))
        slots = {mod.Slots(n): n for n in range(50)}
        views = iter(plain)
        next(views)
        ''', '''
        for table in (plain, ordered, weak):
            assert [table.get(key) for key in keys] == list(range(len(keys)))
            assert len(table) == len(keys) and list(table) == keys
        assert all(key in members and key in frozen for key in keys)
        assert mod.Point(3) in plain and mod.Named("A3") in members and len(members) == len(keys)
        assert [tuples[("t", (key, n))] for n, key in enumerate(keys)] == list(range(len(keys)))
        assert [sets[frozenset([key, 1])] for key in keys] == list(range(len(keys)))
        assert [slots[mod.Slots(n)] for n in range(50)] == list(range(50))
        ordered.move_to_end(keys[0])
        assert ordered.popitem() == (keys[0], 0) and plain.pop(keys[1]) == 1
        del weak[keys[2]], sets[frozenset([keys[5], 1])]
        members.remove(keys[3])
        plain[keys[1]] = 1
        assert len(plain) == len(keys) and hash(frozen) == hash(frozenset(keys))
        '''),
    case("dataclass_gains_fields", '''
        from dataclasses import dataclass, field
        from typing import ClassVar
        @dataclass
        class Item:
            name: str
            {{||size: int = 3}}
            {{||tags: list = field(default_factory=list)}}
            {{||kinds: ClassVar[list] = []}}
            {{||later: str = field(init=False)}}
        @dataclass(frozen=True)
        class Point:
            x: int
            {{||path: dict = field(default_factory=dict, compare=False)}}
        ''', '''
        import mod
        class Mine(mod.Item):
            pass
        item, mine, point = mod.Item("a"), Mine("b"), mod.Point(1)
        del item.__dict__["name"]
        held = {point: item}
        ''', '''
        assert item.tags == [] and mine.tags == [] and item.tags is not mine.tags and item.size == 3
        assert not hasattr(item, "name") and not hasattr(item, "later") and point.path == {}
        assert mod.Item("c").tags == [] and held[mod.Point(1)] is item
        '''),
    case("dataclass_with_slots_gains_fields", '''
        from dataclasses import dataclass, field
        @dataclass(slots=True, frozen=True)
        class Item:
            name: str
            {{||size: int = 3}}
            {{||tags: list = field(default_factory=list)}}
        ''', "import mod\nitem = mod.Item('a')", '''
        assert (item.name, item.size, item.tags) == ("a", 3, []) and item == mod.Item("a")
        ''', since=(3, 10)),
    case("property_set_apart", '''
        class T:
            def get(self):
                return {{1||2}}
            value = property(get)
            other = staticmethod(lambda: {{1||2}})
        ''', "import mod; t = mod.T(); other = mod.T.other", '''
        assert t.value == 2 and other() == 2 and t.other() == 2
        '''),
    case("cached_property_and_partialmethod", '''
        from functools import cached_property, partialmethod
        class T:
            @cached_property
            def slow(self):
                return {{1||2}}
            def add(self, a, b):
                return a + b + {{0||100}}
            inc = partialmethod(add, 1)
        ''', "import mod; t = mod.T(); held = t.inc", '''
        assert t.slow == 2 and t.inc(1) == 102 and held(1) == 102
        '''),
    case("descriptor_with_values_in_itself", '''
        import weakref
        class Positive:
            def __init__(self):
                self.values = weakref.WeakKeyDictionary()
            def __get__(self, instance, owner):
                return self if instance is None else self.values.get(instance, 0) + {{0||100}}
            def __set__(self, instance, value):
                self.values[instance] = value
        class Account:
            balance = Positive()
        ''', "import mod; a = mod.Account(); a.balance = 7", '''
        assert a.balance == 107, a.balance
        a.balance = 8
        assert a.balance == 108 and mod.Account().balance == 100
        '''),
    case("metaclass_registry", '''
        class Meta(type):
            registry = {}
            def __new__(meta, name, bases, namespace):
                cls = super().__new__(meta, name, bases, namespace)
                meta.registry[name] = cls
                return cls
        class Base(metaclass=Meta):
            def hello(self):
                return "{{old||new}}"
        class Own(Base):
            pass
        ''', "import mod\nclass Foreign(mod.Base): pass\nf = Foreign()", '''
        registry = mod.Meta.registry
        assert sorted(registry) == ["Base", "Foreign", "Own"], registry
        assert registry["Own"] is mod.Own and registry["Foreign"] is Foreign
        assert f.hello() == "new" and registry is type(mod.Base).registry
        '''),
    case("init_subclass_list_of_another_module", {"base.py": '''
        class Plugin:
            found = []
            def __init_subclass__(cls, **more):
                super().__init_subclass__(**more)
                cls.found.append(cls)
        ''', "mod.py": '''
        from base import Plugin
        class A(Plugin):
            name = "{{a1||a2}}"
        {{||class B(Plugin):
            name = "b"}}
        '''}, "import base, mod\nclass Mine(base.Plugin): name = 'mine'", '''
        assert [cls.name for cls in base.Plugin.found] == ["a2", "mine", "b"], base.Plugin.found
        assert base.Plugin.found[0] is mod.A
        '''),
    case("init_subclass_list_of_its_own", '''
        class Plugin:
            found = []
            def __init_subclass__(cls, **more):
                super().__init_subclass__(**more)
                Plugin.found.append(cls)
        class A(Plugin):
            name = "{{a1||a2}}"
        ''', "import mod\nclass Mine(mod.Plugin): name = 'mine'", '''
        assert [cls.name for cls in mod.Plugin.found] == ["a2", "mine"], mod.Plugin.found
        '''),
    case("generic_and_typevar", '''
        from typing import Generic, TypeVar, List
        T = TypeVar("T")
        class Box(Generic[T]):
            def __init__(self, item):
                self.item = item
            def get(self) -> T:
                return {{self.item||[self.item]}}
        IntBox = Box[int]
        ''', "import mod; from mod import IntBox; b = mod.Box(1); i = IntBox(2)", '''
        assert b.get() == [1] and i.get() == [2] and isinstance(IntBox(3), mod.Box)
        assert IntBox.__origin__ is mod.Box and mod.Box[int] == IntBox == mod.IntBox
        assert mod.Box.__parameters__ == (mod.T,)
        '''),
    case("type_parameters", '''
        class Box[T]:
            def get(self) -> T:
                return {{1||2}}
        def first[T](items: list[T]) -> T:
            return items[{{0||1}}]
        ''', "import mod; from mod import first; b = mod.Box()", '''
        assert b.get() == 2 and first([1, 2]) == 2
        ''', since=(3, 12)),
    case("protocol", '''
        from typing import Protocol, runtime_checkable
        @runtime_checkable
        class Runs(Protocol):
            def run(self): ...
            {{||def stop(self): ...}}
        ''', '''
        import mod
        class Both:
            def run(self): pass
            def stop(self): pass
        class One:
            def run(self): pass
        assert isinstance(One(), mod.Runs)
        ''', "assert isinstance(Both(), mod.Runs) and not isinstance(One(), mod.Runs)",
         since=(3, 8)),
    case("abc_registered_by_both", '''
        import abc
        class Shape(abc.ABC):
            def area(self):
                return {{1||2}}
        @Shape.register
        class Own:
            pass
        ''', '''
        import mod
        class Foreign: pass
        mod.Shape.register(Foreign)
        assert issubclass(Foreign, mod.Shape) and isinstance(mod.Own(), mod.Shape)
        own = mod.Own()
        ''', '''
        assert issubclass(Foreign, mod.Shape) and isinstance(own, mod.Shape)
        assert isinstance(mod.Own(), mod.Shape) and not issubclass(int, mod.Shape)
        '''),
    case("abstract_methods_of_foreign_subclasses", '''
        import abc
        class Base(abc.ABC):
            @abc.abstractmethod
            def run(self): ...
            {{@abc.abstractmethod
            def gone(self): ...||@abc.abstractmethod
            def come(self): ...}}
            {{@abc.abstractmethod||}}
            def done(self): ...
        class Middle(Base):
            pass
        ''', '''
        import abc, mod
        class NoGone(mod.Base):
            def run(self): pass
            def come(self): pass
            def done(self): pass
        class NoCome(mod.Middle):
            def run(self): pass
            def gone(self): pass
        class Own(NoCome):
            @abc.abstractmethod
            def mine(self): ...
        ''', '''
        NoGone()
        assert NoCome.__abstractmethods__ == {"come"}
        assert Own.__abstractmethods__ == {"come", "mine"}
        try:
            NoCome()
        except TypeError:
            pass
        else:
            assert False, "an abstract method has come"
        '''),
    case("abc_hook_gained", '''
        class Bag:
            def __init__(self):
                self.items = [1]
            {{||def __len__(self):
                return len(self.items)
            def __iter__(self):
                return iter(self.items)
            def __contains__(self, item):
                return item in self.items}}
        ''', '''
        import mod, collections.abc
        bag = mod.Bag()
        assert not isinstance(bag, collections.abc.Collection)
        ''', "assert isinstance(bag, collections.abc.Collection)"),
    case("dynamic_class", '''
        Point = type("Point", (), {"norm": lambda self: {{1||2}}})
        def make():
            class Local:
                def value(self):
                    return {{1||2}}
            return Local
        ''', "import mod; p = mod.Point(); Local = mod.make(); o = Local()", '''
        assert p.norm() == 2 and isinstance(p, mod.Point)
        assert o.value() == 2
        '''),
    case("attributes_set_from_outside", '''
        class K:
            source = "{{1||2}}"
            {{gone = 1||}}
            def m(self):
                return "{{old||new}}"
        ''', '''
        import mod
        mod.K.marker = marker = object()
        mod.K.plugin = lambda self: "plugged"
        mod.K.m.marked = True
        k = mod.K()
        ''', '''
        assert k.marker is marker and k.plugin() == "plugged" and k.m() == "new"
        assert mod.K.m.marked is True and not hasattr(mod.K, "gone") and k.source == "2"
        '''),
    case("name_of_a_base_of_a_foreign_class", '''
        class {{Old||New}}:
            def who(self):
                return "{{old||new}}"
        ''', "import mod\nclass Sub(mod.Old): pass\ns = Sub()", '''
        assert s.who() == "old" and not hasattr(mod, "Old") and mod.New().who() == "new"
        '''),
    case("classes_with_a_base_that_is_made_anew", '''
        import collections, typing
        def f():
            return {{1||2}}
        class P(collections.namedtuple("P", "x y")):
            def own(self):
                return {{1||2}}
        class Q(typing.NamedTuple("Q", [("x", int)])):
            def own(self):
                return {{1||2}}
        class R(P):
            def own(self):
                return super().own()
        def base():
            class I(int):
                pass
            return I
        class J(base()):
            def own(self):
                return {{1||2}}
        ''', '''
        import mod
        p, q, r, j, bare = mod.P(1, 2), mod.Q(5), mod.R(3, 4), mod.J(10 ** 30), mod.P(8, 9)
        for one in p, q, r, j:
            one.f, one.z = mod.f, [1]
        q.__dict__
        table = {p: 1, r: 2, j: 3}
        ''', '''
        for one in p, q, r, j, bare:
            assert one.own() == 2 and type(one) is getattr(mod, type(one).__name__), one
        for one in p, q, r, j:
            assert vars(one) == {"f": mod.f, "z": [1]} and one.f() == 2, vars(one)
        assert repr(p) == "P(x=1, y=2)" and p._replace(x=7) == (7, 2) and bare.__dict__ == {}
        assert table == {(1, 2): 1, (3, 4): 2, 10 ** 30: 3} and table[p] == 1
        p.new = bare.new = 1
        del r.z
        assert vars(p)["new"] == 1 and vars(bare) == {"new": 1} and "z" not in vars(r)
        '''),
    case("lambda_that_moves_and_changes", '''
        {{one = lambda x: (x, 1)
        ||}}pair = [lambda: 101, lambda: 102]
        {{||one = lambda x: (x, 2)}}
        ''', "import mod; one, (a, b) = mod.one, mod.pair", '''
        assert (one(1), a(), b()) == ((1, 2), 101, 102)
        assert one is mod.one and [a, b] == mod.pair
        '''),
    case("class_that_goes_and_has_a_twin", '''
        class Base:
            def who(self):
                return "base"
        {{class Gone(Base):
            def me(self):
                return super().who(), 1
            def plain(self):
                return 1
        class Child(Gone):
            pass
        ||}}class Stays(Base):
            def me(self):
                return super().who(), {{1||2}}
            def plain(self):
                return {{1||2}}
        ''', '''
        import mod
        gone, stays, child, method = mod.Gone(), mod.Stays(), mod.Child(), mod.Gone.me
        ''', '''
        assert stays.me() == ("base", 2) and gone.plain() == 1
        assert gone.me() == child.me() == method(gone) == ("base", 1), gone.me()
        assert type(gone).__name__ == "Gone" and mod.Stays.__subclasses__() == []
        '''),
    case("type_aliases_and_parameters", '''
        type X = {{int||str}}
        type Deep[T] = {{list||dict}}[T, {{||T}}]
        type Same = list[X]
        class C:
            type Y = {{int||str}}
        def g[T: {{int||str}}](a: T) -> T:
            return {{1||2}}
        class G[T: {{int||str}}]:
            def m(self, a: T) -> T:
                return {{1||2}}
        class H(G[int]):
            pass
        type S = {{G[int]||G[str]}}
        ''', '''
        import mod
        from mod import X, Deep, S, Same
        held, table, either = [X, Deep, mod.C.Y], {X: 1}, X | None
        of, to = mod.G[int], Deep[int]
        made, parameter, own = of(), mod.G.__type_params__[0], mod.g.__type_params__[0]
        X.__value__, Same.__value__
        ''', '''
        assert held == [mod.X, mod.Deep, mod.C.Y] and held[0] is X and Same is mod.Same
        assert X.__value__ is str and mod.C.Y.__value__ is str and Same.__value__ == list[X]
        assert Deep.__value__.__origin__ is dict and to.__origin__ is Deep
        assert table[mod.X] == 1 and either.__args__[0] is X
        assert S.__value__.__origin__ is mod.G and S.__value__.__args__ == (str,)
        assert type(made) is mod.G is of.__origin__ and made.m(1) == mod.g(1) == 2
        assert mod.H.__orig_bases__[0].__origin__ is mod.G
        assert parameter is mod.G.__type_params__[0] and parameter.__bound__ is str
        assert own is mod.g.__type_params__[0] and own.__bound__ is str
        assert modules["mod"]["kept"] == modules["mod"]["taken"] == [], modules
        ''', since=(3, 12)),
]

DECORATED = [
    case("methods_under_a_decorator", '''
        import functools
        def logged(fn):
            @functools.wraps(fn)
            def inner(self, *args):
                self.calls.append(fn.__name__)
                return fn(self, *args)
            return inner
        class A:
            calls = []
            @logged
            def method(self):
                return {{1||2}}
            @property
            @logged
            def value(self):
                return {{1||2}}
            @classmethod
            @logged
            def of_class(cls):
                return {{1||2}}
        ''', "import mod; a = mod.A(); method = a.method; of_class = mod.A.of_class", '''
        assert method() == 2 and a.value == 2 and of_class() == 2
        assert a.calls == ["method", "value", "of_class"]
        '''),
    case("decorator_with_arguments_and_a_counter", '''
        import functools
        def retry(times):
            def decorate(fn):
                @functools.wraps(fn)
                def wrapper(*args):
                    wrapper.attempts = getattr(wrapper, "attempts", 0) + 1
                    return times, fn(*args)
                return wrapper
            return decorate
        @retry(times={{2||5}})
        def go():
            return "{{old||new}}"
        ''', "from mod import go; go(); go()", '''
        assert go() == (5, "new") and go.attempts == 3
        '''),
    case("class_decorator_that_registers", '''
        KNOWN = {}
        def known(cls):
            cls.extra = lambda self: {{1||2}}
            KNOWN[cls.__name__] = cls
            return cls
        @known
        class A:
            def total(self):
                return self.extra() + {{10||20}}
        ''', "import mod; a = mod.A()", '''
        assert a.total() == 22 and mod.KNOWN == {"A": mod.A}
        '''),
    case("class_decorator_that_keeps_instances", '''
        import functools
        def singleton(cls):
            instances = {}
            @functools.wraps(cls)
            def get(*args):
                if cls not in instances:
                    instances[cls] = cls(*args)
                return instances[cls]
            return get
        @singleton
        class Settings:
            def __init__(self):
                self.v = 1
            def get(self):
                return "{{old||new}}", self.v
        ''', "from mod import Settings; s = Settings(); s.v = 7", '''
        assert Settings() is s and s.get() == ("new", 7)
        '''),
    case("class_decorator_that_makes_another_class", '''
        def again(cls):
            names = {name: value for name, value in cls.__dict__.items()
                     if name not in ("__dict__", "__weakref__")}
            return type(cls.__name__, cls.__bases__, names)
        @again
        class A:
            def value(self):
                return {{1||2}}
        ''', "import mod; from mod import A; a = A()", '''
        assert a.value() == 2 and A is mod.A and type(a) is A
        '''),
    case("setter_added_in_a_subclass", '''
        class A:
            @property
            def size(self):
                return self.n * {{1||2}}
        class B(A):
            @A.size.setter
            def size(self, n):
                self.n = n * {{1||10}}
        ''', "import mod; b = mod.B()", "b.size = 3; assert b.size == 60"),
    case("class_made_by_a_function", '''
        def make(base):
            class Made(base):
                def value(self):
                    return super().value() + {{1||10}}
            return Made
        class Root:
            def value(self):
                return {{1||2}}
        Own = make(Root)
        ''', "import mod; Made = mod.make(mod.Root); made, own = Made(), mod.Own()", '''
        assert made.value() == 12 and own.value() == 12 and type(own) is mod.Own
        '''),
    case("annotations", '''
        class T:
            pass
        size: {{int||str}} = 1
        def use(a: T) -> {{int||str}}:
            return a
        class K:
            a: {{int||str}} = 1
            b: T
        ''', "import mod; from mod import T", '''
        import typing
        assert typing.get_type_hints(mod.K) == {"a": str, "b": T}
        assert typing.get_type_hints(mod.use) == {"a": T, "return": str}
        assert mod.__annotations__ == {"size": str} and T is mod.T
        '''),
    case("enum_with_a_constructor_and_mixins", '''
        import enum
        class Planet(enum.Enum):
            EARTH = (1, 2)
            def __init__(self, mass, radius):
                self.mass = mass
            @property
            def weight(self):
                return self.mass * {{1||100}}
        class Level(enum.IntEnum):
            LOW = enum.auto()
            {{||MIDDLE = enum.auto()}}
            HIGH = enum.auto()
        ''', '''
        from mod import Planet, Level
        earth, high, table = Planet.EARTH, Level.HIGH, {Level.HIGH: 1}
        ''', '''
        import mod
        assert earth.weight == 100 and earth is mod.Planet.EARTH
        assert high is mod.Level.HIGH and high == 3 and list(table) == [mod.Level(3)]
        '''),
    case("decorated_function_that_moves_with_its_decorator", {"one.py": '''
        {{from two import Deco, f||class Deco:
            def __init__(self, fn):
                self.fn = fn
            def __call__(self, *args):
                return self.fn(*args)
        @Deco
        def f(x):
            return x, 2
        }}''', "two.py": '''
        {{class Deco:
            def __init__(self, fn):
                self.fn = fn
            def __call__(self, *args):
                return self.fn(*args)
        @Deco
        def f(x):
            return x, 1
        ||}}def g():
            return {{1||2}}
        '''}, "import one, two; from two import f; f(1)", '''
        assert one.f is f and f(1) == (1, 2), f(1)
        '''),
]

REPLACED = [
    case("bases_set_at_run_time", {"lib.py": '''
        class Root: pass
        class Base(Root):
            def value(self):
                return "base"
        class Other(Base): pass
        class Extra(Root):
            def extra(self):
                return "extra"
        ''', "mod.py": '''
        import collections, lib
        from lib import {{||Other, }}Base
        class Mixin:
            def mixed(self):
                return {{1||2}}
        class A(Base):
            def own(self):
                return {{1||2}}, super().value()
            class Inner(lib.Base):
                def own(self):
                    return {{1||2}}
        class Sub(A):
            pass
        class Point(collections.namedtuple("Point", "x y")):
            __slots__ = ()
            def own(self):
                return {{1||2}}
        Alias = lib.{{Base||Other}}
        class Aliased(Alias):
            pass
        class Moved(lib.{{Base||Other}}):
            pass
        class Untouched(lib.{{Base||Other}}):
            pass
        '''}, '''
        import lib, mod
        class Late(lib.Root):
            def late(self):
                return "late"
        a, inner, sub, point = mod.A(), mod.A.Inner(), mod.Sub(), mod.Point(1, 2)
        mod.A.__bases__ = (mod.Mixin, lib.Extra, lib.Base)
        mod.A.Inner.__bases__ = (Late,)
        mod.Sub.__bases__ += (Late,)
        mod.Point.__bases__ += (lib.Extra,)
        mod.Aliased.__bases__ += (Late,)
        mod.Moved.__bases__ += (Late,)
        ''', '''
        assert mod.A.__bases__ == (mod.Mixin, lib.Extra, lib.Base), mod.A.__bases__
        assert mod.A.Inner.__bases__ == (Late,) and mod.Sub.__bases__ == (mod.A, Late)
        assert (a.own(), a.mixed(), a.extra()) == ((2, "base"), 2, "extra")
        assert (inner.own(), inner.late()) == (2, "late")
        assert (sub.own(), sub.mixed(), sub.late()) == ((2, "base"), 2, "late")
        assert (point.own(), point.extra(), mod.Point(3, 4).extra()) == (2, "extra", "extra")
        assert type(point) is mod.Point and len(mod.Point.__bases__) == 2
        for name in "Aliased", "Moved", "Untouched":
            assert getattr(mod, name).__bases__ == (lib.Other,), name
        assert Late.__subclasses__() == [mod.A.Inner, mod.Sub], Late.__subclasses__()
        assert sorted(modules["mod"]["kept"]) == [
            "A.Inner.__bases__", "A.__bases__", "Point.__bases__", "Sub.__bases__"], modules
        assert sorted(modules["mod"]["taken"]) == [
            "Alias", "Aliased.__bases__", "Moved.__bases__"], modules
        '''),
    case("bases_set_at_run_time_with_type_parameters", {"lib.py": '''
        class Root: pass
        class Base(Root): pass
        class Extra(Root): pass
        ''', "mod.py": '''
        import lib
        class A[T](lib.Base):
            def own(self):
                return {{1||2}}
        class B[T{{: int||: str}}](lib.Base):
            def own(self):
                return {{1||2}}
        '''}, '''
        import lib, mod
        a, b = mod.A(), mod.B()
        mod.A.__bases__ = (lib.Extra,) + mod.A.__bases__
        mod.B.__bases__ = (lib.Extra,) + mod.B.__bases__
        ''', '''
        assert a.own() == b.own() == 2
        assert isinstance(a, lib.Extra) and isinstance(b, lib.Extra)
        ''', since=(3, 12)),
    case("double_stays_when_its_source_did_not_change", '''
        def send(text):
            return "sent " + text
        def other():
            return "{{old||new}}"
        class K:
            def m(self):
                return "real"
        ''', '''
        import mod
        from unittest import mock
        mod.send = mock.Mock(return_value="faked")
        mod.K.m = lambda self: "faked"
        k = mod.K()
        ''', '''
        assert mod.send("x") == "faked" and mod.other() == "new" and k.m() == "faked"
        assert "send" in modules["mod"]["kept"]
        '''),
    case("patch_that_ends_after_the_reload", '''
        def send():
            return "{{old||new}}"
        ''', '''
        import mod
        from unittest import mock
        patch = mock.patch.object(mod, "send", lambda: "patched")
        patch.start()
        ''', '''
        patch.stop()
        assert mod.send() == "new", mod.send()
        '''),
    case("instrumented_from_outside", '''
        def work(x):
            return x + {{1||100}}
        ''', '''
        import mod, functools
        calls = []
        def trace(fn):
            @functools.wraps(fn)
            def traced(*args):
                calls.append(args)
                return fn(*args)
            return traced
        mod.work = trace(mod.work)
        mod.work(1)
        ''', "assert mod.work(1) == 101 and calls == [(1,), (1,)]"),
    case("double_replaced_by_a_changed_source", '''
        def send(text):
            return "{{sent||posted}} " + text
        ''', "import mod\nmod.send = lambda text: 'faked'",
         "assert mod.send('x') == 'posted x'"),
]


def test_functions(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, FUNCTIONS)


def test_classes(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, CLASSES)


def test_decorated(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, DECORATED)


def test_replaced_at_run_time(run_script, python, tmp_path):
    check_cases(run_script, python, tmp_path, REPLACED)
