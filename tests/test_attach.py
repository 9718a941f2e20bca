"""`pyhot attach PID MODULE` on programs that were never prepared for it, on every interpreter."""

import json
import re
import signal
import subprocess

import pytest

import harness

IDLE = "import probe\nprobe.ready()\nimport time\nwhile True:\n    time.sleep(1000)\n"

MODULE = '''
import threading

CACHE = {}
LOCK = threading.Lock()

def price(count):
    return ("old", count)

def discount(count):
    return ("old", -count)

class Cart:
    def __init__(self):
        self.items = []

    def total(self):
        return ("old", len(self.items))

    @staticmethod
    def unit():
        return "old"

    @classmethod
    def make(cls):
        return ("old", cls.__name__)

    @property
    def size(self):
        return ("old", len(self.items))

    @size.setter
    def size(self, value):
        self.items = ["old"] * value

    class Line:
        def text(self):
            return "old"
'''
NEW_MODULE = MODULE.replace('"old"', '"new"')
NEWER_MODULE = MODULE.replace('"old"', '"newer"')

# ---- Every way to hold on to the old code: (what the program holds, what it does with it,
# ---- the answer after the reload)

HOLDERS = {
    "attribute of the module": ("", "mod.price(1)", ("new", 1)),
    "from import": ("from mod import price", "price(1)", ("new", 1)),
    "from import as": ("from mod import price as cost", "cost(1)", ("new", 1)),
    "instance": ("cart = mod.Cart()", "cart.total()", ("new", 0)),
    "class of the instance": ("cart1 = mod.Cart()",
                              "(cart1.__class__ is mod.Cart, isinstance(cart1, mod.Cart))",
                              (True, True)),
    "class by from import": ("from mod import Cart", "(Cart is mod.Cart, Cart().total())",
                             (True, ("new", 0))),
    "bound method as a callback": ("callback = mod.Cart().total", "callback()", ("new", 0)),
    "bound class method": ("maker = mod.Cart.make", "maker()", ("new", "Cart")),
    "list": ("in_list = [mod.price, 0, mod.price]", "[f and f(1) for f in in_list]",
             [("new", 1), 0, ("new", 1)]),
    "tuple": ("in_tuple = (mod.price, mod.discount)", "[f(1) for f in in_tuple]",
              [("new", 1), ("new", -1)]),
    "nested tuple": ("in_tuples = ((1, (2, mod.price)),)", "in_tuples[0][1][1](3)", ("new", 3)),
    "dict value": ("in_dict = {'price': mod.price}", "in_dict['price'](1)", ("new", 1)),
    "dict key": ("as_key = {mod.price: 1, mod.discount: 2}",
                 "(as_key[mod.price], as_key[mod.discount], len(as_key))", (1, 2, 2)),
    "set": ("in_set = {mod.price}",
            "(mod.price in in_set, [f(1) for f in in_set])", (True, [("new", 1)])),
    "frozenset": ("in_frozen = frozenset([mod.price])", "mod.price in in_frozen", True),
    "deque": ("import collections; in_deque = collections.deque([mod.price])",
              "in_deque[0](1)", ("new", 1)),
    "default of a parameter": ("def by_default(f=mod.price): return f(1)", "by_default()",
                               ("new", 1)),
    "keyword default": ("def by_keyword(*, f=mod.price): return f(1)", "by_keyword()",
                        ("new", 1)),
    "closure": ("def enclose(f):\n    def inner():\n        return f(1)\n    return inner\n"
                "closed = enclose(mod.price)", "closed()", ("new", 1)),
    "partial": ("import functools; bound = functools.partial(mod.price, 5)", "bound()",
                ("new", 5)),
    "partial of a bound method": ("import functools\n"
                                  "bound_total = functools.partial(mod.Cart().total)",
                                  "bound_total()", ("new", 0)),
    "attribute of an instance": ("class Box: pass\nbox = Box(); box.f = mod.price",
                                 "box.f(1)", ("new", 1)),
    "attribute of a class": ("class Holder: f = staticmethod(mod.price)",
                             "Holder.f(1)", ("new", 1)),
    "slot": ("class Slotted: __slots__ = 'f',\nslotted = Slotted(); slotted.f = mod.price",
             "slotted.f(1)", ("new", 1)),
    "subclass elsewhere": ("class Basket(mod.Cart): pass\nbasket = Basket()",
                           "(basket.total(), Basket.__bases__[0] is mod.Cart,"
                           " issubclass(Basket, mod.Cart), basket.size)",
                           (("new", 0), True, True, ("new", 0))),
    "super in a subclass": ("class Super(mod.Cart):\n"
                            "    def total(self): return ('mine', super().total())\n"
                            "sup = Super()", "sup.total()", ("mine", ("new", 0))),
    "subclass of a subclass": ("class A1(mod.Cart): pass\nclass A2(A1): pass\na2 = A2()",
                               "(a2.total(), A2.__mro__[2] is mod.Cart)", (("new", 0), True)),
    "static method": ("", "(mod.Cart.unit(), cart.unit())", ("new", "new")),
    "class method": ("", "(mod.Cart.make(), cart.make())", (("new", "Cart"), ("new", "Cart"))),
    "property": ("", "cart.size", ("new", 0)),
    "setter": ("", "[setattr(cart1, 'size', 2), cart1.items]", [None, ["new", "new"]]),
    "instance of a nested class": ("line = mod.Cart.Line()",
                                   "(line.text(), type(line) is mod.Cart.Line)", ("new", True)),
    "weak reference": ("import weakref; weak = weakref.ref(mod.Cart)", "weak() is mod.Cart",
                       True),
    "iterator over a list": ("some = iter([mod.price, mod.discount])", "next(some)(1)",
                             ("new", 1)),
    "type annotation": ("def takes(cart: mod.Cart): pass",
                        "takes.__annotations__['cart'] is mod.Cart", True),
    "except clause": ("", "isinstance(mod.Cart(), type(cart))", True),
    "state of the module": ("mod.CACHE['k'] = 1; cache = mod.CACHE; lock = mod.LOCK",
                            "(mod.CACHE, mod.CACHE is cache, mod.LOCK is lock)",
                            ({"k": 1}, True, True)),
    "state of an instance": ("full = mod.Cart(); full.items.append('x')",
                             "(full.items, full.total())", (["x"], ("new", 1))),
    "globals of the new functions": ("", "mod.price.__globals__ is vars(mod)", True),
    "module object": ("before = id(mod), id(vars(mod))",
                      "before == (id(sys.modules['mod']), id(vars(mod)))", True),
}


