"""Objects held by code that Cython and pybind11 make: rewritten, or named, or counted."""

import shutil
import subprocess

import pytest

import harness

SOURCES = harness.VICTIMS
INCLUDE = "/usr/include/python3.11"


@pytest.fixture(scope="module")
def debian_python(pythons):
    for python in pythons:
        if python.path == "/usr/bin/python3.11":
            return python
    pytest.skip("no /usr/bin/python3.11")


@pytest.fixture
def build(debian_python, tmp_path):
    """build(command...): runs it in the folder that the test's scripts import from."""
    if subprocess.run(["test", "-e", INCLUDE + "/Python.h"]).returncode:
        pytest.skip("no %s/Python.h" % INCLUDE)

    def run(*command):
        if not shutil.which(command[0]):
            pytest.skip("no %s on this machine" % command[0])
        done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
    return run


EACH = """
import gc
import pyhot

def made(kind):
    if kind == "function":
        def thing(): pass
    else:
        class thing: pass
    return thing if kind != "instance" else thing()

def held(make, find, where=None, hidden=0, kinds=("function", "class", "instance")):
    "`where`: rewritten (None), or what the report says; `hidden`: how many nothing shows."
    for kind in kinds:
        old, new = made(kind), made(kind)
        kept, was, holder = new, [id(old)], make(old)
        gc.collect()
        report = pyhot.remap({old: new})
        # What was on a stack before may be taken for one of those that are hidden.
        named = sum(entry["count"] for entry in report["held"]) if hidden else 0
        assert report["unresolved"] == 0 and report["unaccounted"] + named == hidden, (kind, report)
        if where is None and not hidden:
            assert all(x is kept for x in find(holder)) and not report["held"], (kind, report)
        else:
            assert all(id(x) in was for x in find(holder)), (kind, report)
            assert not where or where in report["held"][0]["where"], (kind, report)
        holder = None
        gc.collect()
"""


def test_cython(debian_python, run_script, build):
    build("cython3", str(SOURCES / "holder.pyx"), "-o", "holder.c")
    build("gcc", "-w", "-shared", "-fPIC", "-I", INCLUDE, "holder.c", "-o", "holder.so")
    run_script(debian_python, EACH + """
import holder

class Pause:
    def __await__(self): yield

def waiting(x):
    coroutine = holder.wait(x, Pause())
    coroutine.send(None)
    return coroutine

def result(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value

def started(x):
    generator = holder.generate(x)
    next(generator)
    return generator

held(holder.Box, holder.Box.get)
held(holder.Typed, holder.Typed.get, kinds=["class"])
held(holder.closure, lambda f: f())
held(holder.default, lambda f: f())
held(lambda x: holder.default(x).__defaults__, lambda t: t)
held(started, next)
held(waiting, result)
held(holder.Untracked, holder.Untracked.get, "holder.Untracked object, at offset")
held(holder.Raw, holder.Raw.get, "holder.Raw object, at offset")
held(holder.keep, lambda _: holder.kept(), "C variable")

class Old(holder.Box):
    def value(self): return 1
class New(holder.Box):
    def value(self): return 2
o = Old(Old)
report = pyhot.remap({Old: New})
assert type(o) is New and o.value() == 2 and o.get() == (New,) * 4, report
assert report["unresolved"] == report["unaccounted"] == 0, report
""")


def test_pybind11(debian_python, run_script, build):
    if not harness.Path("/usr/include/pybind11").is_dir():
        pytest.skip("no pybind11 on this machine")
    build("g++", "-w", "-shared", "-fPIC", "-fvisibility=hidden", "-I", INCLUDE,
          str(SOURCES / "bound.cpp"), "-o", "bound.so")
    run_script(debian_python, EACH + """
import bound

def pet(x):
    pet = bound.Pet()
    pet.thing = x
    return pet

held(pet, lambda pet: [pet.thing])
held(bound.keep, lambda _: bound.kept(), "C variable")
# In memory of C++ that nothing shows.
held(bound.Box, bound.Box.get, hidden=4)
held(bound.capture, lambda f: f(), hidden=1)

class Old(bound.Base):
    def value(self): return 1
class New(bound.Base):
    def value(self): return 2
o = Old()
assert bound.ask(o) == 1  # pybind11 remembers what is overridden by class
report = pyhot.remap({Old: New})
assert type(o) is New and bound.ask(o) == o.value() == 2, report
assert report["unresolved"] == report["unaccounted"] == 0, report
""")
