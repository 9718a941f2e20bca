"""A process with much in it: most of the standard library, and an instance of each container
type that there is; and a smoke test of all that."""

import importlib
import sys

import newer

MODULES = """
    abc argparse array ast asyncio base64 bdb binascii bisect bz2 calendar cmath cmd code codecs codeop
    collections collections.abc colorsys compileall concurrent.futures configparser contextlib contextvars copy
    copyreg csv ctypes dataclasses datetime decimal difflib dis doctest email.message email.parser enum errno fcntl
    filecmp fileinput fnmatch fractions ftplib functools getopt getpass gettext glob graphlib gzip hashlib heapq
    hmac html html.parser http.client http.server imaplib importlib.metadata inspect io ipaddress itertools json
    keyword linecache locale logging logging.config lzma mailbox marshal math mimetypes mmap multiprocessing netrc
    ntpath numbers opcode operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib
    posixpath pprint pstats pty pyclbr pydoc queue quopri random re reprlib resource rlcompleter runpy sched
    secrets select selectors shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl stat
    statistics string stringprep struct subprocess symtable sysconfig tabnanny tarfile tempfile textwrap threading
    time timeit token tokenize trace traceback tracemalloc types typing unicodedata unittest unittest.mock
    urllib.parse urllib.request uuid venv warnings wave weakref webbrowser wsgiref.simple_server xml.dom.minidom
    xml.etree.ElementTree xml.sax xmlrpc.client zipapp zipfile zlib zoneinfo
""".split()


def load_modules():
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    assert len(sys.modules) > 100


once = set()  # names of the containers that a look changes