@pytest.fixture(scope="module")
def reloaded(python, tmp_path_factory):
    """One program that holds on to the old code in every way above, after one attach."""
    app = "import mod, sys\n" + "\n".join(setup for setup, _, _ in HOLDERS.values())
    target = harness.Target(python, tmp_path_factory.mktemp("holders"),
                            {"mod.py": MODULE, "app.py": app + "\n" + IDLE})
    target.edit("mod.py", NEW_MODULE)
    target.done = target.attach("mod")
    yield target
    target.kill()


def test_reload_of_everything_succeeds(reloaded):
    done = reloaded.done
    assert done.returncode == 0, done.stdout + done.stderr + reloaded.describe()
    assert done.report["exit"] == 0
    assert done.report["remap"]["unresolved"] == 0
    reloaded.check_unharmed()


@pytest.mark.parametrize("holder", HOLDERS)
def test_new_code_is_seen_through(reloaded, holder):
    _, expression, expected = HOLDERS[holder]
    assert reloaded.eval(expression) == expected


def test_old_code_is_gone(reloaded):
    """Nothing that the collector can reach is left of the old generation."""
    reloaded.exec("import gc; gc.collect()")
    left = reloaded.eval(
        "[repr(o) for o in gc.get_objects() if type(o) is type(takes)"
        " and o.__module__ == 'mod' and 'old' in (o.__code__.co_consts or ())]")
    assert left == []
    assert reloaded.eval("[repr(o) for o in gc.get_objects() if isinstance(o, type)"
                         " and o.__module__ == 'mod' and o.__qualname__ == 'Cart'"
                         " and o is not mod.Cart]") == []


# ---- Where the program is when we come

PROGRAMS = {
    "sleep": ("app.py", "import time, probe\nprobe.ready()\nwhile True:\n    time.sleep(1000)\n"),
    "select": ("app.py", "import select, socket, probe\na, b = socket.socketpair()\n"
               "probe.ready()\nselect.select([a], [], [])\n"),
    "epoll": ("app.py", "import select, socket, probe\na, b = socket.socketpair()\n"
              "e = select.epoll()\ne.register(a)\ne.modify(a, select.EPOLLIN)\n"
              "probe.ready()\ne.poll()\n"),
    "accept": ("app.py", "import socket, probe\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\n"
               "s.listen(1)\nprobe.ready()\ns.accept()\n"),
    "lock": ("app.py", "import threading, probe\nl = threading.Lock()\nl.acquire()\n"
             "probe.ready()\nl.acquire()\n"),
    "join": ("app.py", "import threading, time, probe\nt = threading.Thread(target=time.sleep,"
             " args=(1000,))\nt.start()\nprobe.ready()\nt.join()\n"),
    "read of a pipe": ("app.py", "import os, probe\nr, w = os.pipe()\nprobe.ready()\n"
                       "os.read(r, 1)\n"),
    "busy": ("app.py", "import probe\nprobe.ready()\ncount = 0\n"
             "while True:\n    count += 1\n"),
    "busy calling the module": ("app.py", "import probe\nprobe.ready()\nseen = set()\n"
                                "while True:\n    seen.add(mod.price(1))\n"),
    "four busy threads": ("app.py", "import threading, probe\nseen = [0] * 4\n"
                          "def work(i):\n    while True:\n        seen[i] += 1\n"
                          "        mod.price(i)\n"
                          "for i in range(4):\n"
                          "    threading.Thread(target=work, args=(i,), daemon=True).start()\n"
                          "probe.ready()\nwhile True:\n    mod.price(9)\n"),
    "asyncio": ("app.py", "import asyncio, probe\nasync def main():\n    probe.ready()\n"
                "    while True:\n        await asyncio.sleep(0)\n        mod.price(1)\n"
                "asyncio.new_event_loop().run_until_complete(main())\n"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_wherever_the_program_is(python, start, program):
    name, text = PROGRAMS[program]
    target = start(python, {"mod.py": MODULE, name: "import mod\nfrom mod import price\n" + text})
    target.edit("mod.py", NEW_MODULE)
    target.reload("mod")
    assert target.eval("price(1)") == ("new", 1)
    target.check_unharmed()
    target.edit("mod.py", NEWER_MODULE)
    target.reload("mod")
    assert target.eval("price(1)") == ("newer", 1)
    target.check_unharmed()


def test_main_module_of_a_script(python, start):
    text = MODULE + "if __name__ == '__main__':\n    started = object()\n    cart = Cart()\n"
    text += "\n".join("    " + line for line in IDLE.splitlines()) + "\n"
    target = start(python, {"app.py": text})
    identity = target.eval("id(started), id(cart)")
    target.edit("app.py", text.replace('"old"', '"new"'))
    report = target.reload("__main__")
    assert report["modules"][0]["name"] == "__main__"
    assert target.eval("price(1), cart.total()") == (("new", 1), ("new", 0))
    assert target.eval("id(started), id(cart)") == identity, "the main guard was run again"
    target.check_unharmed()


PACKAGE = {
    "shop/__init__.py": "from .cart import Cart\n",
    "shop/cart.py": MODULE,
    "shop/__main__.py": "from . import cart\nfrom .cart import price\nbasket = cart.Cart()\n"
                        + IDLE,
}


def test_package_run_with_m(python, start):
    target = start(python, PACKAGE, command=["-m", "shop"])
    target.edit("shop/cart.py", NEW_MODULE)
    target.reload("shop.cart")
    assert target.eval("price(1), basket.total()") == (("new", 1), ("new", 0))
    assert target.eval("__import__('shop').Cart is cart.Cart") is True
    target.check_unharmed()


def test_main_module_run_with_m(python, start):
    files = {"tool/__init__.py": "", "tool/__main__.py": "def answer():\n    return 1\n"
             "if __name__ == '__main__':\n    import probe\n    probe.ready()\n"
             "    import time\n    time.sleep(1000)\n"}
    target = start(python, files, command=["-m", "tool"])
    target.edit("tool/__main__.py", files["tool/__main__.py"].replace("return 1", "return 2"))
    target.reload("__main__")
    assert target.eval("answer()") == 2
    target.check_unharmed()


def test_package_itself(python, start):
    files = {"shop/__init__.py": "def answer():\n    return 1\n", "app.py": "import shop\n" + IDLE}
    target = start(python, files)
    target.edit("shop/__init__.py", "def answer():\n    return 2\n")
    target.reload("shop")
    assert target.eval("shop.answer()") == 2


# ---- What is kept, added, removed

def test_nothing_else_is_imported_into_the_target(python, start):
    target = start(python, {"mod.py": "def f():\n    return 1\n",
                            "app.py": "import mod\n" + IDLE})
    modules = target.eval("sorted(__import__('sys').modules)")
    target.edit("mod.py", "def f():\n    return 2\n")
    target.reload("mod")
    assert target.eval("mod.f()") == 2
    assert set(target.eval("sorted(__import__('sys').modules)")) - set(modules) == set()
    assert target.eval("[t.name for t in __import__('threading').enumerate()]") \
        == ["MainThread", "probe"]


def test_added_and_removed_names(python, start):
    target = start(python, {"mod.py": "def stays():\n    return 1\ndef goes():\n    pass\n"
                                      "class Gone:\n    pass\n",
                            "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", "def stays():\n    return 2\ndef comes():\n    return 3\n")
    module = target.reload("mod")["modules"][0]
    assert module["added"] == ["comes"]
    assert sorted(module["removed"]) == ["Gone", "goes"]
    assert target.eval("mod.comes()") == 3
    assert target.eval("hasattr(mod, 'goes'), hasattr(mod, 'Gone')") == (False, False)


def test_data_policy(python, start):
    old = "LIMIT = 1\nCACHE = {}\nNAMES = ['a']\nSTATE = {'x': 0}\ndef f():\n    return LIMIT\n"
    target = start(python, {"mod.py": old, "app.py": "import mod\nmod.CACHE['live'] = 1\n"
                            "mod.STATE['x'] = 7\ncache, state = mod.CACHE, mod.STATE\n" + IDLE})
    target.edit("mod.py", old.replace("LIMIT = 1", "LIMIT = 2"))
    module = target.reload("mod")["modules"][0]
    assert target.eval("mod.f()") == 2, "immutable data takes the new value"
    assert target.eval("mod.CACHE, mod.CACHE is cache") == ({"live": 1}, True)
    assert target.eval("mod.STATE, mod.STATE is state") == ({"x": 7}, True)
    assert {"CACHE", "STATE"} <= set(module["kept"])


def test_data_new_takes_all_that_is_new(python, start):
    old = "CACHE = {}\ndef f():\n    return 1\n"
    target = start(python, {"mod.py": old, "app.py": "import mod\nmod.CACHE['live'] = 1\n" + IDLE})
    target.edit("mod.py", old.replace("return 1", "return 2"))
    module = target.reload("mod", "--data=new")["modules"][0]
    assert target.eval("mod.f(), mod.CACHE") == (2, {})
    assert "CACHE" in module["taken"]


def test_several_modules_are_one_transaction(python, start):
    one, two = "def f():\n    return 1\n", "import one\ndef g():\n    return one.f() + 10\n"
    target = start(python, {"one.py": one, "two.py": two, "app.py": "import one, two\n" + IDLE})
    target.edit("one.py", one.replace("return 1", "return 2"))
    target.edit("two.py", two + "raise RuntimeError('two fails')\n")
    done = target.attach("one", "two")
    assert done.returncode == 1
    assert target.eval("two.g()") == 11, "one was reloaded though two failed"
    target.edit("two.py", two.replace("10", "20"))
    report = target.reload("one", "two")
    assert [module["result"] for module in report["modules"]] == ["reloaded", "reloaded"]
    assert target.eval("two.g()") == 22


# ---- The new source fails

FINGERPRINT = ("(sorted((k, id(v)) for k, v in vars(mod).items()),"
               " sorted((k, id(v)) for k, v in vars(mod.Cart).items()), id(mod.price.__code__),"
               " sorted(map(id, registry.FUNCTIONS)))")
BROKEN = {
    "syntax error": ("def price(:\n", "SyntaxError"),
    "raises half way": (NEW_MODULE + "\nimport registry\nregistry.register(price)\n"
                        "\nraise ValueError('half way')\n", "ValueError"),
    "ends the program": (NEW_MODULE + "raise SystemExit(3)\n", "SystemExit"),
    "import of what is not there": ("import no_such_module_here\n", "ModuleNotFoundError"),
    "undecodable": ("# -*- coding: no-such-codec -*-\n", "SyntaxError"),
}
REGISTRY = "FUNCTIONS = []\ndef register(f):\n    FUNCTIONS.append(f)\n    return f\n"


@pytest.mark.parametrize("broken", BROKEN)
def test_failing_source_changes_nothing(python, start, broken):
    target = start(python, {"mod.py": MODULE, "registry.py": REGISTRY,
                            "app.py": "import mod, registry\nregistry.register(mod.price)\n"
                                      "cart = mod.Cart()\n" + IDLE})
    before = target.eval(FINGERPRINT)
    text, name = BROKEN[broken]
    target.edit("mod.py", text)
    done = target.attach("mod")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.report["exit"] == 1
    (module,) = done.report["modules"]
    assert module["result"] == "failed"
    assert module["error"]["type"] == name
    assert "mod.py" in module["error"]["traceback"]
    assert module["error"]["message"]
    assert target.eval(FINGERPRINT) == before
    assert target.eval("mod.price(1), cart.total()") == (("old", 1), ("old", 0))
    target.check_unharmed()
    target.edit("mod.py", NEW_MODULE)
    target.reload("mod")
    assert target.eval("mod.price(1), cart.total()") == (("new", 1), ("new", 0))


def test_failing_source_in_text(python, start):
    target = start(python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", NEW_MODULE + "\n\ndef deep():\n    return 1 / 0\n\n\ndeep()\n")
    done = target.attach("mod", json_report=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "ZeroDivisionError" in said
    assert re.search(r'mod\.py", line \d+, in deep', said), said


# ---- Nothing to do, nothing done

def test_unchanged_source(python, start):
    target = start(python, {"mod.py": MODULE, "registry.py": REGISTRY,
                            "app.py": "import mod, registry\n" + IDLE})
    before = target.eval(FINGERPRINT)
    report = target.reload("mod")
    assert report["modules"][0]["result"] == "unchanged"
    assert target.eval(FINGERPRINT) == before
    target.check_unharmed()


def test_force_reloads_unchanged_source(python, start):
    target = start(python, {"mod.py": MODULE, "app.py": "import mod\nfrom mod import price\n"
                            "was = id(mod.price)\n" + IDLE})
    report = target.reload("mod", "--force")
    assert report["modules"][0]["result"] == "reloaded"
    assert target.eval("price is mod.price, mod.price(1)") == (True, ("old", 1))


def test_dry_run_changes_nothing(python, start):
    target = start(python, {"mod.py": MODULE, "registry.py": REGISTRY,
                            "app.py": "import mod, registry\nfrom mod import price\n"
                                      "cart = mod.Cart()\nmany = [price] * 50\n" + IDLE})
    before = target.eval(FINGERPRINT)
    target.edit("mod.py", NEW_MODULE)
    dry = target.reload("mod", "--dry-run")
    assert target.eval(FINGERPRINT) == before
    assert target.eval("price(1), cart.total()") == (("old", 1), ("old", 0))
    target.check_unharmed()
    real = target.reload("mod")
    assert target.eval("price(1), cart.total()") == (("new", 1), ("new", 0))
    assert dry["modules"][0]["replaced"] == real["modules"][0]["replaced"]
    assert dry["remap"]["references_rewritten"] == real["remap"]["references_rewritten"]
    assert dry["remap"]["by_kind"] == real["remap"]["by_kind"]


# ---- The report

FIELDS = {
    "": {"pid", "python", "modules", "remap", "time", "exit"},
    "modules": {"name", "file", "result", "replaced", "added", "removed", "kept", "taken",
                "error"},
    "replaced": {"functions", "classes", "methods", "code"},
    "remap": {"objects_scanned", "referrers", "references_rewritten", "by_kind", "rehashed",
              "migrated", "left", "unresolved", "unaccounted", "held", "frames_on_old_code"},
    "time": {"total_ms", "stop_us", "gil_ms", "scan_ms", "commit_ms"},
}


def test_json_has_exactly_the_fields_of_the_contract(reloaded):
    report = reloaded.done.report
    assert set(report) == FIELDS[""]
    assert report["pid"] == reloaded.pid
    assert report["python"] == ".".join(map(str, reloaded.python.version))
    (module,) = report["modules"]
    assert set(module) == FIELDS["modules"]
    assert (module["name"], module["file"], module["result"], module["error"]) \
        == ("mod", reloaded.path("mod.py"), "reloaded", None)
    assert set(module["replaced"]) == FIELDS["replaced"]
    assert set(report["remap"]) == FIELDS["remap"]
    assert {"dict", "set"} <= set(report["remap"]["rehashed"])
    assert set(report["time"]) == FIELDS["time"]
    for name, value in report["time"].items():
        assert isinstance(value, (int, float)) and value >= 0, (name, value)
    assert report["time"]["stop_us"] > 0
    assert report["time"]["total_ms"] > 0


def test_replaced_counts_what_was_replaced(reloaded):
    replaced = reloaded.done.report["modules"][0]["replaced"]
    assert replaced["functions"] == 2, "price and discount"
    assert replaced["classes"] == 2, "Cart and Cart.Line"
    assert replaced["methods"] == 7, \
        "__init__, total, unit, make, size, its setter, Line.text"


def test_verbose_counts_references_of_each_definition(python, start):
    target = start(python, {"mod.py": MODULE, "app.py": "import mod\nheld = [mod.price] * 5\n"
                            "other = mod.price\ncarts = [mod.Cart(), mod.Cart()]\n" + IDLE})
    target.edit("mod.py", NEW_MODULE)
    (module,) = target.reload("-v", "mod")["modules"]
    details = {detail["name"]: detail for detail in module["details"]}
    assert details["price"]["change"] == "replaced"
    assert details["price"]["references"] == 5 + 2
    assert details["price"]["by_kind"] == {"field": 5, "dict": 2}
    assert details["Cart"]["by_kind"]["instance"] == 2
    assert details["Cart.total"]["kind"] == "method"
    assert all(detail.get("residual", 0) == 0 for detail in module["details"])


COUNTED = {
    "list": "held = [mod.price] * N",
    "tuple": "held = tuple([mod.price] * N)",
    "dict value": "held = {i: mod.price for i in range(N)}",
    "instance": "held = [mod.Cart() for i in range(N)]",
    "partial": "held = [functools.partial(mod.price) for i in range(N)]",
    "bound method": "one = mod.Cart()\nheld = [one.total for i in range(N)]",
    "deque": "held = collections.deque([mod.price] * N)",
    "instance attribute": "class Box: pass\nheld = [Box() for i in range(N)]\n"
                          "for box in held: box.f = mod.price",
    "closure": "def make(f):\n    return lambda: f\nheld = [make(mod.price) for i in range(N)]",
    "default": "held = [lambda f=mod.price: f for i in range(N)]",
}
STEP = 100


@pytest.mark.parametrize("kind", COUNTED)
def test_reported_numbers_are_true(python, start, kind):
    """A hundred more references of a kind are a hundred more in the report, neither more nor
    less, all of one kind, and the sum is the sum."""
    reports = []
    for n in (STEP, 2 * STEP):
        setup = COUNTED[kind].replace("(N)", "(%d)" % n).replace("* N", "* %d" % n)
        target = start(python, {"mod.py": MODULE,
                                "app.py": "import collections, functools, mod\n" + setup + "\n"
                                + IDLE})
        target.edit("mod.py", NEW_MODULE)
        remap = target.reload("mod")["remap"]
        assert sum(remap["by_kind"].values()) == remap["references_rewritten"]
        assert remap["unresolved"] == 0
        reports.append(remap)
    few, many = reports
    assert many["references_rewritten"] - few["references_rewritten"] == STEP
    grown = {name: many["by_kind"][name] - few["by_kind"].get(name, 0)
             for name in many["by_kind"]}
    assert sorted(value for value in grown.values() if value) == [STEP], grown


def test_frame_on_old_code_is_reported(python, start):
    old = ("import time\ndef serve(probe):\n    probe.ready()\n    while True:\n"
           "        time.sleep(1000)\ndef answer():\n    return 1\n")
    target = start(python, {"mod.py": old, "app.py": "import mod, probe\nmod.serve(probe)\n"})
    target.edit("mod.py", old.replace("return 1", "return 2").replace("1000", "999"))
    report = target.reload("mod")
    assert target.eval("mod.answer()") == 2
    (frame,) = report["remap"]["frames_on_old_code"]
    assert frame["function"] == "serve"
    assert frame["file"] == target.path("mod.py")
    assert frame["line"] == 5
    assert frame["thread"]


def test_references_outside_the_collectors_sight_are_reported(python, start):
    """A reference that no traversal shows, as C code may hold one: it is counted, not hidden."""
    target = start(python, {"mod.py": MODULE, "app.py": "import ctypes, mod\n"
                            "def leak():\n"
                            "    ctypes.pythonapi.Py_IncRef(ctypes.py_object(mod.price))\n"
                            "leak()\n" + IDLE})
    target.edit("mod.py", NEW_MODULE)
    report = target.attach("mod").report
    assert report["remap"]["unaccounted"] == 1, report["remap"]
    assert target.eval("mod.price(1)") == ("new", 1)


KEEPER = """
void *shown[3];
static void *hidden[3];
void keep(void *one, void *other) { shown[0] = one; hidden[2] = other; }
"""


def test_c_variables_are_named(python, start, tmp_path):
    """By the dynamic symbol table, or by that of the file; else by the place in the file.  What
    the interpreter's caches hold is not counted, and no holder."""
    for name, options in (("keeper", ()), ("stripped", ("-s",)), ("classes", ())):
        source = tmp_path / (name + ".c")
        source.write_text(KEEPER)
        subprocess.run(["gcc", "-shared", "-fPIC", *options, "-o", str(tmp_path / (name + ".so")),
                        str(source)], check=True)
    target = start(python, {"mod.py": MODULE, "app.py": """
import ctypes, mod, sys
libraries = []
def keep(library, *functions):
    libraries.append(ctypes.CDLL(library))
    for function in functions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(function))
    libraries[-1].keep(*map(ctypes.py_object, functions))
def main():  # with an operand stack of its own
    keep(%r, mod.price, mod.discount)
    keep(%r, mod.Cart.total, mod.Cart.Line.text)
    keep(%r, mod.Cart, mod.Cart.Line)
    for _ in range(100):  # functions and types that are used get a version, and are cached by it
        mod.price(1), mod.discount, mod.Cart.total, mod.Cart.Line.text
main()
""" % tuple(str(tmp_path / name) for name in ("keeper.so", "stripped.so", "classes.so")) + IDLE})
    target.edit("mod.py", NEW_MODULE)
    done = target.attach("-v", "mod")
    remap = done.report["remap"]
    assert remap["unaccounted"] == remap["unresolved"] == 0, remap
    held = {entry["object"]: entry for entry in remap["held"]}
    assert {name: (entry["symbol"], entry["file"], entry["count"])
            for name, entry in held.items()} == {
        "mod.price": ("shown", str(tmp_path / "keeper.so"), 1),
        "mod.discount": ("hidden+16", str(tmp_path / "keeper.so"), 1),
        "mod.Cart.total": ("shown", str(tmp_path / "stripped.so"), 1),
        "mod.Cart.Line.text": (None, str(tmp_path / "stripped.so"), 1),
        "mod.Cart": ("shown", str(tmp_path / "classes.so"), 1),
        "mod.Cart.Line": ("hidden+16", str(tmp_path / "classes.so"), 1)}, held
    symbols = subprocess.run(["nm", str(tmp_path / "keeper.so")], stdout=subprocess.PIPE,
                             check=True, text=True).stdout
    places = {line.split()[2]: int(line.split()[0], 16)
              for line in symbols.splitlines() if len(line.split()) == 3}
    assert held["mod.price"]["offset"] == places["shown"]
    assert held["mod.discount"]["offset"] == places["hidden"] + 16
    assert held["mod.discount"]["where"] == "C variable hidden+16 of %s/keeper.so" % tmp_path
    assert held["mod.Cart.Line.text"]["where"] == "C variable at 0x%x of %s/stripped.so" % (
        held["mod.Cart.Line.text"]["offset"], tmp_path)


def test_text_report(python, start):
    target = start(python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", NEW_MODULE)
    done = target.attach("mod", "--color=never", json_report=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mod" in done.stdout
    assert "\033" not in done.stdout
    target.edit("mod.py", NEWER_MODULE)
    quiet = target.attach("mod", "-q", json_report=False)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert target.eval("mod.price(1)") == ("newer", 1)


# ---- Again and again

def _agent_mappings(target):
    return [entry for entry in harness.proc_maps(target.pid)
            if entry[2].startswith("/memfd:pyhot")]


def test_second_attach_reuses_the_agent(python, start):
    target = start(python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    assert _agent_mappings(target) == []
    target.edit("mod.py", NEW_MODULE)
    target.reload("mod")
    target.check_unharmed()
    first = _agent_mappings(target)
    assert first
    for version in range(4):
        target.edit("mod.py", MODULE.replace('"old"', '"v%d"' % version))
        target.reload("mod")
        assert target.eval("mod.price(1)") == ("v%d" % version, 1)
    target.check_unharmed()
    assert _agent_mappings(target) == first


def test_deadline_while_the_gil_is_held(python, start):
    """A C call that keeps the GIL: exit 4, nothing changed, nothing pending."""
    target = start(python, {"mod.py": MODULE, "app.py": "import ctypes, mod, os, probe, time\n"
                            "os.mkfifo('gate')\n"
                            "gate = os.open('gate', os.O_RDWR)\n"
                            "probe.ready(serve=False)\n"
                            "ctypes.PyDLL(None).read(gate, ctypes.create_string_buffer(1), 1)\n"
                            "probe.ready()\n"
                            "while True:\n    time.sleep(1000)\n"})
    target.edit("mod.py", NEW_MODULE)
    done = target.attach("mod", "--timeout=1")
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.report["exit"] == 4
    (target.directory / "gate").write_bytes(b"\n")
    target.wait_ready()
    assert target.eval("mod.price(1)") == ("old", 1)
    assert len(harness.proc_threads(target.pid)) == 2, "the main thread and the probe"
    target.reload("mod")
    assert target.eval("mod.price(1)") == ("new", 1)


def test_reports_are_json_on_one_object_only(any_python, start):
    target = start(any_python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", NEW_MODULE)
    done = target.attach("mod")
    assert json.loads(done.stdout) == done.report
    assert done.stderr == ""


def test_two_at_once_take_turns(python, start):
    """Neither has loaded the agent yet when the other does, so there are two of them."""
    target = start(python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    for text in (NEW_MODULE, NEWER_MODULE):
        target.edit("mod.py", text)
        running = [subprocess.Popen(harness.pyhot_command() + ["attach", str(target.pid), "mod"],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                   for _ in range(3)]
        for process in running:
            said, _ = process.communicate(timeout=harness.DEADLINE)
            assert process.returncode == 0, said
    assert target.eval("mod.price(1)") == ("newer", 1)
    target.check_unharmed()


@pytest.mark.parametrize("shell", ["exec \"$@\" >/dev/full", "exec \"$@\" >&-",
                                   "exec \"$@\" <&- >&- 2>&-", "ulimit -n 12; exec \"$@\""])
def test_output_that_is_lost_and_few_descriptors(any_python, start, shell):
    """The work is done, and the exit status tells if nothing else can."""
    target = start(any_python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    target.edit("mod.py", NEW_MODULE)
    done = subprocess.run(["sh", "-c", shell, "sh", *harness.pyhot_command(), "attach",
                           str(target.pid), "mod"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=harness.DEADLINE)
    lost = ">" in shell
    assert done.returncode == (7 if lost else 0), done.stderr
    if lost and "2>" not in shell:
        assert done.stderr.startswith("pyhot: cannot write the report: ")
        assert done.stderr.endswith("; what was asked for is done\n")
    assert target.eval("mod.price(1)") == ("new", 1)
    target.check_unharmed()


@pytest.mark.parametrize("command", ["attach {} mod --force", "attach {} mod --force --json",
                                     "list-stale {}", "list-stale --json {}", "ps", "ps --json"])
def test_nobody_reads_the_output(any_python, start, command):
    target = start(any_python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    arguments = [*harness.pyhot_command(), *command.format(target.pid).split()]
    for shell in ("exec \"$@\" >/dev/full", "exec \"$@\" >&-", "{ \"$@\"; echo $? >&3; } | :"):
        done = subprocess.run(["sh", "-c", "exec 3>&1; " + shell, "sh", *arguments],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=harness.DEADLINE)
        assert (done.stdout.strip() or str(done.returncode)) == "7", (shell, done)
        why = ("No space left on device" if "full" in shell else
               "Bad file descriptor" if "&-" in shell else "Broken pipe")
        assert done.stderr.startswith("pyhot: cannot write the report: " + why), (shell, done)
    done = subprocess.run(["sh", "-c", "exec \"$@\" 2>&-", "sh", *arguments],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          timeout=harness.DEADLINE)
    assert done.returncode == 0 and done.stdout, done
    target.check_unharmed()


def test_every_low_limit(any_python, start):
    """pyhot runs out of descriptors or of memory at each of its steps: it is done, or refused."""
    target = start(any_python, {"mod.py": MODULE, "app.py": "import mod\n" + IDLE})
    limits = ["-n %d" % n for n in range(4, 13)] + ["-v %d" % n for n in range(5000, 12000, 300)]
    for number, limit in enumerate(limits, 1):
        target.edit("mod.py", MODULE + "NUMBER = %d\n" % number)
        done = subprocess.run(["sh", "-c", "ulimit %s; exec \"$@\"" % limit, "sh",
                               *harness.pyhot_command(), "attach", str(target.pid), "mod"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=harness.DEADLINE)
        if done.returncode in (127, -signal.SIGSEGV) and limit.startswith("-v") and subprocess.run(
                ["sh", "-c", "ulimit %s; exec \"$@\" --version" % limit, "sh",
                 *harness.pyhot_command()], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL).returncode == done.returncode:
            continue  # the kernel or the loader could not start it
        assert done.returncode in (0, 3), (limit, done)
        assert (target.eval("getattr(mod, 'NUMBER', 0)") == number) == (done.returncode == 0), limit
        short = "memory" if limit.startswith("-v") else "Too many open files"
        assert done.returncode == 0 or (done.stderr.count("\n") == 1 and short in done.stderr), (
            limit, done)
    target.check_unharmed()