def containers(thing):
    """Name -> (object that refers to `thing`, function that finds it there again)."""
    import array
    import ast
    import asyncio
    import collections
    import contextvars
    import copy
    import ctypes
    import functools
    import io
    import itertools
    import json
    import operator
    import queue
    import sqlite3
    import threading
    import time
    import types
    import typing
    import weakref
    import xml.etree.ElementTree as tree
    import xml.parsers.expat

    class Slots:
        __slots__ = ("thing",)

    class Plain:
        pass

    class Dict(dict):
        __slots__ = ("thing",)

    class List(list):
        pass

    class Deque(collections.deque):
        pass

    class Property:
        @property
        def value(self):
            return held

    def closure():
        return held

    def default(thing=thing):
        return thing

    def keyword(*, thing=thing):
        return thing

    def generator():
        local = thing_of[0]
        yield None
        yield local

    async def coroutine():
        local = thing_of[0]
        await Pause()
        return local

    class Pause:
        def __await__(self):
            yield None

    held = thing
    thing_of = [thing]
    all_of = {}

    def add(name, holder, find):
        assert find(holder) is thing, name
        all_of[name] = (holder, find)

    def later(name, holder, find):
        """To look is to change it: not now."""
        once.add(name)
        all_of[name] = (holder, find)

    def made(cls, *args, **attributes):
        o = cls(*args)
        for name, value in attributes.items():
            setattr(o, name, value)
        return o

    first = operator.itemgetter(0)
    attribute = operator.attrgetter("thing")
    add("list", [thing], first)
    add("long list", [0] * 1000 + [thing], operator.itemgetter(1000))
    add("tuple", (thing, 1), first)
    add("nested tuple", ((1, (thing,)),), lambda o: o[0][1][0])
    add("dict value", {"a": thing}, operator.itemgetter("a"))
    add("dict value by int", {1: thing}, operator.itemgetter(1))
    add("dict key", {thing: 1}, lambda o: next(iter(o)))
    add("set", {thing}, lambda o: next(iter(o)))
    add("frozenset", frozenset([thing]), lambda o: next(iter(o)))
    add("tuple as key", {(thing, 1): 2}, lambda o: next(iter(o))[0])
    add("deque", collections.deque([1, thing]), operator.itemgetter(1))
    add("long deque", collections.deque([1] * 5000 + [thing]), operator.itemgetter(5000))
    add("defaultdict", collections.defaultdict(lambda: 1, {"a": thing}), operator.itemgetter("a"))
    add("OrderedDict", collections.OrderedDict([("a", thing), ("b", 1)]), operator.itemgetter("a"))
    add("OrderedDict key", collections.OrderedDict([(thing, 1)]), lambda o: next(iter(o)))
    add("ChainMap", collections.ChainMap({}, {"a": thing}), operator.itemgetter("a"))
    add("namedtuple", collections.namedtuple("N", "x thing")(1, thing), attribute)
    add("slots", made(Slots, thing=thing), attribute)
    add("attribute", made(Plain, thing=thing), attribute)
    add("attribute with dict", made(Plain, thing=thing), lambda o: vars(o)["thing"])
    add("attribute of function", made(lambda: closure, thing=thing), attribute)
    add("dict with slot", made(Dict, {"b": 1}, thing=thing), attribute)
    add("list with attribute", made(List, [1], thing=thing), attribute)
    add("list subclass", List([thing]), first)
    add("deque with attribute", made(Deque, [1], thing=thing), attribute)
    add("exception", made(ValueError, thing), lambda o: o.args[0])
    add("closure", closure, lambda o: o())
    add("cell", closure.__closure__[0], lambda o: o.cell_contents)
    add("default", default, lambda o: o())
    add("keyword default", keyword, lambda o: o())
    add("partial", functools.partial(print, thing), lambda o: o.args[0])
    add("partial keyword", functools.partial(print, x=thing), lambda o: o.keywords["x"])
    add("class attribute", type("C", (), {"thing": thing}), lambda o: vars(o)["thing"])
    add("staticmethod", staticmethod(thing), lambda o: o.__func__)
    add("classmethod", classmethod(thing), lambda o: o.__func__)
    add("property", property(thing), lambda o: o.fget)
    add("simple namespace", types.SimpleNamespace(thing=thing), attribute)
    add("mapping proxy", types.MappingProxyType({"a": thing}), operator.itemgetter("a"))
    add("module", made(types.ModuleType, "m", thing=thing), attribute)
    add("repeat", itertools.repeat(thing), next)
    add("cycle", itertools.cycle([thing]), next)
    add("map", [map(lambda x: x, itertools.repeat(thing))], lambda o: next(o[0]))
    add("iterator", itertools.chain(itertools.repeat(thing)), next)
    add("context variable", contextvars.ContextVar("v", default=thing), lambda o: o.get())
    add("weak value", weakref.WeakValueDictionary({"a": thing}), operator.itemgetter("a"))
    add("weak key", weakref.WeakKeyDictionary({thing: 1}), lambda o: next(iter(o)))
    add("weak set", weakref.WeakSet([thing]), lambda o: next(iter(o)))
    add("weak reference", weakref.ref(thing), lambda o: o())
    add("thread local", made(threading.local, thing=thing), attribute)
    full = queue.Queue()
    full.put(thing)
    add("queue", full, lambda o: o.queue[0])
    add("slice", slice(thing, None), lambda o: o.start)
    add("operator.attrgetter", operator.methodcaller("x", thing), lambda o: o.__reduce__()[1][1])
    add("lru_cache", functools.lru_cache(None)(lambda: closure()), lambda o: o())
    element = tree.Element("a")
    element.text = thing
    add("element", element, lambda o: o.text)
    add("ctypes structure", made(type("S", (ctypes.Structure,), {"_fields_": [("n", ctypes.c_int)]}),
                                 thing=thing), attribute)

    def put_back(queue):
        x = queue.get()
        queue.put(x)
        return x

    def raised(local):
        try:
            raise ValueError
        except ValueError as error:
            return error

    def cached(size):
        f = functools.lru_cache(size)(lambda x: x)
        f(thing)
        return f

    def finds(f):
        [x] = [x for x in all_of["list"][0] if f(x) is x]
        assert f.cache_info().hits
        return x

    def dispatching():
        f = functools.singledispatch(closure)
        f.register(int)(thing)
        assert f.dispatch(bool) is thing  # from here on in its cache
        return f

    add("property setter", property(None, thing), lambda o: o.fset)
    add("bound method", types.MethodType(thing, 1), lambda o: o.__func__)
    add("method wrapper", thing.__call__, lambda o: o.__self__)
    add("super", super(Plain, made(Plain, thing=thing)), lambda o: o.__self__.thing)
    add("enumerate", enumerate(itertools.repeat(thing)), lambda o: next(o)[1])
    add("zip", zip(itertools.repeat(thing)), lambda o: next(o)[0])
    # 3.12.0 to 3.12.2 crash on one that is left at the end (CPython issue 115874).
    if not (3, 12) <= sys.version_info < (3, 12, 3):
        add("tee", itertools.tee([thing, 1])[0], lambda o: next(copy.copy(o)))
    add("accumulate", itertools.accumulate(itertools.repeat(thing), lambda x, y: y), next)
    add("dict view", {"a": thing}.values(), lambda o: next(iter(o)))
    add("partialmethod", functools.partialmethod(thing), lambda o: o.func)
    add("lru_cache's entry", cached(None), finds)
    add("bounded lru_cache's entry", cached(8), finds)
    add("singledispatch", dispatching(), lambda o: o.dispatch(bool))
    add("StopIteration", StopIteration(thing), lambda o: o.value)
    add("traceback's frame", raised(thing), lambda o: o.__traceback__.tb_frame.f_locals["local"])
    add("SimpleQueue", queue.SimpleQueue(), lambda o: o.put(thing) or put_back(o) if o.empty()
        else put_back(o))
    add("structseq", time.struct_time((thing,) * 9), first)
    add("syntax tree", ast.Constant(thing), lambda o: o.value)
    add("type variable", typing.TypeVar("T", bound=thing), lambda o: o.__bound__)
    add("typing alias", typing.List[thing], lambda o: o.__args__[0])
    variable = contextvars.ContextVar("in a context")
    context = contextvars.copy_context()
    context.run(variable.set, thing)
    token = context.run(variable.set, 1)
    add("context", context.run(variable.set, thing) and context, lambda o: o[variable])
    add("token", token, lambda o: o.old_value)
    future = asyncio.Future(loop=types.SimpleNamespace(get_debug=bool))
    future.set_result(thing)
    add("future", future, lambda o: o.result())
    add("finalizer", (weakref.finalize(Plain, thing), Plain), lambda o: o[0].peek()[1])
    all_of["finalizer"][0][0].atexit = False
    add("BytesIO", made(type("B", (io.BytesIO,), {}), thing=thing), attribute)
    add("JSON encoder", json.encoder.c_make_encoder(None, thing, None, None, ":", ",", False, False,
                                                    True), lambda o: o.default)
    add("expat parser", made(xml.parsers.expat.ParserCreate, StartElementHandler=thing),
        lambda o: o.StartElementHandler)
    if sys.version_info >= (3, 9):
        add("generic alias", list[thing], lambda o: o.__args__[0])
    if sys.version_info >= (3, 10):  # known to the collector
        add("key of cmp_to_key", functools.cmp_to_key(max)(thing), lambda o: o.obj)
        add("sqlite connection", made(sqlite3.connect, ":memory:", row_factory=thing),
            lambda o: o.row_factory)
    if sys.version_info >= (3, 11):
        add("exception group", ExceptionGroup("g", [ValueError(thing)]),  # noqa: F821
            lambda o: o.exceptions[0].args[0])
    suspended = generator()
    next(suspended)
    later("generator", suspended, next)
    waiting = coroutine()
    waiting.send(None)

    def result(o):
        try:
            o.send(None)
        except StopIteration as stop:
            return stop.value
        raise AssertionError

    later("coroutine", waiting, result)
    newer.add_to(dict(thing=thing, add=add, later=later, made=made, attribute=attribute))
    assert array.array("i", [1]) and Property().value is thing
    return all_of


def check(all_of, new, but=()):
    wrong = [name for name, (holder, find) in all_of.items()
             if name not in but and find(holder) is not new]
    assert not wrong, wrong


def smoke_test():
    import argparse
    import ast
    import asyncio
    import collections
    import csv
    import dataclasses
    import datetime
    import decimal
    import email.message
    import enum
    import functools
    import inspect
    import io
    import json
    import logging
    import pickle
    import queue
    import random
    import re
    import sqlite3
    import subprocess
    import tempfile
    import textwrap
    import threading
    import tokenize
    import typing
    import unittest
    import urllib.parse
    import xml.etree.ElementTree as tree
    import zipfile

    assert json.loads(json.dumps({"a": [1, 2.5, None, "x"]})) == {"a": [1, 2.5, None, "x"]}

    async def double(n):
        await asyncio.sleep(0.001)
        return n * 2

    async def gather():
        return await asyncio.gather(*(double(i) for i in range(5)))

    assert asyncio.run(gather()) == [0, 2, 4, 6, 8]
    point = dataclasses.make_dataclass("Point", [("x", int), ("y", int)])
    assert point(1, 2) == point(1, 2) and dataclasses.asdict(point(1, 2)) == {"x": 1, "y": 2}
    color = enum.Enum("Color", "RED GREEN")
    assert color["RED"].value == 1 and len(list(color)) == 2
    made = [1, datetime.date(2020, 1, 1), collections.OrderedDict(a=1), decimal.Decimal("1.5")]
    assert pickle.loads(pickle.dumps(made)) == made

    class Case(unittest.TestCase):
        def test(self):
            with self.assertRaises(ZeroDivisionError):
                1 / 0

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Case)
    assert unittest.TextTestRunner(stream=io.StringIO()).run(suite).wasSuccessful()
    assert re.sub(r"(\w)(\d)", r"\2\1", "a1b2") == "1a2b"
    db = sqlite3.connect(":memory:")
    db.execute("create table t(a)")
    db.executemany("insert into t values(?)", [(1,), (2,)])
    assert db.execute("select sum(a) from t").fetchone() == (3,)
    db.close()
    answers = queue.Queue()
    thread = threading.Thread(target=lambda: answers.put(7))
    thread.start()
    thread.join()
    assert answers.get() == 7
    text = io.StringIO()
    csv.writer(text).writerow([1, "a,b"])
    assert text.getvalue() == '1,"a,b"\r\n'
    assert tree.fromstring("<a><b/></a>")[0].tag == "b"
    with tempfile.TemporaryFile() as f, zipfile.ZipFile(f, "w") as z:
        z.writestr("a", "b")

    @functools.lru_cache(None)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(50) == 12586269025
    assert typing.get_type_hints(smoke_test) == {}
    ast.parse(textwrap.dedent("  x = 1"))
    assert list(tokenize.generate_tokens(io.StringIO("x = 1").readline))
    assert urllib.parse.urlparse("http://a/b?c").netloc == "a"
    message = email.message.EmailMessage()
    message["Subject"] = "x"
    message.set_content("y")
    assert "y" in message.as_string()
    parser = argparse.ArgumentParser()
    parser.add_argument("-x", type=int)
    assert parser.parse_args(["-x", "3"]).x == 3
    log = logging.getLogger("smoke")
    log.addHandler(logging.StreamHandler(io.StringIO()))
    log.warning("x %s", 1)
    assert subprocess.run(["/bin/echo", "hi"], stdout=subprocess.PIPE).stdout == b"hi\n"
    inspect.signature(smoke_test)
    random.shuffle([1, 2, 3])
